// SPDX-License-Identifier: Apache-2.0
//
// Renaming with flags, across directories, and over what is open.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/basics.h"

namespace airstore::e2e {
namespace {

TEST_F(Basics, ExchangesNames) {
  WriteFile(At("a"), "a");
  mkdir(At("d").c_str(), 0755);
  WriteFile(At("d/b"), "b");
  mkdir(At("d/sub").c_str(), 0755);
  WriteFile(At("d/sub/f"), "deep");
  const ino_t a = Stat(At("a")).st_ino;
  const ino_t b = Stat(At("d/b")).st_ino;
  EXPECT_EQ(Rename("a", "none", RENAME_EXCHANGE), ENOENT);
  EXPECT_EQ(Rename("none", "a", RENAME_EXCHANGE), ENOENT);
  EXPECT_EQ(Rename("a", "d/b", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
  ASSERT_EQ(Rename("a", "d/b", RENAME_EXCHANGE), 0);
  const auto files = [&] {
    EXPECT_EQ(ReadFile(At("a")), "b");
    EXPECT_EQ(ReadFile(At("d/b")), "a");
    EXPECT_EQ(Stat(At("a")).st_ino, b);
    EXPECT_EQ(Stat(At("d/b")).st_ino, a);
  };
  files();
  RemountFresh();
  files();
  // A file and a directory: the latter's parent changes, and so do the counts of links.
  EXPECT_EQ(Stat(mount()).st_nlink, 3u);
  EXPECT_EQ(Stat(At("d")).st_nlink, 3u);
  ASSERT_EQ(Rename("a", "d/sub", RENAME_EXCHANGE), 0);
  const auto mixed = [&] {
    EXPECT_EQ(ReadFile(At("a/f")), "deep");
    EXPECT_EQ(ReadFile(At("d/sub")), "b");
    EXPECT_EQ(Stat(At("a")).st_ino, Stat(At("d") + "/../a").st_ino);
    EXPECT_EQ(Stat(At("a/..")).st_ino, Stat(mount()).st_ino);
    EXPECT_EQ(Stat(mount()).st_nlink, 4u);
    EXPECT_EQ(Stat(At("d")).st_nlink, 2u);
    EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"a", "d"}));
    EXPECT_EQ(NamesIn(At("d")), (std::set<std::string>{"b", "sub"}));
  };
  mixed();
  RemountFresh();
  mixed();
}

TEST_F(Basics, ExchangesFullDirectoriesButNotWithTheirOwnParts) {
  for (const char* name : {"a", "a/x", "b", "b/y", "b/y/z"}) mkdir(At(name).c_str(), 0755);
  EXPECT_EQ(Rename("b", "b/y", RENAME_EXCHANGE), EINVAL);
  EXPECT_EQ(Rename("b/y/z", "b", RENAME_EXCHANGE), EINVAL);
  EXPECT_EQ(Rename("a", "b/y", RENAME_EXCHANGE), 0);
  EXPECT_EQ(NamesIn(At("a")), std::set<std::string>{"z"});
  EXPECT_EQ(NamesIn(At("b/y")), std::set<std::string>{"x"});
  EXPECT_EQ(Rename("b", "b/y/x", 0), EINVAL);
  EXPECT_EQ(Rename("a", "b/y/x", 0), 0);
  EXPECT_EQ(NamesIn(At("b/y/x")), std::set<std::string>{"z"});
  RemountFresh();
  EXPECT_EQ(NamesIn(At("b/y/x")), std::set<std::string>{"z"});
}

// A directory that one mount has moved is not to be moved into itself by another one that has not
// looked yet.
TEST_F(Basics, FindsLoopsAcrossMounts) {
  const std::string other = host().Mount("work", "mnt2");
  for (const char* name : {"a", "b", "a/x"}) mkdir(At(name).c_str(), 0755);
  EXPECT_EQ(NamesIn(other + "/a"), std::set<std::string>{"x"});
  EXPECT_EQ(NamesIn(other + "/b"), std::set<std::string>{});
  ASSERT_EQ(Rename("a", "b/a"), 0);
  EXPECT_EQ(ErrnoOf(rename((other + "/b").c_str(), (other + "/b/a/x/b").c_str())), EINVAL);
  EXPECT_EQ(NamesIn(other + "/b/a"), std::set<std::string>{"x"});
  EXPECT_EQ(Rename("b/a", "b/a/x/c"), EINVAL);
}

TEST_F(Basics, LeavesWhiteouts) {
  WriteFile(At("a"), "a");
  WriteFile(At("b"), "b");
  ASSERT_EQ(Rename("a", "c", RENAME_WHITEOUT), 0);
  ASSERT_EQ(Rename("b", "c", RENAME_WHITEOUT), 0) << "replaces";
  const auto check = [&] {
    for (const char* name : {"a", "b"}) {
      const struct stat left = Stat(At(name));
      EXPECT_TRUE(S_ISCHR(left.st_mode)) << name;
      EXPECT_EQ(left.st_rdev, 0u) << name;
      EXPECT_EQ(left.st_nlink, 1u) << name;
    }
    EXPECT_EQ(ReadFile(At("c")), "b");
    EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"a", "b", "c"}));
  };
  check();
  RemountFresh();
  check();
  EXPECT_EQ(ErrnoOf(unlink(At("a").c_str())), 0);
  EXPECT_FALSE(Exists(At("a")));
}

TEST_F(Basics, RenamesOverOpenFiles) {
  for (const size_t size : {10u, 300'000u}) {
    const std::string old_content = RandomBytes(1, size);
    const std::string new_content = RandomBytes(2, size / 2);
    WriteFile(At("new"), new_content);
    WriteFile(At("old"), old_content);
    const UniqueFd reader = Open(At("old"), O_RDONLY);
    const UniqueFd writer = Open(At("old"), O_RDWR);
    const UniqueFd moved = Open(At("new"), O_RDWR);
    ASSERT_EQ(Rename("new", "old"), 0);
    EXPECT_EQ(ReadSome(reader.get(), size, 0), old_content);
    WriteAt(writer.get(), "unseen", 0);
    EXPECT_EQ(ReadSome(reader.get(), 6, 0), "unseen");
    struct stat info {};
    ASSERT_EQ(fstat(writer.get(), &info), 0);
    EXPECT_EQ(info.st_nlink, 0u);
    WriteAt(moved.get(), "seen", 0);
    EXPECT_EQ(ReadFile(At("old")), "seen" + new_content.substr(4));
    unlink(At("old").c_str());
  }
}

}  // namespace
}  // namespace airstore::e2e
