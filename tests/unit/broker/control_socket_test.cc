// SPDX-License-Identifier: Apache-2.0
#include "broker/control_socket.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

TEST(ControlSocket, EverybodyMayConnect) {
  const TempDir temp;
  const auto socket = ListenOnControlSocket(temp / "run/control.sock");
  ASSERT_TRUE(socket) << socket.error().ToString();
  struct stat info {};
  ASSERT_EQ(stat((temp / "run/control.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0666u);
  ASSERT_EQ(stat((temp / "run").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0755u);
  socket->Remove();
  EXPECT_NE(stat((temp / "run/control.sock").c_str(), &info), 0);
}

TEST(ControlSocket, ReplacesWhatADeadBrokerLeft) {
  const TempDir temp;
  { ASSERT_TRUE(ListenOnControlSocket(temp / "s")); }
  EXPECT_TRUE(ListenOnControlSocket(temp / "s"));
}

TEST(ControlSocket, LeavesALiveBrokerAlone) {
  const TempDir temp;
  const auto first = ListenOnControlSocket(temp / "s");
  ASSERT_TRUE(first);
  const auto second = ListenOnControlSocket(temp / "s");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EADDRINUSE);
}

TEST(ControlSocket, RemovesNoOther) {
  const TempDir temp;
  auto first = ListenOnControlSocket(temp / "s");
  ASSERT_TRUE(first);
  first->fd.reset();
  // Another name keeps the inode number from being given to the second one.
  ASSERT_EQ(link((temp / "s").c_str(), (temp / "kept").c_str()), 0);
  const auto second = ListenOnControlSocket(temp / "s");
  ASSERT_TRUE(second);
  first->Remove();
  struct stat info {};
  EXPECT_EQ(stat((temp / "s").c_str(), &info), 0);
}

TEST(ControlSocket, RefusesOtherFilesAndLongPaths) {
  const TempDir temp;
  EXPECT_EQ(ListenOnControlSocket(temp.Write("file", "x")).error().code, EEXIST);
  EXPECT_EQ(ListenOnControlSocket("/tmp/" + std::string(200, 'x')).error().code, ENAMETOOLONG);
}

}  // namespace
}  // namespace airstore::broker
