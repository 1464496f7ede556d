// SPDX-License-Identifier: Apache-2.0
#include "broker/nfs_export.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace airstore::broker {
namespace {

UniqueFd ConnectTo(uint16_t port) {
  UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    client.reset();
  }
  return client;
}

TEST(NfsExport, ListensUntilItIsEnded) {
  auto listening = NfsExport::Listen();
  ASSERT_TRUE(listening);
  NfsExport& of_broker = **listening;
  EXPECT_TRUE(of_broker.Mounted());
  EXPECT_NE(of_broker.port(), 0);
  // As a frontend has it, and as another broker takes it over.
  const auto adopted = NfsExport::Adopt(UniqueFd(dup(of_broker.fd())));
  EXPECT_EQ(adopted->port(), of_broker.port());

  UniqueFd client = ConnectTo(of_broker.port());
  ASSERT_TRUE(client);
  const auto busy = of_broker.Unmount(false);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, EBUSY);
  EXPECT_TRUE(of_broker.Unmount(true));
  EXPECT_FALSE(adopted->Mounted());
  EXPECT_FALSE(ConnectTo(adopted->port()));
  pollfd ended{adopted->fd(), POLLIN, 0};
  EXPECT_EQ(poll(&ended, 1, 0), 1);
  EXPECT_NE(ended.revents & POLLHUP, 0);
  EXPECT_TRUE(of_broker.Unmount(false));
}

TEST(NfsExport, IsNotBusyWithoutClients) {
  auto listening = NfsExport::Listen();
  ASSERT_TRUE(listening);
  EXPECT_TRUE((*listening)->Unmount(false));
}

TEST(NfsExport, HasNamesThatNobodyGuesses) {
  const NfsExportNames one = NewExportNames();
  const NfsExportNames other = NewExportNames();
  EXPECT_EQ(one.path.size(), std::string("/airstore-").size() + 32);
  EXPECT_EQ(one.key.size(), 32u);
  EXPECT_NE(one.path, other.path);
  EXPECT_NE(one.key, other.key);
  EXPECT_EQ(one.path.find(one.key), std::string::npos);
}

}  // namespace
}  // namespace airstore::broker
