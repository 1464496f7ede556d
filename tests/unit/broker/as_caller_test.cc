// SPDX-License-Identifier: Apache-2.0
#include "broker/as_caller.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <thread>

#include "broker/fuse_device.h"
#include "broker/fuse_mount.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kUser = 65534;

template <typename T>
Result<T> Finish(Task<Result<T>> task) {
  boost::asio::io_context loop(1);
  std::optional<Result<T>> out;
  Spawn(loop.get_executor(), [](Task<Result<T>> inner, std::optional<Result<T>>* to) -> Task<void> {
    *to = co_await std::move(inner);
  }(std::move(task), &out));
  loop.run();
  return std::move(*out);
}

class AsCaller : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(chmod(temp_.path().c_str(), 0755), 0);
    ASSERT_EQ(mkdir((temp_ / "hidden").c_str(), 0700), 0);
    ASSERT_EQ(mkdir((temp_ / "hidden/there").c_str(), 0755), 0);
    ASSERT_EQ(mkdir((temp_ / "own").c_str(), 0755), 0);
    ASSERT_EQ(chown((temp_ / "own").c_str(), kUser, kUser), 0);
    ASSERT_EQ(symlink("own", (temp_ / "link").c_str()), 0);
  }
  TempDir temp_;
  const Caller user_{.uid = kUser, .gid = kUser};
};

TEST_F(AsCaller, FindsWhatTheCallerFinds) {
  const auto found = Finish(OpenDirectoryAs(user_, temp_ / "link"));
  ASSERT_TRUE(found) << found.error().ToString();
  EXPECT_EQ(found->path, temp_ / "own");
  EXPECT_EQ(found->owner, kUser);
  for (const char* name : {"hidden/there", "hidden/missing"}) {
    const auto hidden = Finish(OpenDirectoryAs(user_, temp_ / name));
    ASSERT_FALSE(hidden);
    EXPECT_EQ(hidden.error().code, EACCES) << "whether it exists is not told";
  }
  EXPECT_TRUE(Finish(OpenDirectoryAs(Caller{}, temp_ / "hidden/there")));
  EXPECT_EQ(Finish(OpenDirectoryAs(user_, temp_ / "missing")).error().code, ENOENT);
  Caller member = user_;
  member.groups = {4242};
  ASSERT_EQ(chown((temp_ / "hidden").c_str(), 0, 4242), 0);
  ASSERT_EQ(chmod((temp_ / "hidden").c_str(), 0710), 0);
  EXPECT_TRUE(Finish(OpenDirectoryAs(member, temp_ / "hidden/there")));
  EXPECT_FALSE(Finish(MayWriteAs(user_, temp_ / "hidden")));
  EXPECT_TRUE(Finish(MayWriteAs(user_, temp_ / "own")));
}

// Nobody reads from the device.
TEST_F(AsCaller, GivesUpOnWhatDoesNotAnswer) {
  if (!HaveSysAdmin()) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  FuseMountOptions options;
  options.mountpoint = temp_ / "own";
  options.source = "airstore:silent";
  auto device = FuseDevice::Mount(options);
  ASSERT_TRUE(device) << device.error().ToString();
  const auto found = Finish(OpenDirectoryAs(Caller{}, temp_ / "own/below"));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ETIMEDOUT);
  EXPECT_TRUE((*device)->Unmount(true));
}

TEST_F(AsCaller, MountsWhereTheDirectoryIsOrNowhere) {
  if (!HaveSysAdmin()) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  const auto found = Finish(OpenDirectoryAs(user_, temp_ / "own"));
  ASSERT_TRUE(found);
  ASSERT_EQ(rename((temp_ / "own").c_str(), (temp_ / "moved").c_str()), 0);
  ASSERT_EQ(symlink("hidden", (temp_ / "own").c_str()), 0);
  FuseMountOptions options;
  options.mountpoint = found->path;
  options.directory = (*found->directory).get();
  options.source = "airstore:swapped";
  auto device = FuseDevice::Mount(options);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, EBUSY);
  EXPECT_FALSE(MountedAt(temp_ / "hidden"));
  // Nobody looks at the path when it is mounted.
  EXPECT_TRUE(MountDirectly(options));
  EXPECT_TRUE(MountedAt(temp_ / "moved"));
  EXPECT_FALSE(MountedAt(temp_ / "hidden"));
  EXPECT_EQ(umount2((temp_ / "moved").c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace airstore::broker
