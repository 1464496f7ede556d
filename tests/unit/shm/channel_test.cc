// SPDX-License-Identifier: Apache-2.0
#include "shm/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>

namespace airstore::shm {
namespace {

struct Pair {
  UniqueFd left;
  UniqueFd right;
  explicit Pair(int flags = 0) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0, fds), 0);
    left = UniqueFd(fds[0]);
    right = UniqueFd(fds[1]);
  }
};

ChannelMessage MessageOf(ChannelKind kind) {
  ChannelMessage message{};
  message.kind = static_cast<uint32_t>(kind);
  return message;
}

size_t OpenDescriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

TEST(Channel, PassesDescriptorsAndText) {
  Pair pair;
  int pipes[2];
  ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
  UniqueFd read_end(pipes[0]);
  UniqueFd write_end(pipes[1]);
  ChannelMessage message = MessageOf(ChannelKind::kAttach);
  message.id = 17;
  message.mount_index = 4;
  message.text_bytes = 5;
  memcpy(message.text, "hello", 5);
  ASSERT_TRUE(SendMessage(pair.left.get(), message, {read_end.get(), write_end.get()}));

  auto received = ReceiveMessage(pair.right.get());
  ASSERT_TRUE(received.has_value()) << received.error().ToString();
  EXPECT_EQ(received->message.id, 17u);
  EXPECT_EQ(received->message.mount_index, 4u);
  EXPECT_EQ(received->message.abi_major, kAbiMajor);
  EXPECT_EQ(std::string(received->message.text, received->message.text_bytes), "hello");
  ASSERT_EQ(received->fds.size(), 2u);
  EXPECT_NE(fcntl(received->fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  ASSERT_EQ(write(received->fds[1].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(read(read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(Channel, PassesNoDescriptors) {
  Pair pair;
  ASSERT_TRUE(SendMessage(pair.left.get(), MessageOf(ChannelKind::kReady), {}));
  auto received = ReceiveMessage(pair.right.get());
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->message.kind, static_cast<uint32_t>(ChannelKind::kReady));
  EXPECT_TRUE(received->fds.empty());
}

TEST(Channel, SixteenDescriptorsAreTheLimit) {
  Pair pair;
  const ChannelMessage message = MessageOf(ChannelKind::kSlab);
  ASSERT_TRUE(SendMessage(pair.left.get(), message, std::vector<int>(16, pair.left.get())));
  auto received = ReceiveMessage(pair.right.get());
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->fds.size(), 16u);
  auto sent = SendMessage(pair.left.get(), message, std::vector<int>(17, pair.left.get()));
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, EINVAL);
}

TEST(Channel, SaysWhenTheOtherSideIsGone) {
  Pair pair;
  pair.left.reset();
  auto received = ReceiveMessage(pair.right.get());
  ASSERT_FALSE(received.has_value());
  EXPECT_EQ(received.error().code, ECONNRESET);
  auto sent = SendMessage(pair.right.get(), MessageOf(ChannelKind::kReady), {});
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, EPIPE);
}

TEST(Channel, SaysWhenANonBlockingSocketIsFull) {
  Pair pair(SOCK_NONBLOCK);
  Result<void> sent;
  for (int i = 0; i < 100'000 && sent; ++i) {
    sent = SendMessage(pair.left.get(), MessageOf(ChannelKind::kReady), {});
  }
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, ENOBUFS);
}

TEST(Channel, RefusesAMessageOfAWrongSizeAndLeaksNothing) {
  Pair pair;
  const size_t before = OpenDescriptors();
  char small = 'x';
  iovec part{&small, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = pair.left.get();
  memcpy(CMSG_DATA(c), &fd, sizeof(fd));
  ASSERT_EQ(sendmsg(pair.left.get(), &header, 0), 1);
  auto received = ReceiveMessage(pair.right.get());
  ASSERT_FALSE(received.has_value());
  EXPECT_EQ(received.error().code, EPROTO);
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(Channel, RefusesMoreDescriptorsThanFitAndLeaksNothing) {
  Pair pair;
  const size_t before = OpenDescriptors();
  ChannelMessage message = MessageOf(ChannelKind::kSlab);
  message.abi_major = kAbiMajor;
  iovec part{&message, sizeof(message)};
  const std::vector<int> many(40, pair.left.get());
  alignas(cmsghdr) char control[CMSG_SPACE(40 * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(many.size() * sizeof(int));
  memcpy(CMSG_DATA(c), many.data(), many.size() * sizeof(int));
  ASSERT_EQ(sendmsg(pair.left.get(), &header, 0), static_cast<ssize_t>(sizeof(message)));
  auto received = ReceiveMessage(pair.right.get());
  ASSERT_FALSE(received.has_value());
  EXPECT_EQ(received.error().code, EPROTO);
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST(Channel, RefusesAForeignVersionAndOverlongText) {
  Pair pair;
  ChannelMessage message = MessageOf(ChannelKind::kReady);
  message.abi_major = kAbiMajor + 1;
  ASSERT_EQ(send(pair.left.get(), &message, sizeof(message), 0),
            static_cast<ssize_t>(sizeof(message)));
  auto received = ReceiveMessage(pair.right.get());
  ASSERT_FALSE(received.has_value());
  EXPECT_EQ(received.error().code, EPROTO);

  message.abi_major = kAbiMajor;
  message.text_bytes = kChannelText + 1;
  ASSERT_EQ(send(pair.left.get(), &message, sizeof(message), 0),
            static_cast<ssize_t>(sizeof(message)));
  EXPECT_FALSE(ReceiveMessage(pair.right.get()).has_value());
  EXPECT_FALSE(SendMessage(pair.left.get(), message, {}).has_value());
}

}  // namespace
}  // namespace airstore::shm
