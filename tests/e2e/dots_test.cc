// SPDX-License-Identifier: Apache-2.0
//
// "." and ".." as listings have them.
#include <dirent.h>

#include <filesystem>

#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

class Dots : public TwoMounts {
 protected:
  // The number beside that name in the listing of the directory.
  static uint64_t Listed(const std::string& directory, const std::string& name) {
    DIR* const stream = opendir(directory.c_str());
    if (stream == nullptr) return 0;
    uint64_t found = 0;
    while (const dirent* entry = readdir(stream)) {
      if (entry->d_name == name) found = entry->d_ino;
    }
    closedir(stream);
    return found;
  }
  static void ExpectDots(const std::string& directory, const std::string& parent) {
    EXPECT_EQ(Listed(directory, "."), Stat(directory).st_ino) << directory;
    EXPECT_EQ(Listed(directory, ".."), Stat(parent).st_ino) << directory;
  }
};

TEST_F(Dots, AreTheDirectoryAndWhereItIs) {
  std::filesystem::create_directories(At(0, "a/b/c"));
  std::filesystem::create_directories(At(0, "other"));
  for (const int mount : {0, 1}) {
    ExpectDots(At(mount, "a/b/c"), At(mount, "a/b"));
    ExpectDots(At(mount, "a/b"), At(mount, "a"));
    ExpectDots(At(mount, "a"), this->mount(mount));
    EXPECT_EQ(Listed(this->mount(mount), ".."), Stat(this->mount(mount)).st_ino);
  }
  std::filesystem::create_directories(At(0, "a/moved/d"));
  ASSERT_EQ(Stat(At(1, "a/moved/d")).st_nlink, 2u);
  ASSERT_EQ(rename(At(0, "a/moved").c_str(), At(0, "other/moved").c_str()), 0);
  for (const int mount : {0, 1}) {
    ExpectDots(At(mount, "other/moved"), At(mount, "other"));
    ExpectDots(At(mount, "other/moved/d"), At(mount, "other/moved"));
  }
  // Nobody who serves it has seen a name.
  const std::string mount = host().Path("mnt1");
  host().Unmount(mount);
  const std::string again = host().Mount("work", "mnt1");
  ExpectDots(again + "/a/b/c", again + "/a/b");
}

}  // namespace
}  // namespace airstore::e2e
