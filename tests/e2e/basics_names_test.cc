// SPDX-License-Identifier: Apache-2.0
//
// Names and directories in one mount.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "tests/e2e/basics.h"

namespace airstore::e2e {
namespace {

TEST_F(Basics, TakesAnyBytesForNames) {
  std::set<std::string> names = {"\xff\xfe not utf-8", "new\nline",   " ",       "...", "\x01",
                                 "\xe2\x98\x83",       "back\\slash", "quote'\""};
  for (const auto& name : names) WriteFile(At(name), name);
  EXPECT_EQ(NamesIn(mount()), names);
  RemountFresh();
  EXPECT_EQ(NamesIn(mount()), names);
  for (const auto& name : names) EXPECT_EQ(ReadFile(At(name)), name);
}

TEST_F(Basics, LimitsNamesTo255Bytes) {
  const std::string longest(255, 'n');
  WriteFile(At(longest), "x");
  EXPECT_EQ(ReadFile(At(longest)), "x");
  const std::string too_long(256, 'n');
  EXPECT_EQ(ErrnoOf(open(At(too_long).c_str(), O_WRONLY | O_CREAT, 0644)), ENAMETOOLONG);
  EXPECT_EQ(ErrnoOf(mkdir(At(too_long).c_str(), 0755)), ENAMETOOLONG);
  struct stat info {};
  EXPECT_EQ(ErrnoOf(stat(At(too_long).c_str(), &info)), ENAMETOOLONG);
  EXPECT_EQ(Rename(longest, too_long), ENAMETOOLONG);
  RemountFresh();
  EXPECT_EQ(NamesIn(mount()), std::set<std::string>{longest});
}

TEST_F(Basics, ListsBigDirectoriesCompletely) {
  std::set<std::string> names;
  mkdir(At("big").c_str(), 0755);
  for (int i = 0; i < 10'000; ++i) {
    const std::string name = "file-" + std::to_string(i);
    Open(At("big/" + name), O_WRONLY | O_CREAT);
    names.insert(name);
  }
  EXPECT_TRUE(NamesIn(At("big")) == names);
  const std::string other = host().Mount("work", "mnt2");
  EXPECT_TRUE(NamesIn(other + "/big") == names);
  EXPECT_TRUE(NamesIn(At("big")) == names);
  host().Unmount(other);
  RemountFresh();
  EXPECT_TRUE(NamesIn(At("big")) == names);
}

TEST_F(Basics, ListsADirectoryWhileItIsEmptied) {
  mkdir(At("d").c_str(), 0755);
  for (int i = 0; i < 1000; ++i) WriteFile(At("d/" + std::to_string(i)), "");
  const Finished finished = RunProgram({"rm", "-r", At("d")});
  EXPECT_EQ(finished.code, 0) << finished.All();
  EXPECT_FALSE(Exists(At("d")));
}

TEST_F(Basics, RenamesFiles) {
  WriteFile(At("a"), "content");
  mkdir(At("d").c_str(), 0755);
  const ino_t inode = Stat(At("a")).st_ino;
  EXPECT_EQ(Rename("a", "d/b"), 0);
  EXPECT_FALSE(Exists(At("a")));
  EXPECT_EQ(Stat(At("d/b")).st_ino, inode);
  EXPECT_EQ(ReadFile(At("d/b")), "content");
  EXPECT_EQ(Rename("none", "other"), ENOENT);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("d/b")), "content");
}

TEST_F(Basics, RenamesDirectories) {
  mkdir(At("a").c_str(), 0755);
  mkdir(At("a/sub").c_str(), 0755);
  WriteFile(At("a/sub/f"), "deep");
  mkdir(At("target").c_str(), 0755);
  EXPECT_EQ(Rename("a", "target/b"), 0);
  EXPECT_EQ(ReadFile(At("target/b/sub/f")), "deep");
  EXPECT_EQ(Rename("target", "target/b/x"), EINVAL) << "into itself";
  EXPECT_EQ(Stat(mount()).st_nlink, 3u);
  EXPECT_EQ(Stat(At("target")).st_nlink, 3u);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("target/b/sub/f")), "deep");
}

