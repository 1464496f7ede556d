// SPDX-License-Identifier: Apache-2.0
//
// The power of a host fails whose exports promise by its own disk: what clients were promised is
// there, and the verifier tells them to send the rest again.
#include <set>

#include "tests/fault/power_cut.h"
#include "tests/nfs/served.h"

namespace airstore::nfs_test {
namespace {

class PowerLossOfAServer : public ServedTest {
 protected:
  bool Recovered() {
    const nlohmann::json status = host().Status();
    for (const auto& session : status.at("sessions")) {
      if (session.at("state") == "recovering") return false;
    }
    return true;
  }
  fault::PowerCut power_;
};

TEST_F(PowerLossOfAServer, WhatIsCommittedIsThere) {
  ASSERT_EQ(host().Airctl({"unmount", name()}).code, 0);
  if (const std::string why = power_.UseDisk(host()); !why.empty()) GTEST_SKIP() << why;
  host().StartBroker();
  ServeAgain({"--fsync", "local"});
  auto client = Connect();
  const Handle root = client->Mount(path());
  for (const char* name : {"nothing", "nothing else", "nothing at all"}) {
    ASSERT_EQ(client->Lookup(root, name, nullptr), NFS3ERR_NOENT);
  }
  host().FreezeGateway();
  constexpr size_t kFiles = 60;
  const auto content = [](size_t i) { return e2e::RandomBytes(i, 1 + 2999 * i); };
  std::vector<Handle> files(kFiles);
  WRITE3resok before{};
  for (size_t i = 0; i < kFiles; ++i) {
    ASSERT_EQ(client->Make(root, "draft" + std::to_string(i), 0644, &files[i]), NFS3_OK);
    const stable_how how = i % 3 == 1 ? FILE_SYNC : UNSTABLE;
    ASSERT_EQ(client->Write(files[i], 0, content(i), how, &before), NFS3_OK);
    if (i % 3 == 2) {
      ASSERT_EQ(client->Commit(files[i]), NFS3_OK);
    }
    if (i % 6 != 5) continue;
    Body moved(client
                   ->Nfs(NFSPROC3_RENAME, Where(root, "draft" + std::to_string(i)) +
                                              Where(root, "file" + std::to_string(i)))
                   .body);
    ASSERT_EQ(moved.Status(), NFS3_OK);
  }
  // Names that were changed before it are promised with it.
  ASSERT_EQ(client->Commit(files.back()), NFS3_OK);
  client.reset();

  power_.Cut(host());
  power_.StartBrokerAfterBoot(host());
  host().ThawGateway();
  ASSERT_TRUE(e2e::WaitUntil(std::chrono::seconds(60), [&] { return Recovered(); }));
  ServeAgain({"--fsync", "local"});
  WRITE3resok after{};
  ASSERT_EQ(Connect()->Write(files.back(), 0, content(kFiles - 1), UNSTABLE, &after), NFS3_OK);
  EXPECT_NE(std::string(after.verf, 8), std::string(before.verf, 8));
  ASSERT_EQ(Connect()->Commit(files.back()), NFS3_OK);
  ASSERT_EQ(host().Airctl({"unmount", "--force", name()}).code, 0);
  power_.TakeDiskAway(host());
  host().StartBroker();
  const std::string mount = host().Mount("work", "mnt");
  size_t gone = 0;
  for (size_t i = 0; i < kFiles; ++i) {
    const std::string at = mount + (i % 6 == 5 ? "/file" : "/draft") + std::to_string(i);
    const bool there = e2e::Exists(at) && e2e::ReadFile(at) == content(i);
    EXPECT_TRUE(there || i % 3 == 0) << at;
    gone += !there;
  }
  EXPECT_GT(gone, 0u) << "the power did not fail";
}

}  // namespace
}  // namespace airstore::nfs_test
