// SPDX-License-Identifier: Apache-2.0
//
// Owners, groups and set-id bits: who may change them, and what takes them away.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

std::string Octal(mode_t mode) {
  char text[16];
  snprintf(text, sizeof text, "0%o", mode);
  return text;
}

class Ids : public Lockstep {};

TEST_F(Ids, Chown) {
  constexpr auto kSame = static_cast<uid_t>(-1);
  for (const Caller& caller : AllCallers()) {
    for (const char* kind : {"file", "directory", "link to nothing", "FIFO"}) {
      for (const mode_t mode : {0644, 06755, 06644, 02777}) {
        for (const uid_t uid : {kSame, uid_t{0}, kOwner, kOther}) {
          for (const gid_t gid : {gid_t{kSame}, gid_t{0}, kGroup, kThirdGroup, kOtherGroup}) {
            if (mode != 06755 && kind != std::string("file") && gid != kThirdGroup) continue;
            Add({std::string("lchown of a ") + kind + " of mode " + Octal(mode) + " to " +
                     std::to_string(static_cast<int>(uid)) + ":" +
                     std::to_string(static_cast<int>(gid)),
                 [=] {
                   KindOf(kind).make("it", mode);
                   SetOldTimes("it");
                   GiveTo("it", Owner());
                 },
                 caller, [=] { return Result(lchown("it", uid, gid)); }});
          }
        }
      }
    }
  }
  Run({0, EPERM});
}

TEST_F(Ids, Chmod) {
  for (const Caller& caller : AllCallers()) {
    for (const char* kind : {"file", "directory", "FIFO"}) {
      for (const gid_t group : {kGroup, kThirdGroup, kOtherGroup}) {
        for (const mode_t mode : {0u, 0777u, 07777u, 02755u, 02644u, 04755u, 01777u, 06711u}) {
          Add({std::string("chmod of a ") + kind + " to " + Octal(mode) + ", group " +
                   std::to_string(group),
               [=] {
                 KindOf(kind).make("it", 0640);
                 GiveTo("it", kOwner, group);
               },
               caller, [=] { return Result(chmod("it", mode)); }});
        }
      }
    }
  }
  Run({0, EPERM});
}

struct Change {
  const char* name;
  Outcome (*run)();
};

Outcome WithFile(int flags, Outcome (*body)(int fd)) {
  const UniqueFd fd(open("it", flags | O_CLOEXEC));
  return fd ? body(fd.get()) : Outcome(errno);
}

const Change kChanges[] = {
    {"nothing", [] { return WithFile(O_RDWR, [](int) { return Outcome(0); }); }},
    {"write", [] { return WithFile(O_WRONLY, [](int fd) { return Result(write(fd, "x", 1)); }); }},
    {"write of nothing",
     [] { return WithFile(O_WRONLY, [](int fd) { return Result(write(fd, "x", 0)); }); }},
    {"append",
     [] {
       return WithFile(O_WRONLY | O_APPEND, [](int fd) { return Result(write(fd, "x", 1)); });
     }},
    {"pwritev",
     [] {
       return WithFile(O_RDWR, [](int fd) {
         char byte = 'x';
         const iovec one{&byte, 1};
         return Result(pwritev(fd, &one, 1, 2));
       });
     }},
    {"direct write",
     [] {
       return WithFile(O_WRONLY | O_DIRECT, [](int fd) {
         alignas(4096) static char page[4096] = {'x'};
         return Result(write(fd, page, sizeof page));
       });
     }},
    {"truncate", [] { return Result(truncate("it", 2)); }},
    {"truncate to the same", [] { return Result(truncate("it", 7)); }},
    {"ftruncate",
     [] { return WithFile(O_WRONLY, [](int fd) { return Result(ftruncate(fd, 0)); }); }},
    {"read",
     [] {
       return WithFile(O_RDONLY, [](int fd) {
         char byte;
         return Result(read(fd, &byte, 1));
       });
     }},
    {"mapped store",
     [] {
       return WithFile(O_RDWR, [](int fd) {
         void* at = mmap(nullptr, 7, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
         if (at == MAP_FAILED) return Outcome(errno);
         static_cast<char*>(at)[1] = 'x';
         const Outcome synced = Result(msync(at, 7, MS_SYNC));
         munmap(at, 7);
         return synced;
       });
     }},
    {"allocation",
     [] { return WithFile(O_RDWR, [](int fd) { return Outcome(posix_fallocate(fd, 0, 100)); }); }},
    {"copy",
     [] {
       return WithFile(O_RDWR, [](int fd) {
         loff_t from = 0;
         loff_t to = 3;
         return Result(copy_file_range(fd, &from, fd, &to, 2, 0));
       });
     }},
    {"change of group to one's own", [] { return Result(lchown("it", -1, getgid())); }},
    {"link", [] { return Result(link("it", "second")); }},
    {"utimensat", [] { return Result(utimensat(AT_FDCWD, "it", nullptr, 0)); }},
};

// Every change of content takes set-user-id and set-group-id away; not when the one who changes has
// CAP_FSETID.
TEST_F(Ids, SetIdBitsEndWithAChange) {
  for (const Caller& caller : AllCallers()) {
    for (const Change& change : kChanges) {
      for (const mode_t mode : {06777, 04777, 02777, 04666, 07777, 02666, 06666, 07766}) {
        for (const gid_t group : {kGroup, kOtherGroup}) {
          Add({std::string(change.name) + " of a file of mode " + Octal(mode) + ", group " +
                   std::to_string(group),
               [=] {
                 MakeFile("it", mode);
                 SetOldTimes("it");
                 GiveTo("it", kOwner, group);
               },
               caller, [&change] { return change.run(); }});
        }
      }
    }
  }
  Run({0, EPERM});
}

}  // namespace
}  // namespace airstore::posix
