// SPDX-License-Identifier: Apache-2.0
//
// Operations that were acknowledged and not sent, when broker, frontend and mount die: the next
// broker brings them to the gateway.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

// With and without passthrough.
class Replay : public HostTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    mount_ = host().Mount("work", "mnt", {"--passthrough", GetParam()});
  }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }
  int Rename(const std::string& from, const std::string& to, unsigned flags) {
    return ErrnoOf(renameat2(AT_FDCWD, At(from).c_str(), AT_FDCWD, At(to).c_str(), flags));
  }
  std::string Get(const std::string& name, const char* attribute) {
    char value[64];
    const ssize_t got = getxattr(At(name).c_str(), attribute, value, sizeof value);
    return got < 0 ? strerror(errno) : std::string(value, static_cast<size_t>(got));
  }
  // What was sent before is at the gateway; from here on nothing arrives.
  void CutOff() {
    host().AirctlJson({"flush", mount_});
    NamesIn(mount_);  // so that no name has to be asked for
    host().FreezeGateway();
  }
  void DieAndRecover() {
    EXPECT_GT(host().SessionStatus("work").at("pending_mutations").get<uint64_t>(), 0u)
        << "nothing was at stake";
    host().KillBrokerAndMounts();
    host().ThawGateway();
    host().StartBroker();
    EXPECT_TRUE(WaitUntil(seconds(60), [&] { return host().Status().at("sessions").empty(); }));
    mount_ = host().Mount("work", "mnt");
  }

 private:
  std::string mount_;
};

INSTANTIATE_TEST_SUITE_P(Modes, Replay, testing::Values("auto", "off"));

TEST_P(Replay, Renames) {
  for (const char* name : {"a", "b", "c", "old"}) WriteFile(At(name), name);
  mkdir(At("d").c_str(), 0755);
  mkdir(At("d/sub").c_str(), 0755);
  CutOff();
  ASSERT_EQ(Rename("a", "b", RENAME_EXCHANGE), 0);
  ASSERT_EQ(Rename("c", "d/sub", RENAME_EXCHANGE), 0);
  ASSERT_EQ(Rename("old", "new", RENAME_WHITEOUT), 0);
  DieAndRecover();
  EXPECT_EQ(ReadFile(At("a")), "b");
  EXPECT_EQ(ReadFile(At("b")), "a");
  EXPECT_EQ(NamesIn(At("c")), std::set<std::string>{});
  EXPECT_EQ(ReadFile(At("d/sub")), "c");
  EXPECT_TRUE(S_ISCHR(Stat(At("old")).st_mode));
  EXPECT_EQ(ReadFile(At("new")), "old");
}

TEST_P(Replay, ExtendedAttributes) {
  WriteFile(At("f"), "x");
  ASSERT_EQ(setxattr(At("f").c_str(), "user.removed", "1", 1, 0), 0);
  ASSERT_EQ(setxattr(At("f").c_str(), "user.changed", "1", 1, 0), 0);
  CutOff();
  ASSERT_EQ(setxattr(At("f").c_str(), "user.changed", "22", 2, 0), 0);
  ASSERT_EQ(setxattr(At("f").c_str(), "user.new", "", 0, XATTR_CREATE), 0);
  ASSERT_EQ(removexattr(At("f").c_str(), "user.removed"), 0);
  WriteFile(At("g"), "y");
  ASSERT_EQ(setxattr(At("g").c_str(), "trusted.t", "t", 1, 0), 0);
  DieAndRecover();
  EXPECT_EQ(Get("f", "user.changed"), "22");
  EXPECT_EQ(Get("f", "user.new"), "");
  EXPECT_EQ(Get("f", "user.removed"), strerror(ENODATA));
  EXPECT_EQ(Get("g", "trusted.t"), "t");
}

TEST_P(Replay, FilesWithoutAName) {
  const std::string content = RandomBytes(5, 200'000);
  CutOff();
  UniqueFd named = Open(At(""), O_TMPFILE | O_RDWR, 0640);
  UniqueFd unnamed = Open(At(""), O_TMPFILE | O_RDWR, 0640);
  WriteAt(named.get(), content, 0);
  WriteAt(unnamed.get(), content, 0);
  ASSERT_EQ(setxattr(("/proc/self/fd/" + std::to_string(named.get())).c_str(), "user.a", "1", 1, 0),
            0);
  ASSERT_EQ(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(named.get())).c_str(), AT_FDCWD,
                   At("f").c_str(), AT_SYMLINK_FOLLOW),
            0);
  WriteAt(named.get(), "behind", 100);
  named.reset();
  unnamed.reset();
  DieAndRecover();
  EXPECT_EQ(NamesIn(At("")), std::set<std::string>{"f"});
  EXPECT_TRUE(ReadFile(At("f")) == content.substr(0, 100) + "behind" + content.substr(106));
  EXPECT_EQ(Stat(At("f")).st_mode & 07777, 0640u);
  EXPECT_EQ(Get("f", "user.a"), "1");
}

TEST_P(Replay, Holes) {
  std::string content = RandomBytes(5, 2'000'000);
  WriteFile(At("f"), content);
  WriteFile(At("small"), content.substr(0, 50'000));
  CutOff();
  for (const char* name : {"f", "small"}) {
    const UniqueFd file = Open(At(name), O_RDWR);
    WriteAt(file.get(), std::string(8192, 'w'), 8192);
    ASSERT_EQ(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 40'960), 0);
    WriteAt(file.get(), "behind", 20'000);
  }
  content.replace(0, 40'960, 40'960, '\0');
  content.replace(20'000, 6, "behind");
  EXPECT_TRUE(ReadFile(At("f")) == content);
  mkdir(At("d").c_str(), 0755);  // a file that is only dirty is no pending change
  DieAndRecover();
  EXPECT_TRUE(ReadFile(At("f")) == content);
  EXPECT_TRUE(ReadFile(At("small")) == content.substr(0, 50'000));
  EXPECT_LT(Stat(At("f")).st_blocks * 512, 2'000'000);
}

TEST_P(Replay, SetIdBits) {
  WriteFile(At("f"), "x");
  chmod(At("f").c_str(), 04755);
  WriteFile(At("g"), "x");
  chmod(At("g").c_str(), 02755);
  CutOff();
  ASSERT_EQ(chown(At("f").c_str(), 1, 1), 0);
  ASSERT_EQ(RunProgram({"/bin/sh", "-c", "true"}).code, 0);
  ASSERT_EQ(chown(At("g").c_str(), 1, 1), 0);
  DieAndRecover();
  EXPECT_EQ(Stat(At("f")).st_mode & 07777, 0755u);
  EXPECT_EQ(Stat(At("g")).st_mode & 07777, 0755u);
  EXPECT_EQ(Stat(At("g")).st_uid, 1u);
}

}  // namespace
}  // namespace airstore::e2e
