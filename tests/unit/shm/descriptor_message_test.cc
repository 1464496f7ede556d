// SPDX-License-Identifier: Apache-2.0
#include "shm/base/descriptor_message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace airstore {
namespace {

class DescriptorMessage : public testing::Test {
 protected:
  void SetUp() override {
    int sockets[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    one_.reset(sockets[0]);
    two_.reset(sockets[1]);
  }
  static ino_t InodeOf(int fd) {
    struct stat info {};
    EXPECT_EQ(fstat(fd, &info), 0);
    return info.st_ino;
  }

  UniqueFd one_;
  UniqueFd two_;
  char bytes_[16] = {};
  std::vector<UniqueFd> fds_;
};

TEST_F(DescriptorMessage, BringsBytesAndDescriptorsThatAreClosedOnExec) {
  const int sent[] = {open("/", O_PATH), open("/dev/null", O_RDONLY)};
  ASSERT_EQ(SendWithDescriptors(one_.get(), "hello", 5, sent), 5);
  ASSERT_EQ(ReceiveWithDescriptors(two_.get(), bytes_, sizeof(bytes_), &fds_), 5);
  EXPECT_EQ(memcmp(bytes_, "hello", 5), 0);
  ASSERT_EQ(fds_.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_NE(fds_[i].get(), sent[i]);
    EXPECT_EQ(InodeOf(fds_[i].get()), InodeOf(sent[i]));
    EXPECT_NE(fcntl(fds_[i].get(), F_GETFD) & FD_CLOEXEC, 0);
    close(sent[i]);
  }
}

TEST_F(DescriptorMessage, WithoutDescriptorsHasNone) {
  fds_.emplace_back(open("/", O_PATH));  // of before
  ASSERT_EQ(SendWithDescriptors(one_.get(), "x", 1, {}), 1);
  ASSERT_EQ(ReceiveWithDescriptors(two_.get(), bytes_, sizeof(bytes_), &fds_), 1);
  EXPECT_TRUE(fds_.empty());
}

TEST_F(DescriptorMessage, SaysThatItWasCut) {
  ASSERT_EQ(SendWithDescriptors(one_.get(), "hello", 5, {}), 5);
  int came = 0;
  ASSERT_EQ(ReceiveWithDescriptors(two_.get(), bytes_, 2, &fds_, 0, &came), 2);
  EXPECT_NE(came & MSG_TRUNC, 0);
}

TEST_F(DescriptorMessage, DoesNotWaitWhenToldSo) {
  EXPECT_EQ(ReceiveWithDescriptors(two_.get(), bytes_, sizeof(bytes_), &fds_, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
}

// No signal ends who sends to it.
TEST_F(DescriptorMessage, ToWhomIsGoneIsAnError) {
  two_.reset();
  EXPECT_EQ(SendWithDescriptors(one_.get(), "x", 1, {}), -1);
  EXPECT_EQ(errno, EPIPE);
}

}  // namespace
}  // namespace airstore
