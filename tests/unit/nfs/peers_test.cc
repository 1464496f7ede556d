// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/peers.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace airstore::nfs {
namespace {

class PeersTest : public testing::Test {
 protected:
  void SetUp() override {
    listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof(address);
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), bytes), 0);
    ASSERT_EQ(listen(listener_.get(), 8), 0);
    ASSERT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &bytes), 0);
    client_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(client_.get(), reinterpret_cast<sockaddr*>(&address), bytes), 0);
  }

  UniqueFd listener_, client_;
};

TEST_F(PeersTest, KnowWhoseASocketIs) {
  auto peers = Peers::Open();
  ASSERT_TRUE(peers) << peers.error().ToString();
  const UniqueFd accepted(accept(listener_.get(), nullptr, nullptr));
  EXPECT_EQ(peers->UidOf(accepted.get()), getuid());
}

// The kernel shows uid 0 for it, whoever it was.
TEST_F(PeersTest, ASocketThatWasClosedIsNobodys) {
  auto peers = Peers::Open();
  ASSERT_TRUE(peers) << peers.error().ToString();
  ASSERT_EQ(send(client_.get(), "call", 4, 0), 4);
  client_.reset();
  const UniqueFd accepted(accept(listener_.get(), nullptr, nullptr));
  char byte[4];
  ASSERT_EQ(read(accepted.get(), byte, sizeof(byte)), 4) << "it can still be heard";
  EXPECT_EQ(peers->UidOf(accepted.get()), std::nullopt);
}

}  // namespace
}  // namespace airstore::nfs
