// SPDX-License-Identifier: Apache-2.0
//
// Random changes through one of two mounts, each checked through the other one right after.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <iostream>
#include <random>

#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

class Rounds {
 public:
  Rounds(std::array<std::string, 2> mounts, uint64_t seed) : mounts_(mounts), random_(seed) {}

  // One change and its checks.
  void Step() {
    const int side = static_cast<int>(Below(2));
    switch (Below(12)) {
      case 0:
      case 1:
        Create(side);
        break;
      case 2:
      case 3:
        Change(side, "overwrite", [this](int fd, std::string& content) {
          const size_t at = Below(content.size() + 1);
          Splice(fd, content, at, Bytes());
        });
        break;
      case 4:
        Change(side, "append", [this](int fd, std::string& content) {
          Splice(fd, content, content.size(), Bytes());
        });
        break;
      case 5:
        Change(side, "truncate", [this](int fd, std::string& content) {
          content.resize(Below(content.size() * 2 + 10));
          ASSERT_EQ(ftruncate(fd, static_cast<off_t>(content.size())), 0);
        });
        break;
      case 6:
        Change(side, "mmap", [this](int fd, std::string& content) { Store(fd, content); });
        break;
      case 7:
        Rename(side);
        break;
      case 8:
        Unlink(side);
        break;
      case 9:
        MakeOrRemoveDirectory(side);
        break;
      case 10:
        SetAttributes(side);
        break;
      default:
        HoldOrLetGo();
    }
    if (!files_.empty()) CheckFile(1 - side, AnyFile());
  }
  const std::string& last() const { return last_; }

 private:
  struct Held {
    UniqueFd fd;
    std::string path;
  };

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  std::string On(int side, const std::string& path) const {
    return mounts_[static_cast<size_t>(side)] + path;
  }
  std::string Bytes() {
    // Small ones mostly; some over the limits of slabs and of one block.
    const uint64_t kind = Below(20);
    return RandomBytes(random_(), Below(kind == 0 ? 400'000 : kind < 4 ? 80'000 : 3000));
  }
  const std::string& AnyFile() {
    return std::next(files_.begin(), static_cast<ptrdiff_t>(Below(files_.size())))->first;
  }
  const std::string& AnyDirectory() {
    return *std::next(directories_.begin(), static_cast<ptrdiff_t>(Below(directories_.size())));
  }
  std::string NewPath() { return AnyDirectory() + "/n" + std::to_string(Below(40)); }
  void Begin(int side, const std::string& what) {
    last_ = "mount " + std::to_string(side) + ": " + what;
  }

  void CheckFile(int side, const std::string& path) {
    const struct stat info = Stat(On(side, path));
    const std::string& content = files_.at(path);
    EXPECT_EQ(info.st_size, static_cast<off_t>(content.size())) << path;
    EXPECT_TRUE(ReadFile(On(side, path)) == content) << "content of " << path;
    for (const Held& held : held_) {
      if (held.path != path) continue;
      EXPECT_TRUE(ReadSome(held.fd.get(), content.size() + 10, 0) == content)
          << "content of " << path << " through an older descriptor";
    }
  }
  void CheckBothAgree(const std::string& path) {
    const struct stat one = Stat(On(0, path));
    const struct stat two = Stat(On(1, path));
    EXPECT_EQ(one.st_mode, two.st_mode) << path;
    EXPECT_EQ(one.st_ino, two.st_ino) << path;
    EXPECT_EQ(one.st_nlink, two.st_nlink) << path;
    EXPECT_EQ(one.st_mtim.tv_sec, two.st_mtim.tv_sec) << path;
    EXPECT_EQ(one.st_mtim.tv_nsec, two.st_mtim.tv_nsec) << path;
  }
  void CheckNames(int side, const std::string& directory) {
    std::set<std::string> expected;
    const auto add = [&](const std::string& path) {
      const size_t slash = path.rfind('/');
      if (slash != std::string::npos && path.substr(0, slash) == directory) {
        expected.insert(path.substr(slash + 1));
      }
    };
    for (const auto& [path, content] : files_) add(path);
    for (const auto& path : directories_) add(path);
    EXPECT_EQ(NamesIn(On(side, directory)), expected) << "names in " << directory;
  }
  static std::string Parent(const std::string& path) { return path.substr(0, path.rfind('/')); }

