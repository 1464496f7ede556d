// SPDX-License-Identifier: Apache-2.0
//
// mount(8) with our helpers: run as from a shell, in a mount namespace where /sbin has nothing
// else.
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
    std::filesystem::copy_file(Program("mount.airstore"), host().Path("sbin/mount.fuse.airstore"));
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

// As root's own programs would be run, and devices opened, by whoever can make them at a gateway.
TEST_F(Remount, KeepsWhatAlwaysHoldsForALineOfFstab) {
  WriteFile(host().Path("fstab"), "airstore:work " + mount() + " fuse.airstore rw,_netdev 0 0\n");
  const Finished done = RunProgram(
      {"unshare", "--mount", "/bin/sh", "-ec",
       "mount --bind \"$0\" /sbin; mount --bind \"$1\" /etc/fstab; mount -o remount,rw \"$2\"\n"
       "grep \" $2 \" /proc/self/mountinfo",
       host().Path("sbin"), host().Path("fstab"), mount()});
  ASSERT_EQ(done.code, 0) << done.All();
  EXPECT_NE(done.out.find("nosuid,nodev"), std::string::npos) << done.out;
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

// The helpers themselves, which mount(8) runs, with our airctl.
class MountHelper : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (!IsSkipped()) token_ = host().CreateToken("work", host().Path("helper.token"));
  }
  Finished Helper(const std::string& name, const Arguments& arguments,
                  const std::string& socket = "") {
    Arguments words = {Program(name)};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const std::string programs = Program("airctl").substr(0, Program("airctl").find_last_of('/'));
    RunOptions options;
    options.env = {{"PATH", programs + ":" + getenv("PATH")}, {"AIRSTORE_SOCKET", socket}};
    return RunProgram(words, options);
  }
  std::string Options(const std::string& more) {
    return "rw,_netdev,nofail,x-systemd.automount,socket=" + host().socket() +
           ",gateway=" + host().gateway_address() + ",token_file=" + token_ +
           (more.empty() ? "" : "," + more);
  }
  std::string Directory(const std::string& name) {
    mkdir(host().Path(name).c_str(), 0755);
    return host().Path(name);
  }

 private:
  std::string token_;
};

TEST_F(MountHelper, MountsAndUnmounts) {
  const std::string view = Directory("view");
  WriteFile(At("program"), "#!/bin/sh\n");
  ASSERT_EQ(chmod(At("program").c_str(), 0755), 0);
  const Finished made =
      Helper("mount.airstore",
             {"airstore:work", view, "-o", Options("uid=12,gid=13,noexec,fsync=local,relatime")});
  ASSERT_EQ(made.code, 0) << made.All();
  EXPECT_EQ(Stat(view + "/program").st_uid, 12u);
  EXPECT_EQ(Stat(view + "/program").st_gid, 13u);
  EXPECT_EQ(access((view + "/program").c_str(), X_OK), -1) << "noexec";
  EXPECT_EQ(Helper("mount.airstore", {"work", view, "-o", Options("")}).code, 32) << "is mounted";

  const Finished closed = Helper("mount.airstore", {"work", view, "-o", Options("remount,ro")});
  ASSERT_EQ(closed.code, 0) << closed.All();
  EXPECT_EQ(ErrnoOf(mkdir((view + "/new").c_str(), 0755)), EROFS);
  EXPECT_EQ(Helper("mount.airstore", {"work", view, "-o", Options("remount,rw")}).code, 0);
  WriteFile(view + "/written", "here");
  const Finished unmounted = Helper("umount.airstore", {view}, host().socket());
  EXPECT_EQ(unmounted.code, 0) << unmounted.All();
  EXPECT_TRUE(NamesIn(view).empty());
  EXPECT_EQ(ReadFile(At("written")), "here");

  ASSERT_EQ(Helper("mount.airstore", {"none", view, "-o", Options("ro")}).code, 0);
  EXPECT_EQ(ErrnoOf(mkdir((view + "/new").c_str(), 0755)), EROFS);
  // Without a broker that knows it the kernel unmounts.
  EXPECT_EQ(Helper("umount.airstore", {view}, host().Path("no-such-socket")).code, 0);
  EXPECT_TRUE(NamesIn(view).empty());
}

TEST_F(MountHelper, SaysWhatIsWrong) {
  const std::string view = Directory("view");
  const struct {
    std::string options;
    int code;
    std::string says;
  } cases[] = {
      {Options("rot=1"), 1, "there is no option 'rot=1'"},
      {Options("suid"), 1, "always nosuid"},
      {Options("sync"), 1, "O_SYNC"},
      {Options("nfs_auth_none"), 1, "--backend nfs"},
      {Options("gateway=\"127.0.0.1:1,nonsense\""), 1, "nonsense"},
      {Options("uid"), 1, "needs a value"},
      {Options("uid=x"), 1, "uid"},
      {Options("fsync=never"), 1, "fsync"},
      {"socket=" + host().socket(), 1, "/etc/airstore/tokens/work"},
      {Options("token-file=/nonexistent"), 1, "/nonexistent"},
      {Options("socket=/nonexistent"), 32, "/nonexistent"},
  };
  for (const auto& each : cases) {
    const Finished said = Helper("mount.airstore", {"work", view, "-o", each.options});
    EXPECT_EQ(said.code, each.code) << each.options << ": " << said.All();
    EXPECT_NE(said.err.find(each.says), std::string::npos) << each.options << ": " << said.All();
    EXPECT_TRUE(NamesIn(view).empty()) << each.options;
  }
  EXPECT_EQ(Helper("mount.airstore", {"work"}).code, 1);
  EXPECT_EQ(Helper("mount.airstore", {"work", view, "-s", "-f", "-o", Options("rot=1")}).code, 0);
  EXPECT_TRUE(NamesIn(view).empty());
}

}  // namespace
}  // namespace airstore::e2e
