// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/mount_checks.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/fd.h"
#include "tests/unit/broker/temp_dir.h"
#include "tools/airctl/force_unmount.h"

namespace airstore::airctl {
namespace {

namespace fs = std::filesystem;

TEST(MountChecks, TakesAnEmptyDirectory) {
  const TempDir temp;
  const auto path = CheckMountPoint(temp.path() + "/", {});
  ASSERT_TRUE(path.value) << path.failure.message;
  EXPECT_EQ(*path.value, fs::canonical(temp.path()));
}

TEST(MountChecks, MakesPathsAbsolute) {
  const TempDir temp;
  fs::create_directories(temp / "a/b");
  fs::create_directory_symlink(temp / "a", temp / "link");
  const auto before = fs::current_path();
  fs::current_path(temp / "a");
  EXPECT_EQ(*CheckMountPoint("b", {}).value, temp / "a/b");
  EXPECT_EQ(*CheckMountPoint("./../link/b/.", {}).value, temp / "a/b");
  fs::current_path(before);
  fs::remove(temp / "a/b");
  EXPECT_EQ(*CheckMountPoint(temp / "link", {}).value, temp / "a");
  EXPECT_EQ(AbsoluteMountPoint("/"), "/");
}

TEST(MountChecks, SaysWhatIsWrong) {
  const TempDir temp;
  EXPECT_EQ(CheckMountPoint(temp / "none", {}).failure.kind, control::v1::FAILURE_KIND_NOT_FOUND);
  EXPECT_EQ(CheckMountPoint(temp.Write("file", ""), {}).failure.kind,
            control::v1::FAILURE_KIND_USAGE);
  EXPECT_EQ(CheckMountPoint(temp.path(), {}).failure.kind, control::v1::FAILURE_KIND_BUSY)
      << "not empty";
  EXPECT_TRUE(CheckMountPoint(temp.path(), {true}).value);
}

TEST(MountChecks, MakesADirectoryOfTheCallersOnly) {
  EXPECT_STREQ(kDefaultMountPoint, "/tmp/airstore");
  const TempDir temp;
  const std::string path = temp / "made";
  EXPECT_TRUE(MakeMountPoint(path).value);
  EXPECT_TRUE(MakeMountPoint(path).value) << "it is there";
  EXPECT_TRUE(CheckMountPoint(path, {}).value);
  fs::create_directory_symlink(path, temp / "link");
  EXPECT_EQ(MakeMountPoint(temp / "link").failure.kind, control::v1::FAILURE_KIND_PERMISSION);
  EXPECT_EQ(MakeMountPoint(temp / "none/below").failure.kind, control::v1::FAILURE_KIND_USAGE);
  if (geteuid() != 0) return;
  ASSERT_EQ(chown(path.c_str(), 1234, 1234), 0);
  EXPECT_EQ(MakeMountPoint(path).failure.kind, control::v1::FAILURE_KIND_PERMISSION);
}

TEST(MountChecks, RefusesWhatIsNotTheCallers) {
  if (geteuid() == 0) GTEST_SKIP() << "root may mount anywhere";
  EXPECT_EQ(CheckMountPoint("/", {true}).failure.kind, control::v1::FAILURE_KIND_PERMISSION);
}

// A mount whose server is gone, as a broker that was killed leaves it.
class StaleMountTest : public testing::Test {
 protected:
  void SetUp() override {
    device_.reset(open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!device_) GTEST_SKIP() << "/dev/fuse cannot be opened";
    const std::string data =
        "fd=" + std::to_string(device_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    if (mount("airstore:test", temp_.path().c_str(), "fuse.airstore", 0, data.c_str()) != 0) {
      GTEST_SKIP() << "may not mount";
    }
  }
  void TearDown() override { umount2(temp_.path().c_str(), MNT_DETACH); }

  TempDir temp_;
  UniqueFd device_;
};

TEST_F(StaleMountTest, IsSeenAndCleared) {
  device_.reset();
  EXPECT_TRUE(IsStaleMount(temp_.path()));
  EXPECT_FALSE(IsServed(temp_.path()));
  const auto path = CheckMountPoint(temp_.path(), {});
  ASSERT_FALSE(path.value);
  EXPECT_EQ(path.failure.kind, control::v1::FAILURE_KIND_BUSY);
  EXPECT_EQ(path.failure.advice, "airctl unmount --force " + temp_.path());
  EXPECT_TRUE(DetachHere(temp_.path()).value);
  EXPECT_FALSE(IsAirstoreMount(temp_.path()));
}

TEST_F(StaleMountTest, LiveMountThatDoesNotAnswerIsNotWaitedFor) {
  EXPECT_FALSE(IsStaleMount(temp_.path()));
  EXPECT_TRUE(IsServed(temp_.path()));
  EXPECT_TRUE(
      CheckMountPoint(temp_.path(), {}).value);  // whether it is in the way, the broker knows
}

TEST(ForceUnmount, TouchesAirstoreMountsOnly) {
  EXPECT_EQ(DetachHere("/proc").failure.kind, control::v1::FAILURE_KIND_NOT_FOUND);
}

}  // namespace
}  // namespace airstore::airctl
