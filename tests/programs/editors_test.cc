// SPDX-License-Identifier: Apache-2.0
//
// vim with its swap files and backups, and who is told of what it does.
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "tests/programs/programs.h"

namespace airstore::programs {
namespace {

using std::chrono::seconds;

class Vim : public AsRootAndUser {
 protected:
  static std::string Program() {
    return MissingOf({"vim"}).empty() ? "vim" : MissingOf({"vim.tiny"}).empty() ? "vim.tiny" : "";
  }
  // `commands` in ex mode, in the mount.
  std::string Ex(const std::string& arguments, const std::string& commands) {
    return ShellOk(mount(), Program() + " -N -u NONE -i NONE -e -s " + arguments + " <<'END'\n" +
                                commands + "END\n");
  }
};
INSTANTIATE_TEST_SUITE_P(, Vim, testing::Values(kRoot, kUser), NameOfUser);

#define NEED_VIM()         \
  if (IsSkipped()) return; \
  if (Program().empty()) GTEST_SKIP() << "vim is not installed"

TEST_P(Vim, WritesByRenamingOrInPlace) {
  NEED_VIM();
  ShellOk(mount(), "printf 'one\\ntwo\\n' > text; chmod 640 text");
  const ino_t first = Stat(At("text")).st_ino;
  Ex("text", "set backup backupskip= backupcopy=no\n1s/one/ONE/\nwq\n");
  EXPECT_EQ(ReadFile(At("text")), "ONE\ntwo\n");
  EXPECT_EQ(ReadFile(At("text~")), "one\ntwo\n");
  EXPECT_EQ(Stat(At("text~")).st_ino, first) << "the old file was not renamed";
  EXPECT_NE(Stat(At("text")).st_ino, first);
  EXPECT_EQ(Stat(At("text")).st_mode & 07777, 0640U);
  const ino_t second = Stat(At("text")).st_ino;
  Ex("text", "set nobackup writebackup backupskip= backupcopy=yes\n2s/two/TWO/\nwq\n");
  EXPECT_EQ(ReadFile(At("text")), "ONE\nTWO\n");
  EXPECT_EQ(Stat(At("text")).st_ino, second) << "it was to be overwritten";
  Ex("new", "set fsync\na\nadded\n.\nw\nw! other\nq\n");
  EXPECT_EQ(ReadFile(At("new")) + ReadFile(At("other")), "added\nadded\n");
  EXPECT_EQ(ShellOk(mount(), "ls -A"), "new\nother\ntext\ntext~\n");
  RemountFresh();
  EXPECT_EQ(ShellOk(mount(), "cat text text~ new"), "ONE\nTWO\none\ntwo\nadded\n");
}

TEST_P(Vim, RecoversFromTheSwapFile) {
  NEED_VIM();
  ShellOk(mount(), "printf 'saved\\n' > text");
  Process editor = ShellBehind(mount(),
                               "exec " + Program() +
                                   " -N -u NONE -i NONE -e -s -c 'set directory=.' -c 'normal! "
                                   "otyped' -c preserve -c 'sleep 100' text",
                               host().Path("vim.log"));
  ASSERT_TRUE(WaitUntil(seconds(20), [&] {
    return Exists(At(".text.swp")) && ReadFile(At(".text.swp")).find("typed") != std::string::npos;
  })) << ReadFile(host().Path("vim.log"));
  EXPECT_EQ(ReadFile(At("text")), "saved\n");
  // Another one is told, by the swap file and the process that is named in it.
  EXPECT_NE(
      Shell(mount(),
            "timeout 20 " + Program() +
                " -N -u NONE -i NONE -e -s -c 'set directory=.' -c 'edit text' -c 'wq' < /dev/null")
          .code,
      124);
  EXPECT_EQ(ReadFile(At("text")), "saved\n");
  editor.Kill();
  // What was typed survives this host too.
  RemountFresh();
  ASSERT_TRUE(Exists(At(".text.swp")));
  ShellOk(mount(), Program() +
                       " -N -u NONE -i NONE -e -s -c 'set directory=.' -r text -c 'w! recovered' "
                       "-c 'q!' < /dev/null");
  EXPECT_EQ(ReadFile(At("recovered")), "saved\ntyped\n");
}

TEST_F(Programs, InotifyTellsOfLocalChanges) {
  NEED("inotifywait");
  ShellOk(mount(), "mkdir watched watched/below; echo old > watched/file");
  const std::string log = host().Path("events");
  Process waiter = ShellBehind(mount(), "exec inotifywait -m -r --format '%w%f %e' watched", log);
  const auto told = [&](const std::string& text) {
    return WaitUntil(seconds(10),
                     [&] { return Exists(log) && ReadFile(log).find(text) != std::string::npos; });
  };
  ASSERT_TRUE(told("Watches established.")) << ReadFile(log);
  ShellOk(At("watched"), R"sh(
    echo new > created; cat file > /dev/null; echo more >> file; chmod 600 file
    mv created below/moved; ln file link; rm link; rmdir below 2>/dev/null || mkdir deep
    : > deep/last; rm below/moved; rmdir below)sh");
  for (const char* event :
       {"watched/created CREATE", "watched/created MODIFY", "watched/created CLOSE_WRITE,CLOSE",
        "watched/file ACCESS", "watched/file CLOSE_NOWRITE,CLOSE", "watched/file MODIFY",
        "watched/file ATTRIB", "watched/created MOVED_FROM", "watched/below/moved MOVED_TO",
        "watched/link CREATE", "watched/link DELETE", "watched/deep CREATE,ISDIR",
        "watched/below/moved DELETE", "watched/below DELETE,ISDIR"}) {
    EXPECT_TRUE(told(event)) << event << "\n" << ReadFile(log);
  }
}

}  // namespace
}  // namespace airstore::programs
