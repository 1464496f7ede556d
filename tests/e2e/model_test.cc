// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a mount and on a local directory in lock step: whatever the local file
// system answers is right.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <iostream>
#include <random>
#include <sstream>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

class Lockstep {
 public:
  Lockstep(std::string mount, std::string local, uint64_t seed)
      : roots_{std::move(mount), std::move(local)}, random_(seed) {}

  void Step();
  void CloseAll() {
    open_.clear();
    Remember("close all");
  }
  std::string CompareTrees() const {
    const TreeOptions options{.times = false};
    return Difference(Tree(roots_[1], options), Tree(roots_[0], options));
  }
  // What was done last, oldest first.
  std::string History() const {
    std::string text;
    for (const auto& line : history_) text += line + "\n";
    return text;
  }

 private:
  struct Pair {
    UniqueFd fds[2];
    std::string path;
  };

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  std::string Name() {
    if (Below(200) == 0) return std::string(255 + Below(2), 'L');
    return std::string(1, static_cast<char>('a' + Below(7)));
  }
  std::string Path() {
    std::string path = "/" + Name();
    while (path.size() < 600 && Below(5) < 2) path += "/" + Name();
    return path;
  }
  size_t Length() { return Below(12) == 0 ? Below(500'000) : Below(5000); }
  off_t Offset() { return static_cast<off_t>(Below(10) == 0 ? Below(600'000) : Below(6000)); }

  // `body(root)` on both; what it returns must agree.
  template <typename Body>
  void OnBoth(const std::string& what, const Body& body) {
    const auto found = body(roots_[0]);
    const auto expected = body(roots_[1]);
    Remember(what + ": " + Show(expected));
    EXPECT_TRUE(found == expected)
        << what << "\n  expected " << Show(expected) << "\n  found    " << Show(found);
  }
  template <typename Body>
  void OnOpen(const std::string& what, const Body& body) {
    if (open_.empty()) return;
    const Pair& pair = open_[Below(open_.size())];
    const auto found = body(pair.fds[0].get());
    const auto expected = body(pair.fds[1].get());
    const std::string where = what + " on " + std::to_string(pair.fds[0].get()) + " " + pair.path;
    Remember(where + ": " + Show(expected));
    EXPECT_TRUE(found == expected) << where << "\n  expected " << Show(expected) << "\n  found    "
                                   << Show(found) << Compare(expected, found);
  }
  void Remember(const std::string& line) {
    history_.push_back(line);
    if (history_.size() > history_lines_) history_.pop_front();
  }
  static std::string Show(int code) { return code == 0 ? "success" : strerror(code); }
  static std::string Show(const std::string& text) {
    for (const char c : text) {
      if (c < ' ' && c != '\n') return std::to_string(text.size()) + " bytes";
    }
    return text;
  }
  // Where two answers that look alike differ.
  static std::string Compare(int, int) { return ""; }
  static std::string Compare(const std::string& expected, const std::string& found) {
    if (expected == found || expected.size() != found.size()) return "";
    size_t first = 0;
    size_t last = expected.size() - 1;
    while (expected[first] == found[first]) ++first;
    while (expected[last] == found[last]) --last;
    const bool zeros = found.find_first_not_of('\0', first) > last;
    return "\n  different from byte " + std::to_string(first) + " to " + std::to_string(last) +
           (zeros ? ", found zeros" : "");
  }
  static std::string Describe(int failed, const struct stat& info) {
    if (failed != 0) return strerror(errno);
    std::ostringstream out;
    out << std::oct << info.st_mode << std::dec << " links " << info.st_nlink << " owner "
        << info.st_uid << ":" << info.st_gid;
    if (!S_ISDIR(info.st_mode)) out << " size " << info.st_size;
    return out.str();
  }

  void OpenOne();
  void OnDescriptor();
  void OnNames();
  void Look();

  const std::string roots_[2];
  std::mt19937_64 random_;
  std::vector<Pair> open_;
  const size_t history_lines_ = EnvOr("AIRSTORE_E2E_HISTORY", 60);
  std::deque<std::string> history_;
};

void Lockstep::Step() {
  switch (Below(10)) {
    case 0:
    case 1:
      return OpenOne();
    case 2:
    case 3:
    case 4:
      return OnDescriptor();
    case 5:
    case 6:
    case 7:
      return OnNames();
    default:
      return Look();
  }
}

void Lockstep::OpenOne() {
  if (open_.size() >= 8 || (!open_.empty() && Below(3) == 0)) {
    const auto pair = open_.begin() + static_cast<ptrdiff_t>(Below(open_.size()));
    Remember("close " + std::to_string(pair->fds[0].get()) + " " + pair->path);
    open_.erase(pair);
    return;
  }
  constexpr int kAccess[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
  int flags = kAccess[Below(4)];
  if (Below(3) != 0) flags |= O_CREAT;
  if (Below(8) == 0) flags |= O_EXCL & (flags & O_CREAT ? ~0 : 0);
  if (Below(6) == 0) flags |= O_TRUNC;
  if (Below(6) == 0) flags |= O_APPEND;
  Pair pair;
  pair.path = Path();
  int side = 0;
  std::ostringstream what;
  what << "open " << pair.path << " with flags 0" << std::oct << flags;
  OnBoth(what.str(), [&](const std::string& root) {
    UniqueFd& fd = pair.fds[side++];
    fd.reset(open((root + pair.path).c_str(), flags | O_CLOEXEC, 0640));
    return fd ? 0 : errno;
  });
  if (pair.fds[0]) Remember("... as " + std::to_string(pair.fds[0].get()));
  if (pair.fds[0] && pair.fds[1]) open_.push_back(std::move(pair));
}

void Lockstep::OnDescriptor() {
  const off_t offset = Offset();
  const size_t length = Length();
  const std::string at = " at " + std::to_string(offset) + ", " + std::to_string(length) + " bytes";
  switch (Below(8)) {
    case 0:
    case 1: {
      const std::string bytes = RandomBytes(random_(), length);
      return OnOpen("pwrite" + at, [&](int fd) {
        const ssize_t done = pwrite(fd, bytes.data(), bytes.size(), offset);
        return done < 0 ? std::string(strerror(errno)) : std::to_string(done);
      });
    }
    case 2: {
      const std::string bytes = RandomBytes(random_(), length);
      return OnOpen("write" + at, [&](int fd) {
        const ssize_t done = write(fd, bytes.data(), bytes.size());
        return done < 0 ? std::string(strerror(errno)) : std::to_string(done);
      });
    }
    case 3:
    case 4:
      return OnOpen("pread" + at, [&](int fd) {
        std::string bytes(length, '\0');
        const ssize_t done = pread(fd, bytes.data(), bytes.size(), offset);
        if (done < 0) return std::string(strerror(errno));
        bytes.resize(static_cast<size_t>(done));
        return bytes;
      });
    case 5:
      return OnOpen("ftruncate" + at, [&](int fd) { return ErrnoOf(ftruncate(fd, offset)); });
    case 6: {
      const char byte = static_cast<char>(random_());
      return OnOpen("mapped store" + at, [&](int fd) {
        struct stat info {};
        if (fstat(fd, &info) != 0 || info.st_size == 0 || !S_ISREG(info.st_mode)) return -1;
        const auto size = static_cast<size_t>(info.st_size);
        void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) return errno;
        static_cast<char*>(memory)[static_cast<size_t>(offset) % size] = byte;
        const int code = ErrnoOf(msync(memory, size, MS_SYNC));
        munmap(memory, size);
        return code;
      });
    }
    default:
      if (Below(10) == 0) return OnOpen("fsync", [](int fd) { return ErrnoOf(fsync(fd)); });
      return OnOpen("fstat", [&](int fd) {
        struct stat info {};
        const int failed = fstat(fd, &info);
        return Describe(failed, info);
      });
  }
}

void Lockstep::OnNames() {
  const std::string one = Path();
  const std::string two = Path();
  switch (Below(12)) {
    case 0:
    case 1:
      return OnBoth("mkdir " + one, [&](const std::string& root) {
        return ErrnoOf(mkdir((root + one).c_str(), 0755));
      });
    case 2:
      return OnBoth("rmdir " + one,
                    [&](const std::string& root) { return ErrnoOf(rmdir((root + one).c_str())); });
    case 3:
    case 4:
      return OnBoth("unlink " + one,
                    [&](const std::string& root) { return ErrnoOf(unlink((root + one).c_str())); });
    case 5:
    case 6: {
      constexpr unsigned kNoReplace = 1;
      const unsigned flags = Below(5) == 0 ? kNoReplace : 0;
      return OnBoth("rename " + one + " " + two + (flags != 0 ? " without replacing" : ""),
                    [&](const std::string& root) {
                      return ErrnoOf(renameat2(AT_FDCWD, (root + one).c_str(), AT_FDCWD,
                                               (root + two).c_str(), flags));
                    });
    }
    case 7:
      return OnBoth("link " + one + " " + two, [&](const std::string& root) {
        return ErrnoOf(link((root + one).c_str(), (root + two).c_str()));
      });
    case 8:
      return OnBoth("symlink " + two + " " + one, [&](const std::string& root) {
        return ErrnoOf(symlink(two.c_str() + 1, (root + one).c_str()));
      });
    case 9: {
      const auto mode = static_cast<mode_t>(Below(010000));
      return OnBoth("chmod " + one, [&](const std::string& root) {
        return ErrnoOf(chmod((root + one).c_str(), mode));
      });
    }
    case 10: {
      const off_t size = Offset();
      return OnBoth("truncate " + one, [&](const std::string& root) {
        return ErrnoOf(truncate((root + one).c_str(), size));
      });
    }
    default: {
      const timespec times[2] = {{static_cast<time_t>(Below(1u << 30)), 5},
                                 {static_cast<time_t>(Below(1u << 30)), 999'999'999}};
      return OnBoth("utimens " + one, [&](const std::string& root) {
        const int code =
            ErrnoOf(utimensat(AT_FDCWD, (root + one).c_str(), times, AT_SYMLINK_NOFOLLOW));
        if (code != 0) return std::string(strerror(code));
        const timespec found = Stat(root + one).st_mtim;
        return std::to_string(found.tv_sec) + "." + std::to_string(found.tv_nsec);
      });
    }
  }
}

void Lockstep::Look() {
  const std::string path = Path();
  switch (Below(4)) {
    case 0:
      return OnBoth("lstat " + path, [&](const std::string& root) {
        struct stat info {};
        const int failed = lstat((root + path).c_str(), &info);
        return Describe(failed, info);
      });
    case 1:
      return OnBoth("stat " + path, [&](const std::string& root) {
        struct stat info {};
        const int failed = stat((root + path).c_str(), &info);
        return Describe(failed, info);
      });
    case 2:
      return OnBoth("readlink " + path, [&](const std::string& root) {
        char target[4096];
        const ssize_t length = readlink((root + path).c_str(), target, sizeof target);
        return length < 0 ? std::string(strerror(errno))
                          : std::string(target, static_cast<size_t>(length));
      });
    default: {
      const std::string where = Below(3) == 0 ? "" : path;
      return OnBoth("readdir " + where, [&](const std::string& root) {
        const UniqueFd directory(open((root + where).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!directory) return std::string(strerror(errno));
        std::string names;
        for (const auto& name : NamesIn(root + where)) names += name + "\n";
        return names;
      });
    }
  }
}

class Model : public MountTest {};

TEST_F(Model, RandomOperationsMatchALocalDirectory) {
  const uint64_t seed = EnvOr("AIRSTORE_SEED", std::random_device()());
  std::cout << "AIRSTORE_SEED=" << seed << std::endl;
  const std::string local = host().Path("model");
  ASSERT_EQ(mkdir(local.c_str(), 0755), 0);
  Lockstep both(mount(), local, seed);
  const uint64_t steps = EnvOr("AIRSTORE_E2E_STEPS", 3000);
  for (uint64_t i = 1; i <= steps; ++i) {
    both.Step();
    ASSERT_FALSE(HasFailure()) << "step " << i << ", seed " << seed << ", done before:\n"
                               << both.History();
    if (i % 200 == 0) {
      ASSERT_EQ(both.CompareTrees(), "") << "step " << i << ", seed " << seed;
    }
    if (i % 1000 == 0) {
      both.CloseAll();
      RemountFresh();
      ASSERT_EQ(both.CompareTrees(), "")
          << "mounted again, step " << i << ", seed " << seed << ", done before:\n"
          << both.History();
    }
  }
}

}  // namespace
}  // namespace airstore::e2e