TEST_F(Basics, ReplacesByRename) {
  WriteFile(At("a"), "a");
  WriteFile(At("b"), "b");
  mkdir(At("empty").c_str(), 0755);
  mkdir(At("full").c_str(), 0755);
  WriteFile(At("full/f"), "f");
  EXPECT_EQ(Rename("a", "b"), 0);
  EXPECT_EQ(ReadFile(At("b")), "a");
  EXPECT_EQ(Rename("b", "full"), EISDIR);
  EXPECT_EQ(Rename("full", "b"), ENOTDIR);
  EXPECT_EQ(Rename("empty", "full"), ENOTEMPTY);
  EXPECT_EQ(Rename("full", "empty"), 0);
  EXPECT_EQ(ReadFile(At("empty/f")), "f");
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"b", "empty"}));
}

TEST_F(Basics, HonoursRenameFlags) {
  WriteFile(At("a"), "a");
  WriteFile(At("b"), "b");
  EXPECT_EQ(Rename("a", "b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(Rename("a", "c", RENAME_NOREPLACE), 0);
  EXPECT_EQ(ReadFile(At("b")), "b");
  EXPECT_EQ(ReadFile(At("c")), "a");
}

TEST_F(Basics, RefusesToRemoveTheWrongKind) {
  mkdir(At("d").c_str(), 0755);
  WriteFile(At("d/f"), "");
  EXPECT_EQ(ErrnoOf(rmdir(At("d").c_str())), ENOTEMPTY);
  EXPECT_EQ(ErrnoOf(rmdir(At("d/f").c_str())), ENOTDIR);
  const int code = ErrnoOf(unlink(At("d").c_str()));
  EXPECT_TRUE(code == EISDIR || code == EPERM) << strerror(code);
  EXPECT_EQ(ErrnoOf(mkdir(At("d").c_str(), 0755)), EEXIST);
  EXPECT_EQ(ErrnoOf(unlink(At("d/f").c_str())), 0);
  EXPECT_EQ(ErrnoOf(unlink(At("d/f").c_str())), ENOENT);
  EXPECT_EQ(ErrnoOf(rmdir(At("d").c_str())), 0);
  EXPECT_EQ(NamesIn(mount()), std::set<std::string>{});
}

TEST_F(Basics, MakesSymbolicLinks) {
  const std::string longest(4095, 't');
  ASSERT_EQ(symlink("f", At("to-f").c_str()), 0);
  ASSERT_EQ(symlink(longest.c_str(), At("long").c_str()), 0);
  WriteFile(At("to-f"), "through the link");
  EXPECT_EQ(ReadFile(At("f")), "through the link");
  const auto target = [&](const std::string& name) {
    char text[5000];
    const ssize_t length = readlink(At(name).c_str(), text, sizeof text);
    return std::string(text, length > 0 ? static_cast<size_t>(length) : 0);
  };
  RemountFresh();
  EXPECT_EQ(target("to-f"), "f");
  EXPECT_EQ(target("long"), longest);
  EXPECT_EQ(Stat(At("long")).st_size, 4095);
  EXPECT_EQ(ReadFile(At("to-f")), "through the link");
}

TEST_F(Basics, MakesHardLinks) {
  WriteFile(At("a"), "one");
  mkdir(At("d").c_str(), 0755);
  ASSERT_EQ(link(At("a").c_str(), At("d/b").c_str()), 0);
  EXPECT_EQ(Stat(At("a")).st_nlink, 2u);
  EXPECT_EQ(Stat(At("a")).st_ino, Stat(At("d/b")).st_ino);
  WriteFile(At("d/b"), "changed");
  EXPECT_EQ(ReadFile(At("a")), "changed");
  EXPECT_EQ(ErrnoOf(link(At("d").c_str(), At("e").c_str())), EPERM);
  EXPECT_EQ(Rename("a", "d/b"), 0) << "two names of one file: nothing happens";
  EXPECT_TRUE(Exists(At("a")));
  RemountFresh();
  EXPECT_EQ(Stat(At("a")).st_nlink, 2u);
  EXPECT_EQ(Stat(At("a")).st_ino, Stat(At("d/b")).st_ino);
  ASSERT_EQ(unlink(At("a").c_str()), 0);
  EXPECT_EQ(Stat(At("d/b")).st_nlink, 1u);
  EXPECT_EQ(ReadFile(At("d/b")), "changed");
}

TEST_F(Basics, MakesFifos) {
  ASSERT_EQ(mkfifo(At("pipe").c_str(), 0600), 0);
  RemountFresh();
  EXPECT_TRUE(S_ISFIFO(Stat(At("pipe")).st_mode));
}

}  // namespace
}  // namespace airstore::e2e
