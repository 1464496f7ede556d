// SPDX-License-Identifier: Apache-2.0
#include "broker/nfs_export.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/nfs_names.h"
#include "broker/run_program.h"
#include "tests/unit/broker/temp_dir.h"

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
  auto listening = NfsExport::Listen(0);
  ASSERT_TRUE(listening);
  NfsExport& of_broker = **listening;
  EXPECT_TRUE(of_broker.Mounted());
  EXPECT_NE(of_broker.port(), 0);
  // As a frontend has it, and as another broker takes it over.
  const auto adopted = NfsExport::Adopt(UniqueFd(dup(of_broker.fd())), "", "");
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
  auto listening = NfsExport::Listen(0);
  ASSERT_TRUE(listening);
  EXPECT_TRUE((*listening)->Unmount(false));
}

TEST(NfsExport, TakesItsPortAgain) {
  uint16_t port = 0;
  {
    auto first = NfsExport::Listen(0);
    ASSERT_TRUE(first);
    port = (*first)->port();
    // It is taken: there is another.
    auto second = NfsExport::Listen(port);
    ASSERT_TRUE(second);
    EXPECT_NE((*second)->port(), port);
    const UniqueFd client = ConnectTo(port);
    ASSERT_TRUE(client);
    const UniqueFd served(accept((*first)->fd(), nullptr, nullptr));
    ASSERT_TRUE((*first)->Unmount(true));
  }
  auto again = NfsExport::Listen(port);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->port(), port);
}

TEST(NfsExportNames, AreTheSameForTheSameExportAndNotToBeGuessed) {
  const TempDir state;
  const auto secret = ReadExportSecret(state.path());
  ASSERT_TRUE(secret);
  const auto again = ReadExportSecret(state.path());
  ASSERT_TRUE(again);
  EXPECT_EQ(*secret, *again);
  const NfsExportIdentity identity{0, "host:1", "w1", "/mnt"};
  const NfsExportNames names = NamesOf(identity, *secret);
  EXPECT_EQ(names.path.size(), std::string("/airstore-").size() + 32);
  EXPECT_EQ(names.key.size(), 32u);
  EXPECT_EQ(names.path.find(names.key), std::string::npos);
  EXPECT_EQ(NamesOf(identity, *again).path, names.path);
  EXPECT_EQ(NamesOf(identity, *again).key, names.key);
  EXPECT_EQ(NamesOf(identity, *again).port, names.port);
  const NfsExportIdentity others[] = {{1, "host:1", "w1", "/mnt"},
                                      {0, "host:2", "w1", "/mnt"},
                                      {0, "host:1", "w2", "/mnt"},
                                      {0, "host:1", "w1", "/mnt2"}};
  for (const NfsExportIdentity& other : others) {
    EXPECT_NE(NamesOf(other, *secret).path, names.path);
    EXPECT_NE(NamesOf(other, *secret).key, names.key);
  }
  const TempDir elsewhere;
  const auto another = ReadExportSecret(elsewhere.path());
  ASSERT_TRUE(another);
  EXPECT_NE(NamesOf(identity, *another).path, names.path);
  EXPECT_EQ(truncate((state / "nfs.secret").c_str(), 3), 0);
  const auto damaged = ReadExportSecret(state.path());
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, EPROTO);
}

TEST(NfsMount, SaysWhatIsMissing) {
  EXPECT_EQ(NfsHelperError("mount: bad option; you might need a /sbin/mount.<type> helper program.",
                           false)
                .code,
            ENOPKG);
  EXPECT_EQ(NfsHelperError("mount.nfs: not found", false).code, ENOPKG);
  EXPECT_EQ(NfsHelperError("mount.nfs: access denied by server", true).code, EIO);
  EXPECT_EQ(NfsHelperError("mount: must be superuser", false).message,
            "NFS mount: mount: must be superuser");
  const std::string command = NfsMountCommand(
      {.source = "127.0.0.1:/x", .mountpoint = "/mnt", .port = 77, .read_only = true});
  EXPECT_NE(command.find("port=77,"), std::string::npos);
  EXPECT_NE(command.find(",mountport=77,nolock,"), std::string::npos);
  EXPECT_NE(command.find(",ro 127.0.0.1:/x /mnt"), std::string::npos);
}

TEST(RunProgram, HearsWhatItSaysAndWaitsNoLongerThanItMay) {
  ProgramSpec says;
  says.arguments = {"sh", "-c", "echo out; echo err >&2; exit 3"};
  auto run = RunProgram(std::move(says));
  ASSERT_TRUE(run);
  EXPECT_FALSE(run->success);
  EXPECT_FALSE(run->late);
  EXPECT_EQ(run->output, "out err");
  ProgramSpec sleeps;
  sleeps.arguments = {"sleep", "1000"};
  sleeps.patience = std::chrono::milliseconds(50);
  run = RunProgram(std::move(sleeps));
  ASSERT_TRUE(run);
  EXPECT_TRUE(run->late);
  ProgramSpec none;
  none.arguments = {"there-is-no-such-program"};
  const auto failed = RunProgram(std::move(none));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ENOENT);
}

}  // namespace
}  // namespace airstore::broker
