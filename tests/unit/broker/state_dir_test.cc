// SPDX-License-Identifier: Apache-2.0
#include "broker/state_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

TEST(StateDir, MakesAPrivateDirectory) {
  const TempDir temp;
  const auto dir = StateDir::Open(temp / "a/b");
  ASSERT_TRUE(dir) << dir.error().ToString();
  struct stat info {};
  ASSERT_EQ(stat((temp / "a/b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  ASSERT_EQ(stat(dir->spool().c_str(), &info), 0);
  EXPECT_EQ(dir->control_socket(), temp / "a/b/control.sock");
}

TEST(StateDir, ClosesADirectoryThatWasOpenToOthers) {
  const TempDir temp;
  ASSERT_EQ(chmod(temp.path().c_str(), 0755), 0);
  ASSERT_TRUE(StateDir::Open(temp.path()));
  struct stat info {};
  ASSERT_EQ(stat(temp.path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
}

TEST(StateDir, SecondBrokerIsToldWhoHasIt) {
  const TempDir temp;
  const auto first = StateDir::Open(temp.path());
  ASSERT_TRUE(first);
  const auto second = StateDir::Open(temp.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
  EXPECT_NE(second.error().message.find("pid " + std::to_string(getpid()) + ")"), std::string::npos)
      << second.error().message;
}

TEST(StateDir, LockGoesWithItsOwner) {
  const TempDir temp;
  { ASSERT_TRUE(StateDir::Open(temp.path())); }
  EXPECT_TRUE(StateDir::Open(temp.path()));
}

TEST(StateDir, RefusesSomebodyElsesDirectory) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to give a directory away";
  const TempDir temp;
  ASSERT_EQ(chown(temp.path().c_str(), 65534, 65534), 0);
  const auto dir = StateDir::Open(temp.path());
  ASSERT_FALSE(dir);
  EXPECT_EQ(dir.error().code, EPERM);
}

TEST(StateDir, RefusesAFile) {
  const TempDir temp;
  EXPECT_EQ(StateDir::Open(temp.Write("file", "x")).error().code, ENOTDIR);
  EXPECT_EQ(StateDir::Open(temp / "file/below").error().code, ENOTDIR);
}

}  // namespace
}  // namespace airstore::broker