  void Create(int side) {
    const std::string path = NewPath();
    if (directories_.contains(path)) return;
    Begin(side, "create " + path);
    EXPECT_EQ(Exists(On(1 - side, path)), files_.contains(path));
    const std::string content = Bytes();
    WriteFile(On(side, path), content);
    files_[path] = content;
    CheckFile(1 - side, path);
    CheckBothAgree(path);
    CheckNames(1 - side, Parent(path));
  }
  template <typename Body>
  void Change(int side, const char* what, const Body& body) {
    if (files_.empty()) return;
    const std::string path = AnyFile();
    Begin(side, std::string(what) + " " + path);
    if (Below(2) == 0) (void)ReadFile(On(1 - side, path));  // so that its kernel has pages
    UniqueFd file = Open(On(side, path), O_RDWR);
    body(file.get(), files_[path]);
    if (Below(2) == 0) file.reset();
    CheckFile(1 - side, path);
    CheckBothAgree(path);
    CheckFile(side, path);
  }
  static void Splice(int fd, std::string& content, size_t at, const std::string& bytes) {
    WriteAt(fd, bytes, static_cast<off_t>(at));
    if (content.size() < at + bytes.size()) content.resize(at + bytes.size());
    content.replace(at, bytes.size(), bytes);
  }
  void Store(int fd, std::string& content) {
    if (content.empty()) return;
    void* const memory = mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(memory, MAP_FAILED) << strerror(errno);
    for (int i = 0; i < 3; ++i) {
      const size_t at = Below(content.size());
      static_cast<char*>(memory)[at] = content[at] = static_cast<char>(random_());
    }
    EXPECT_EQ(msync(memory, content.size(), MS_SYNC), 0);
    munmap(memory, content.size());
  }
  void Rename(int side) {
    if (files_.empty()) return;
    const std::string from = AnyFile();
    const std::string to = NewPath();
    if (directories_.contains(to) || from == to) return;
    Begin(side, "rename " + from + " to " + to);
    ASSERT_EQ(rename(On(side, from).c_str(), On(side, to).c_str()), 0) << strerror(errno);
    LetGo(to);
    for (Held& held : held_) {
      if (held.path == from) held.path = to;
    }
    files_[to] = std::move(files_[from]);
    files_.erase(from);
    EXPECT_FALSE(Exists(On(1 - side, from)));
    CheckFile(1 - side, to);
    CheckBothAgree(to);
    CheckNames(1 - side, Parent(from));
    CheckNames(1 - side, Parent(to));
  }
  void Unlink(int side) {
    if (files_.empty()) return;
    const std::string path = AnyFile();
    Begin(side, "unlink " + path);
    ASSERT_EQ(unlink(On(side, path).c_str()), 0);
    LetGo(path);
    files_.erase(path);
    EXPECT_FALSE(Exists(On(1 - side, path)));
    CheckNames(1 - side, Parent(path));
  }
  void MakeOrRemoveDirectory(int side) {
    const std::string path = "/d" + std::to_string(Below(6));
    if (!directories_.contains(path)) {
      Begin(side, "mkdir " + path);
      ASSERT_EQ(mkdir(On(side, path).c_str(), 0755), 0) << strerror(errno);
      directories_.insert(path);
      CheckBothAgree(path);
    } else {
      Begin(side, "rmdir " + path);
      const auto below = files_.lower_bound(path + "/");
      const bool empty = below == files_.end() || Parent(below->first) != path;
      EXPECT_EQ(ErrnoOf(rmdir(On(side, path).c_str())), empty ? 0 : ENOTEMPTY);
      if (empty) directories_.erase(path);
      EXPECT_EQ(Exists(On(1 - side, path)), !empty);
    }
    CheckNames(1 - side, "");
  }
  void SetAttributes(int side) {
    if (files_.empty()) return;
    const std::string path = AnyFile();
    Begin(side, "attributes of " + path);
    const mode_t mode = static_cast<mode_t>(0600 | Below(0200));
    ASSERT_EQ(chmod(On(side, path).c_str(), mode), 0);
    EXPECT_EQ(Stat(On(1 - side, path)).st_mode, S_IFREG | mode);
    const timespec times[2] = {{1, 2}, {static_cast<time_t>(Below(1u << 30)), 7}};
    ASSERT_EQ(utimensat(AT_FDCWD, On(side, path).c_str(), times, 0), 0);
    EXPECT_EQ(Stat(On(1 - side, path)).st_mtim.tv_sec, times[1].tv_sec);
    CheckBothAgree(path);
  }
  void HoldOrLetGo() {
    if (held_.size() >= 6 || (!held_.empty() && Below(2) == 0)) {
      held_.erase(held_.begin() + static_cast<ptrdiff_t>(Below(held_.size())));
    } else if (!files_.empty()) {
      const std::string path = AnyFile();
      const int side = static_cast<int>(Below(2));
      Begin(side, "open " + path);
      held_.push_back({Open(On(side, path), Below(2) == 0 ? O_RDONLY : O_RDWR), path});
      CheckFile(side, path);
    }
  }
  void LetGo(const std::string& path) {
    std::erase_if(held_, [&](const Held& held) { return held.path == path; });
  }

  const std::array<std::string, 2> mounts_;
  std::mt19937_64 random_;
  std::map<std::string, std::string> files_;  // contents by path
  std::set<std::string> directories_ = {""};
  std::vector<Held> held_;
  std::string last_;
};

TEST_F(TwoMounts, AgreeAfterEachOfManyRandomChanges) {
  const uint64_t seed = EnvOr("AIRSTORE_SEED", std::random_device()());
  std::cout << "AIRSTORE_SEED=" << seed << std::endl;
  Rounds rounds({mount(0), mount(1)}, seed);
  const uint64_t count = EnvOr("AIRSTORE_E2E_ROUNDS", 5000);
  for (uint64_t i = 0; i < count; ++i) {
    try {
      rounds.Step();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    ASSERT_FALSE(HasFailure()) << "round " << i << ", " << rounds.last() << ", seed " << seed;
  }
  EXPECT_EQ(NamesIn(other()), std::set<std::string>{});
  EXPECT_EQ(Difference(Tree(mount(0)), Tree(mount(1))), "");
}

}  // namespace
}  // namespace airstore::e2e
