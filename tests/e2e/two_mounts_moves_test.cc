// SPDX-License-Identifier: Apache-2.0
//
// Programs in a directory that another mount moves are where it is now.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>

#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

class TwoMountsMoves : public TwoMounts {
 protected:
  // What getcwd(2) says in it: the kernel adds " (deleted)" where that fails.
  static std::string PathOf(const UniqueFd& directory) {
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(directory.get()));
  }
  static ino_t Above(const UniqueFd& directory) {
    struct stat info {};
    EXPECT_EQ(fstatat(directory.get(), "..", &info, 0), 0);
    return info.st_ino;
  }
};

TEST_F(TwoMountsMoves, DirectoriesInUseAreFoundWhereTheyAre) {
  for (const char* name : {"a", "a/deep", "a/deep/er", "b"}) {
    ASSERT_EQ(mkdir(At(0, name).c_str(), 0755), 0);
  }
  const UniqueFd moved = Open(At(1, "a/deep"), O_RDONLY | O_DIRECTORY);
  const UniqueFd below = Open(At(1, "a/deep/er"), O_RDONLY | O_DIRECTORY);
  for (int round = 0; round < 20; ++round) {
    const std::string from = round % 2 == 0 ? "a/deep" : "b/other";
    const std::string to = round % 2 == 0 ? "b/other" : "a/deep";
    ASSERT_EQ(rename(At(0, from).c_str(), At(0, to).c_str()), 0);
    EXPECT_EQ(PathOf(moved), At(1, to));
    EXPECT_EQ(PathOf(below), At(1, to + "/er"));
    EXPECT_EQ(Above(moved), Stat(At(0, to.substr(0, 1))).st_ino);
  }
  const UniqueFd other = Open(At(1, "b"), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(
      renameat2(AT_FDCWD, At(0, "a/deep").c_str(), AT_FDCWD, At(0, "b").c_str(), RENAME_EXCHANGE),
      0);
  EXPECT_EQ(PathOf(moved), At(1, "b"));
  EXPECT_EQ(PathOf(other), At(1, "a/deep"));
  EXPECT_EQ(Above(other), Stat(At(0, "a")).st_ino);
}

// Who has a directory locked waits for the broker, and the broker does not wait for him.
TEST_F(TwoMountsMoves, ThatCrossEachOtherGoOn) {
  for (const char* name : {"a", "b", "a/0", "b/1"}) {
    ASSERT_EQ(mkdir(At(0, name).c_str(), 0755), 0);
  }
  std::array<UniqueFd, 2> inside = {Open(At(1, "a/0"), O_RDONLY | O_DIRECTORY),
                                    Open(At(0, "b/1"), O_RDONLY | O_DIRECTORY)};
  const auto begin = Now();
  const auto move = [this](int mount, const std::string& name) {
    for (int round = 0; round < 100; ++round) {
      const bool there = std::filesystem::exists(At(mount, "a/" + name));
      const std::string from = (there ? "a/" : "b/") + name;
      const std::string to = (there ? "b/" : "a/") + name;
      EXPECT_EQ(rename(At(mount, from).c_str(), At(mount, to).c_str()), 0) << from;
    }
  };
  std::thread other(move, 1, "1");
  move(0, "0");
  other.join();
  EXPECT_LT(Now() - begin, std::chrono::seconds(60));
  EXPECT_EQ(PathOf(inside[0]), At(1, "a/0"));
  EXPECT_EQ(PathOf(inside[1]), At(0, "b/1"));
}

}  // namespace
}  // namespace airstore::e2e
