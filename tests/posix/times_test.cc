// SPDX-License-Identifier: Apache-2.0
//
// utimensat: every pair of values, as everybody, on files that they may write or not.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

struct Value {
  const char* name;
  timespec time;
};
const Value kValues[] = {
    {"now", {0, UTIME_NOW}},
    {"omitted", {0, UTIME_OMIT}},
    {"a time", {1'234'567'890, 123'456'789}},
    {"the epoch", {0, 0}},
    {"before the epoch", {-1'000'000, 500'000'000}},
    {"too many nanoseconds", {5, 1'000'000'000}},
    {"negative nanoseconds", {5, -1}},
};

class Times : public Lockstep {
 protected:
  void AddAll(const Caller& caller, const std::string& kind, mode_t mode, int flags) {
    for (const Value& atime : kValues) {
      for (const Value& mtime : kValues) {
        Add({std::string("atime ") + atime.name + ", mtime " + mtime.name + " of a " + kind +
                 " of mode " + std::to_string(mode) + (flags != 0 ? ", not following" : ""),
             [=] {
               KindOf(kind).make("it", mode);
               if (flags != 0) GiveTo("it", Owner());
               for (const char* target : {"it.file", "it.dir"}) {
                 if (e2e::Exists(target)) GiveTo(target, Owner()), SetOldTimes(target);
               }
               GiveTo("it", Owner());
               SetOldTimes("it");
             },
             caller,
             [=] {
               const timespec times[2] = {atime.time, mtime.time};
               return Result(utimensat(AT_FDCWD, "it", times, flags));
             },
             // Following a link is a read of it.
             kind == "file" || flags != 0});
      }
    }
  }
};

TEST_F(Times, OfFiles) {
  for (const Caller& caller : AllCallers()) {
    for (const mode_t mode : {0644, 0666, 0444}) AddAll(caller, "file", mode, 0);
  }
  Run({0, EPERM, EACCES, EINVAL});
}

TEST_F(Times, OfLinks) {
  for (const Caller& caller : {Root(), Owner(), Other()}) {
    AddAll(caller, "link to a file", 0666, AT_SYMLINK_NOFOLLOW);
    AddAll(caller, "link to a file", 0666, 0);
  }
  Run({0, EPERM, EINVAL});
}

TEST_F(Times, OfOtherKinds) {
  for (const char* kind : {"directory", "FIFO", "socket", "link to nothing"}) {
    AddAll(Owner(), kind, 0640, 0);
  }
  Run({0, ENOENT, EINVAL});
}

struct Step {
  const char* name;
  Outcome (*run)();
};

// One change each, with its times compared: of the file, of its directory, of what it replaced.
const Step kSteps[] = {
    {"open for writing", [] { return Result(close(open("it", O_RDWR))); }},
    {"truncate an empty file", [] { return Result(truncate("empty", 0)); }},
    {"truncate to the same", [] { return Result(truncate("it", 7)); }},
    {"ftruncate to the same", [] { return Result(ftruncate(e2e::Open("it", O_RDWR).get(), 7)); }},
    {"open, truncating an empty file",
     [] { return Result(close(open("empty", O_WRONLY | O_TRUNC))); }},
    {"create over an empty file",
     [] { return Result(close(open("empty", O_WRONLY | O_CREAT | O_TRUNC, 0600))); }},
    {"create over a file", [] { return Result(close(open("it", O_WRONLY | O_CREAT, 0600))); }},
    {"write of nothing", [] { return Result(write(e2e::Open("it", O_RDWR).get(), "", 0)); }},
    {"write of the same", [] { return Result(write(e2e::Open("it", O_RDWR).get(), "con", 3)); }},
    {"chmod to the same", [] { return Result(chmod("it", 0644)); }},
    {"chown to the same", [] { return Result(chown("it", 0, 0)); }},
    {"rename", [] { return Result(rename("it", "new")); }},
    {"rename over another", [] { return Result(rename("it", "empty")); }},
    {"rename into a directory", [] { return Result(rename("it", "dir/it")); }},
    {"rename of a directory", [] { return Result(rename("dir", "new")); }},
    {"rename to itself", [] { return Result(rename("it", "it")); }},
    {"rename onto another name", [] { return Result(rename("it", "second")); }},
    {"link", [] { return Result(link("it", "new")); }},
    {"link into a directory", [] { return Result(link("it", "dir/new")); }},
    {"unlink", [] { return Result(unlink("it")); }},
    {"unlink of a second name", [] { return Result(unlink("second")); }},
    {"mkdir in a directory", [] { return Result(mkdir("dir/new", 0700)); }},
    {"rmdir", [] { return Result(rmdir("dir")); }},
    {"symlink", [] { return Result(symlink("it", "dir/link")); }},
    {"a failed mkdir", [] { return Result(mkdir("it", 0700)); }},
    {"a failed link", [] { return Result(link("it", "second")); }},
    {"a failed rename", [] { return Result(rename("it", "dir")); }},
    {"a failed rmdir", [] { return Result(rmdir("it")); }},
    {"a failed unlink", [] { return Result(unlink("dir")); }},
    {"a failed truncate", [] { return Result(truncate("it", -1)); }},
};

TEST_F(Times, AfterEachChange) {
  for (const Step& step : kSteps) {
    for (const bool old : {false, true}) {
      Add({std::string(step.name) + (old ? ", all times long past" : ""),
           [=] {
             MakeFile("it");
             MakeFile("empty", 0644, "");
             MakeDir("dir");
             ASSERT_EQ(link("it", "second"), 0);
             if (!old) return;
             for (const char* path : {"it", "empty", "dir", "."}) SetOldTimes(path);
           },
           Root(), [&step] { return step.run(); }});
    }
  }
  Run({0, EEXIST, EISDIR, ENOTDIR, EINVAL});
}

}  // namespace
}  // namespace airstore::posix
