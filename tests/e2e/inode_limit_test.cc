// SPDX-License-Identifier: Apache-2.0
//
// Workspaces with far more files than a session's tables hold.
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

constexpr uint64_t kLimit = 1000;
constexpr int kDirectories = 40;
constexpr int kFilesEach = 100;

class InodeLimit : public HostTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.broker_arguments = {"--inode-limit", std::to_string(kLimit)};
    return options;
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    mounts_[0] = host().Mount("work", "mnt0");
    mounts_[1] = host().Mount("work", "mnt1");
    // Each open file needs one.
    rlimit files{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, 8 * kLimit);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  }
  std::string At(size_t mount, const std::string& path) const {
    return mounts_[mount] + "/" + path;
  }
  const std::string& mount(size_t index) const { return mounts_[index]; }
  uint64_t Cached() { return host().SessionStatus("work").at("cached_inodes").get<uint64_t>(); }

  // Path in the workspace: content.
  using Files = std::map<std::string, std::string>;
  static std::string DirectoryName(int i) {
    return "d" + std::to_string(i % 8) + "/e" + std::to_string(i);
  }
  Files MakeFiles() {
    Files files;
    for (int i = 0; i < kDirectories; ++i) {
      std::filesystem::create_directories(At(0, DirectoryName(i)));
      for (int j = 0; j < kFilesEach; ++j) {
        const std::string path = DirectoryName(i) + "/f" + std::to_string(j);
        files[path] = path + "\n";
        WriteFile(At(static_cast<size_t>(j % 2), path), files[path]);
      }
    }
    return files;
  }
  // All files below, by a walk over the mount.
  Files Walk(size_t mount) {
    Files found;
    const std::filesystem::path root = mounts_[mount];
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (!entry.is_regular_file()) continue;
      found[std::filesystem::relative(entry.path(), root)] = ReadFile(entry.path());
    }
    return found;
  }
  void ReplaceMount(size_t index, std::string path) { mounts_[index] = std::move(path); }

 private:
  std::string mounts_[2];
};

TEST_F(InodeLimit, AnyNumberOfFilesWorks) {
  Files model = MakeFiles();
  ASSERT_GT(model.size(), 3 * kLimit);
  EXPECT_LE(Cached(), kLimit);
  std::map<std::string, ino_t> numbers;
  for (const auto& [path, content] : model) numbers[path] = Stat(At(0, path)).st_ino;
  for (const size_t side : {0u, 1u}) {
    EXPECT_EQ(Walk(side), model);
    EXPECT_LE(Cached(), kLimit);
  }
  // What has left and come back is the same file.
  for (const auto& [path, number] : numbers) ASSERT_EQ(Stat(At(1, path)).st_ino, number) << path;
}

TEST_F(InodeLimit, RandomUseAgreesWithAModel) {
  Files model = MakeFiles();
  const uint64_t seed = EnvOr("AIRSTORE_E2E_SEED", 7);
  std::mt19937_64 random(seed);
  SCOPED_TRACE("AIRSTORE_E2E_SEED=" + std::to_string(seed));
  const auto any = [&] {
    return std::next(model.begin(), static_cast<ptrdiff_t>(random() % model.size()));
  };
  uint64_t made = 0;
  const auto fresh = [&] {
    return DirectoryName(static_cast<int>(random() % kDirectories)) + "/n" + std::to_string(++made);
  };
  const uint64_t rounds = EnvOr("AIRSTORE_E2E_ROUNDS", 3000);
  for (uint64_t round = 0; round < rounds; ++round) {
    const size_t side = random() % 2;
    const auto file = any();
    const std::string path = At(side, file->first);
    switch (random() % 8) {
      case 0:
      case 1:
        ASSERT_EQ(Stat(path).st_size, static_cast<off_t>(file->second.size())) << path;
        break;
      case 2:
      case 3:
        ASSERT_EQ(ReadFile(path), file->second) << path;
        break;
      case 4: {
        const std::string to = random() % 4 == 0 ? any()->first : fresh();
        ASSERT_EQ(ErrnoOf(rename(path.c_str(), At(side, to).c_str())), 0) << path << " to " << to;
        if (to != file->first) {
          model[to] = file->second;
          model.erase(file->first);
        }
        break;
      }
      case 5:
        ASSERT_EQ(ErrnoOf(unlink(path.c_str())), 0) << path;
        ASSERT_FALSE(Exists(At(1 - side, file->first))) << path;
        model.erase(file);
        break;
      case 6: {
        const std::string name = fresh();
        WriteFile(At(side, name), name);
        model[name] = name;
        break;
      }
      case 7: {
        file->second += std::to_string(round);
        std::ofstream(path, std::ios::app) << round;
        ASSERT_EQ(ReadFile(At(1 - side, file->first)), file->second) << path;
        break;
      }
    }
    if (round % 512 == 0) {
      ASSERT_LE(Cached(), kLimit);
    }
  }
  EXPECT_EQ(Walk(0), model);
  EXPECT_EQ(Walk(1), model);
  host().Unmount(mount(1));
  ReplaceMount(0, host().RemountFresh("work", mount(0)));
  EXPECT_EQ(Walk(0), model);
}

