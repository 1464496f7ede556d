// SPDX-License-Identifier: Apache-2.0
#include "broker/proc_mounts.h"

#include <gtest/gtest.h>

namespace airstore::broker {
namespace {

TEST(ProcMounts, ReadsPathsTypesAndDevices) {
  const auto mounts = ParseMountInfo(
      "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "40 21 0:55 / /mnt/a\\040b rw,nosuid - fuse.airstore airstore:demo rw,user_id=0\n"
      "41 21 0:56 / /mnt/c rw shared:7 master:2 - fuse.airstore airstore:x\\134y rw\n");
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0].path, "/");
  EXPECT_EQ(mounts[0].major, 8u);
  EXPECT_EQ(mounts[1].path, "/mnt/a b");
  EXPECT_EQ(mounts[1].type, "fuse.airstore");
  EXPECT_EQ(mounts[1].minor, 55u);
  EXPECT_EQ(mounts[2].source, "airstore:x\\y");
}

TEST(ProcMounts, ReadsThePortOfAServer) {
  const std::string line = "42 21 0:57 / /mnt/n rw - nfs 127.0.0.1:/airstore-1 ";
  const auto port = [&](const std::string& options) {
    return ParseMountInfo(line + options + "\n").at(0).nfs_port;
  };
  EXPECT_EQ(port("rw,vers=3,mountport=7,port=40123,timeo=600"), 40123);
  EXPECT_EQ(port("rw,vers=3,mountport=7"), 0);
  EXPECT_EQ(port("port=70000"), 0);
}

TEST(ProcMounts, LeavesOutWhatMakesNoSense) {
  EXPECT_TRUE(ParseMountInfo("").empty());
  EXPECT_TRUE(ParseMountInfo("garbage\n1 2 3\n1 2 x:y / /p rw - t s o\n1 2 0:1 / /p rw\n").empty());
  EXPECT_EQ(ParseMountInfo("1 2 0:1 / /p\\ rw - t s o\n").at(0).path, "/p\\");
}

TEST(ProcMounts, FindsTheRoot) {
  EXPECT_TRUE(MountedAt("/proc"));
  EXPECT_FALSE(MountedAt("/proc/self/nothing"));
}

}  // namespace
}  // namespace airstore::broker
