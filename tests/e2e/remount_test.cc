// SPDX-License-Identifier: Apache-2.0
//
// mount(8) with our helper: run as from a shell, in a mount namespace where /sbin has nothing else.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

class Remount : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    mkdir(host().Path("sbin").c_str(), 0755);
    std::filesystem::copy_file(Program("mount.fuse.airstore"),
                               host().Path("sbin/mount.fuse.airstore"));
    WriteFile(At("file"), "content");
  }
  Finished MountProgram(const Arguments& arguments) {
    Arguments words = {"unshare",
                       "--mount",
                       "/bin/sh",
                       "-ec",
                       "mount --bind \"$0\" /sbin\nexec mount \"$@\"",
                       host().Path("sbin")};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return RunProgram(words);
  }
  void ExpectWritable(const std::string& root, bool writable) {
    EXPECT_EQ(ErrnoOf(mkdir((root + "/new").c_str(), 0755)), writable ? 0 : EROFS);
    EXPECT_EQ(ErrnoOf(rmdir((root + "/new").c_str())), writable ? 0 : EROFS);
    const UniqueFd file(open((root + "/file").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(static_cast<bool>(file), writable) << strerror(errno);
    EXPECT_EQ(ReadFile(root + "/file"), "content");
  }
};

TEST_F(Remount, ReadOnlyAndWritableAgain) {
  for (int round = 0; round < 2; ++round) {
    const Finished closed = MountProgram({"-o", "remount,ro", mount()});
    ASSERT_EQ(closed.code, 0) << closed.All();
    ExpectWritable(mount(), false);
    const Finished opened = MountProgram({"-o", "remount,rw", mount()});
    ASSERT_EQ(opened.code, 0) << opened.All();
    ExpectWritable(mount(), true);
  }
  RemountFresh();
  ExpectWritable(mount(), true);
}

TEST_F(Remount, DoesNotBreakWhatIsOpen) {
  const UniqueFd file = Open(At("file"), O_RDWR);
  EXPECT_NE(MountProgram({"-o", "remount,ro", mount()}).code, 0) << "somebody writes";
  WriteAt(file.get(), "CONTENT", 0);
  EXPECT_EQ(ErrnoOf(fsync(file.get())), 0);
  EXPECT_EQ(ReadFile(At("file")), "CONTENT");
}

TEST_F(Remount, GivesAReadOnlyMountNoRights) {
  const std::string view = host().Mount("work", "view", {"--read-only"});
  ExpectWritable(view, false);
  EXPECT_EQ(MountProgram({"-o", "remount,rw", view}).code, 0);
  ExpectWritable(view, false);
  ExpectWritable(mount(), true);
}

TEST_F(Remount, NewMountsAreMadeByAirctl) {
  mkdir(host().Path("new").c_str(), 0755);
  const Finished made = MountProgram({"-t", "fuse.airstore", "work", host().Path("new")});
  EXPECT_NE(made.code, 0);
  EXPECT_NE(made.err.find("airctl mount " + host().Path("new")), std::string::npos) << made.All();
  EXPECT_TRUE(NamesIn(host().Path("new")).empty());
}

}  // namespace
}  // namespace airstore::e2e