// What is open stays; what there is no room for is refused in words that fit.
TEST_F(InodeLimit, AllHeldOpen) {
  const Files model = MakeFiles();
  std::map<std::string, UniqueFd> open_files;
  int refused = 0;
  for (const auto& [path, content] : model) {
    UniqueFd fd(open(At(0, path).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
      ASSERT_TRUE(errno == ENFILE) << path << ": " << strerror(errno);
      if (++refused == 20) break;
      continue;
    }
    open_files.emplace(path, std::move(fd));
  }
  EXPECT_EQ(refused, 20);
  EXPECT_GT(open_files.size(), kLimit / 2);
  EXPECT_LE(Cached(), kLimit);
  const std::string fresh = At(0, DirectoryName(0) + "/fresh");
  EXPECT_EQ(ErrnoOf(open(fresh.c_str(), O_CREAT | O_WRONLY, 0600)), ENOSPC);
  for (const auto& [path, fd] : open_files) {
    ASSERT_EQ(ReadSome(fd.get(), 1000, 0), model.at(path)) << path;
  }
  open_files.clear();
  WriteFile(fresh, "there is room again");
  EXPECT_EQ(ReadFile(fresh), "there is room again");
  std::filesystem::remove(fresh);
  EXPECT_EQ(Walk(0), model);
  EXPECT_EQ(Walk(1), model);
}

// There are fewer places for names of this length than for inodes.
TEST_F(InodeLimit, NamesThatDoNotExistTakeNoPlaceFromThoseThatDo) {
  const auto name = [&](int i) { return At(0, "r" + std::to_string(i) + std::string(90, '-')); };
  for (int i = 0; i < 1500; ++i) {
    const UniqueFd made(open(name(i).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600));
    ASSERT_TRUE(made) << i << ": " << strerror(errno);
    ASSERT_EQ(unlink(name(i).c_str()), 0);
  }
  for (int i = 0; i < 500; ++i) WriteFile(name(i), "x");
  EXPECT_EQ(NamesIn(At(1, "")).size(), 500u);
}

// A listing that has begun goes on where it was, whatever leaves the tables meanwhile.
TEST_F(InodeLimit, ListingsGoOn) {
  std::set<std::string> expected;
  const std::string large = At(0, "large");
  std::filesystem::create_directory(large);
  for (int i = 0; i < 1500; ++i) {
    const std::string name = "entry-with-a-name-of-some-length-" + std::to_string(i);
    WriteFile(large + "/" + name, "x");
    expected.insert(name);
  }
  const Files others = MakeFiles();
  ASSERT_EQ(NamesIn(At(1, "large")), expected);
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(large.c_str()), closedir);
  ASSERT_NE(listing, nullptr);
  std::multiset<std::string> found;
  const auto take = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const dirent* entry = readdir(listing.get());
      if (entry == nullptr) return false;
      const std::string name = entry->d_name;
      if (name != "." && name != "..") found.insert(name);
    }
    return true;
  };
  ASSERT_TRUE(take(300));
  EXPECT_EQ(Walk(1).size(), others.size() + expected.size());
  ASSERT_TRUE(take(300));
  const long place = telldir(listing.get());
  ASSERT_TRUE(take(300));
  EXPECT_EQ(Walk(0).size(), others.size() + expected.size());
  while (take(1)) {
  }
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), expected);
  seekdir(listing.get(), place);
  found.clear();
  while (take(1)) {
  }
  EXPECT_NEAR(static_cast<double>(found.size()), static_cast<double>(expected.size()) - 598, 2);
}

}  // namespace
}  // namespace airstore::e2e
