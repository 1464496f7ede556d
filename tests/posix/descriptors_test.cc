// SPDX-License-Identifier: Apache-2.0
//
// Every call on a descriptor, on every kind of file, opened in every way; also when its name is
// gone.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

struct FdCall {
  const char* name;
  Outcome (*run)(int fd);
};

Outcome Read(int fd, off_t offset) {
  char bytes[64];
  const ssize_t length =
      offset < 0 ? read(fd, bytes, sizeof bytes) : pread(fd, bytes, sizeof bytes, offset);
  if (length < 0) return {errno};
  return {0, std::string(bytes, static_cast<size_t>(length))};
}

Outcome Map(int fd, int protection, int flags) {
  void* at = mmap(nullptr, 4096, protection, flags, fd, 0);
  if (at == MAP_FAILED) return {errno};
  return Result(munmap(at, 4096));
}

// Where a directory ends is up to the file system.
Outcome Seek(int fd, off_t offset, int whence) {
  struct stat info {};
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) && whence != SEEK_SET) return {0};
  const off_t at = lseek(fd, offset, whence);
  return at < 0 ? Outcome(errno) : Outcome(0, std::to_string(at));
}

const FdCall kFdCalls[] = {
    {"read", [](int fd) { return Read(fd, -1); }},
    {"pread", [](int fd) { return Read(fd, 2); }},
    {"pread at the end", [](int fd) { return Read(fd, 1000); }},
    {"pread before the beginning",
     [](int fd) {
       char byte;
       return Result(pread(fd, &byte, 1, -1));
     }},
    {"write", [](int fd) { return Result(write(fd, "xy", 2)); }},
    {"write of nothing", [](int fd) { return Result(write(fd, "", 0)); }},
    {"pwrite", [](int fd) { return Result(pwrite(fd, "xy", 2, 3)); }},
    {"pwrite beyond the end", [](int fd) { return Result(pwrite(fd, "xy", 2, 5000)); }},
    {"pwrite before the beginning", [](int fd) { return Result(pwrite(fd, "xy", 2, -1)); }},
    {"write from nowhere",
     [](int fd) {
       static const volatile uintptr_t nowhere = 8;
       return Result(write(fd, reinterpret_cast<const void*>(nowhere), 100));
     }},
    {"ftruncate", [](int fd) { return Result(ftruncate(fd, 3)); }},
    {"ftruncate, extending", [](int fd) { return Result(ftruncate(fd, 10'000)); }},
    {"ftruncate below zero", [](int fd) { return Result(ftruncate(fd, -1)); }},
    {"fchmod", [](int fd) { return Result(fchmod(fd, 0604)); }},
    {"fchown", [](int fd) { return Result(fchown(fd, kOther, kOtherGroup)); }},
    {"futimens", [](int fd) { return Result(futimens(fd, nullptr)); }},
    {"fsync", [](int fd) { return Result(fsync(fd)); }},
    {"fdatasync", [](int fd) { return Result(fdatasync(fd)); }},
    {"fstat",
     [](int fd) {
       struct stat info {};
       const Outcome done = Result(fstat(fd, &info));
       return Outcome(done.error, std::to_string(info.st_mode) + " " +
                                      std::to_string(info.st_nlink) + " " +
                                      std::to_string(S_ISDIR(info.st_mode) ? 0 : info.st_size));
     }},
    {"fstatvfs",
     [](int fd) {
       struct statvfs info {};
       return Result(fstatvfs(fd, &info));
     }},
    {"seek to the end", [](int fd) { return Seek(fd, 0, SEEK_END); }},
    {"seek before the beginning", [](int fd) { return Seek(fd, -1, SEEK_SET); }},
    {"seek with a wrong word", [](int fd) { return Seek(fd, 0, 99); }},
    {"seek to data at the end", [](int fd) { return Seek(fd, 1'000'000, SEEK_DATA); }},
    {"seek to a hole at the end", [](int fd) { return Seek(fd, 1'000'000, SEEK_HOLE); }},
    {"map to read", [](int fd) { return Map(fd, PROT_READ, MAP_SHARED); }},
    {"map to write", [](int fd) { return Map(fd, PROT_READ | PROT_WRITE, MAP_SHARED); }},
    {"map a copy", [](int fd) { return Map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE); }},
    {"getdents",
     [](int fd) {
       alignas(8) char bytes[4096];
       return Result(getdents64(fd, bytes, sizeof bytes));
     }},
    {"getdents into too little",
     [](int fd) {
       alignas(8) char bytes[8];
       return Result(getdents64(fd, bytes, sizeof bytes));
     }},
    {"openat", [](int fd) { return Result(close(openat(fd, "inside", O_RDONLY))); }},
    {"mkdirat", [](int fd) { return Result(mkdirat(fd, "new", 0755)); }},
    {"fchdir", [](int fd) { return Result(fchdir(fd)); }},
    {"open once more",
     [](int fd) {
       const std::string path = "/proc/self/fd/" + std::to_string(fd);
       return Result(close(open(path.c_str(), O_RDONLY | O_NONBLOCK)));
     }},
    {"lock",
     [](int fd) {
       struct flock range {};
       range.l_type = F_WRLCK;
       return Result(fcntl(fd, F_SETLK, &range));
     }},
};

struct Way {
  const char* name;
  int flags;
};
const Way kWays[] = {
    {"for reading", O_RDONLY},
    {"for writing", O_WRONLY},
    {"for both", O_RDWR},
    {"to append", O_RDWR | O_APPEND},
    {"as a path", O_PATH},
    {"as a path, no link", O_PATH | O_NOFOLLOW},
    {"as a directory", O_DIRECTORY},
    {"synchronously", O_RDWR | O_SYNC},
    {"for neither", O_ACCMODE},
};

class Descriptors : public Lockstep {
 protected:
  void AddAll(bool removed) {
    for (const FdCall& call : kFdCalls) {
      for (const char* kind : {"file", "full directory", "link to a file", "FIFO"}) {
        // The kernel keeps what is written to a FIFO to itself: the file's times stay, not on ext4.
        if (call.name == std::string("write") && kind == std::string("FIFO")) continue;
        for (const Way& way : kWays) {
          // A synchronous write without bytes is not heard of: its file's times stay, not on ext4.
          if ((way.flags & O_SYNC) != 0 && call.name == std::string("write from nowhere")) continue;
          Add({std::string(call.name) + " on a " + kind + " opened " + way.name,
               [kind] {
                 KindOf(kind).make("it", 0644);
                 SetOldTimes("it");
               },
               Root(),
               [&call, way, removed]() -> Outcome {
                 const UniqueFd fd(open("it", way.flags | O_CLOEXEC | O_NONBLOCK));
                 if (!fd) return {errno};
                 if (removed) {
                   unlink("it/inside");
                   if (unlink("it") != 0 && rmdir("it") != 0) return {errno};
                 }
                 return call.run(fd.get());
               }});
        }
      }
    }
  }
};

TEST_F(Descriptors, OfFiles) {
  AddAll(false);
  Run({0, EBADF, EINVAL, EISDIR, ENOTDIR, ENXIO, ESPIPE, EACCES, EFAULT, EAGAIN, ENODEV});
}

TEST_F(Descriptors, OfFilesThatAreGone) {
  AddAll(true);
  Run({0, EBADF, EINVAL, EISDIR, ENOTDIR, ENOENT, ESPIPE});
}

// What is open is open, whatever the mode becomes.
TEST_F(Descriptors, OutliveTheirPermission) {
  for (const FdCall& call : kFdCalls) {
    for (const mode_t mode : {0, 0444, 0222}) {
      Add({std::string(call.name) + " after chmod to " + std::to_string(mode),
           [] {
             MakeFile("it", 0666);
             GiveTo("it", Owner());
           },
           Owner(),
           [&call, mode]() -> Outcome {
             const UniqueFd fd(open("it", O_RDWR | O_CLOEXEC));
             if (!fd || fchmod(fd.get(), mode) != 0) return {errno};
             return call.run(fd.get());
           }});
    }
  }
  // A file may be made with a mode that forbids what its maker has opened it for.
  for (const mode_t mode : {0, 0444, 0222}) {
    Add({"create with mode " + std::to_string(mode), [] {}, Owner(),
         [mode]() -> Outcome {
           const UniqueFd fd(open("it", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
           if (!fd) return {errno};
           if (write(fd.get(), "abc", 3) != 3) return {errno};
           return Read(fd.get(), 0);
         }});
  }
  Run({0, EBADF, EINVAL, ENOTDIR, EPERM});
}

}  // namespace
}  // namespace airstore::posix
