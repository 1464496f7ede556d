// SPDX-License-Identifier: Apache-2.0
//
// Sizes: of files, of names, of what a process may write.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <limits>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

constexpr off_t kMebibyte = 1 << 20;

class Limits : public Lockstep {};

// For the process, while it exists; a signal would come before the error.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_F(Limits, OfTheProcess) {
  struct Write {
    off_t offset;
    size_t length;
  };
  for (const Write write : {Write{0, 4096}, Write{4000, 200}, Write{4095, 1}, Write{4095, 2},
                            Write{4096, 1}, Write{10'000, 1}}) {
    for (const int flags : {O_RDWR, O_RDWR | O_APPEND}) {
      Add({"write of " + std::to_string(write.length) + " at " + std::to_string(write.offset) +
               (flags == O_RDWR ? "" : ", appending"),
           [] { MakeFile("it"); }, Root(),
           [=]() -> Outcome {
             const FileSizeLimit limit(4096);
             const UniqueFd fd(open("it", flags | O_CLOEXEC));
             const std::string bytes(write.length, 'w');
             const ssize_t done = pwrite(fd.get(), bytes.data(), bytes.size(), write.offset);
             return done < 0 ? Outcome(errno) : Outcome(0, std::to_string(done));
           }});
    }
  }
  for (const off_t size : {0, 4096, 4097}) {
    Add({"truncate to " + std::to_string(size), [] { MakeFile("it"); }, Root(),
         [=] {
           const FileSizeLimit limit(4096);
           return Result(truncate("it", size));
         }});
    Add({"shrink to " + std::to_string(size), [] { MakeFile("it", 0644, std::string(9999, 'i')); },
         Root(),
         [=] {
           const FileSizeLimit limit(4096);
           return Result(truncate("it", size));
         }});
  }
  Run({0, EFBIG});
}

TEST_F(Limits, OfSizes) {
  constexpr off_t kMost = std::numeric_limits<off_t>::max();
  constexpr off_t kTiB = off_t{1} << 40;
  for (const off_t size :
       {off_t{-1}, std::numeric_limits<off_t>::min(), off_t{0}, off_t{1}, off_t{4095}, off_t{4097},
        kMebibyte + 1, off_t{1} << 32, kTiB, 16 * kTiB - 4096, 16 * kTiB, kMost - 1, kMost}) {
    Add({"truncate to " + std::to_string(size), [] { MakeFile("it"); }, Root(),
         [=] { return Result(truncate("it", size)); }});
    Add({"ftruncate to " + std::to_string(size), [] { MakeFile("it"); }, Root(),
         [=]() -> Outcome {
           const UniqueFd fd(open("it", O_RDWR | O_CLOEXEC));
           const int error = e2e::ErrnoOf(ftruncate(fd.get(), size));
           // So that what is compared is not mostly zeros.
           if (error == 0) (void)pwrite(fd.get(), "w", 1, 1);
           return {error};
         }});
  }
  for (const off_t at : {(off_t{1} << 32) - 1, kTiB, 16 * kTiB, kMost - 4096, kMost - 1, kMost}) {
    Add({"write at " + std::to_string(at), [] { MakeFile("it"); }, Root(),
         [=]() -> Outcome {
           const UniqueFd fd(open("it", O_RDWR | O_CLOEXEC));
           const int error = e2e::ErrnoOf(pwrite(fd.get(), "w", 1, at));
           char byte = 0;
           const ssize_t got = pread(fd.get(), &byte, 1, at);
           return {error, std::to_string(got) + " " + byte};
         }});
    Add({"read at " + std::to_string(at), [] { MakeFile("it"); }, Root(),
         [=]() -> Outcome {
           const UniqueFd fd(open("it", O_RDWR | O_CLOEXEC));
           char byte = 0;
           const ssize_t got = pread(fd.get(), &byte, 1, at);
           return got < 0 ? Outcome(errno) : Outcome(0, std::to_string(got));
         }});
  }
  Run({0, EINVAL, EFBIG});
}

TEST_F(Limits, OfNames) {
  for (const size_t length : {1u, 254u, 255u, 256u, 1000u}) {
    for (const char* letter : {"n", "\xc3", ".", " "}) {
      Add({"a name of " + std::to_string(length) + " times " + letter, [] { MakeFile("source"); },
           Root(),
           [=]() -> Outcome {
             std::string name;
             while (name.size() < length) name += letter;
             const Outcome made = Result(mkdir(name.c_str(), 0755));
             const Outcome moved = Result(rename("source", (name + "/" + name).c_str()));
             return {made.error, NameOf(moved.error)};
           }});
    }
  }
  for (const size_t length : {1u, 59u, 60u, 255u, 4094u, 4095u, 4096u}) {
    Add({"a link's target of " + std::to_string(length), [] {}, Root(),
         [=]() -> Outcome {
           const Outcome made = Result(symlink(std::string(length, 't').c_str(), "it"));
           struct stat info {};
           lstat("it", &info);
           char target[8];
           const ssize_t got = readlink("it", target, sizeof target);
           return {made.error, std::to_string(info.st_size) + " " + std::to_string(got)};
         }});
  }
  Add({"a link's empty target", [] {}, Root(), [] { return Result(symlink("", "it")); }});
  Run({0, ENAMETOOLONG, EEXIST, ENOENT});
}

// A path that no call could name is reached step by step.
TEST_F(Limits, OfDepth) {
  Add({"directories deeper than a path is long", [] {}, Root(),
       []() -> Outcome {
         const std::string name(200, 'd');
         for (int depth = 0; depth < 30; ++depth) {
           if (mkdir(name.c_str(), 0755) != 0 || chdir(name.c_str()) != 0) return {errno};
         }
         std::string path(PATH_MAX, '\0');
         const char* found = getcwd(path.data(), path.size());
         const int too_long = found == nullptr ? errno : 0;
         for (int depth = 0; depth < 30; ++depth) {
           if (chdir("..") != 0 || rmdir(name.c_str()) != 0) return {errno};
         }
         return {too_long};
       }});
  Run({ERANGE});
}

TEST_F(Limits, OfLinks) {
  Add({"three hundred names of one file", [] { MakeFile("it"); }, Root(),
       []() -> Outcome {
         for (int i = 0; i < 300; ++i) {
           if (link("it", ("name" + std::to_string(i)).c_str()) != 0) return {errno};
         }
         for (int i = 0; i < 300; i += 2) {
           if (unlink(("name" + std::to_string(i)).c_str()) != 0) return {errno};
         }
         return {0};
       }});
  Run({0});
}

}  // namespace
}  // namespace airstore::posix
