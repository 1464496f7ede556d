// SPDX-License-Identifier: Apache-2.0
//
// Everything of a host is killed under load, while the gateway does not have all of it. After a
// restart the gateway must have exactly what the applications were told.
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/tree_load.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Recovery : public e2e::HostTest {
 protected:
  // A broker that dies with the write lease is waited for so long.
  e2e::HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "5"}};
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
  }
  void Sleep(size_t ms) { std::this_thread::sleep_for(milliseconds(ms)); }

  // What would be lost if it were only in memory here.
  uint64_t AtStake() {
    const nlohmann::json session = host().SessionStatus("work");
    return session.at("pending_mutations").get<uint64_t>() +
           session.at("dirty_bytes").get<uint64_t>();
  }
  bool Recovered() {
    const nlohmann::json status = host().Status();
    for (const auto& session : status.at("sessions")) {
      if (session.at("state") == "recovering") return false;
    }
    return true;
  }
};

// Load on a mount, then death at a random time.
TEST_F(Recovery, NothingAcknowledgedIsLostWhenAllAreKilled) {
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 12);
  const uint64_t first = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  uint64_t changes = 0;
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    std::mt19937_64 random(seed);
    const bool passthrough = seed % 2 == 0;
    const bool gateway_too = seed % 3 == 0;
    const bool twice = seed % 4 == 1;
    const std::string what =
        "seed " + std::to_string(seed) + (passthrough ? "" : ", without passthrough") +
        (gateway_too ? ", gateway killed" : "") + (twice ? ", killed again while recovering" : "");
    SCOPED_TRACE(what);
    const std::string mount = host().Mount(
        "work", "mnt", passthrough ? e2e::Arguments{} : e2e::Arguments{"--passthrough", "off"});
    const std::string name = "round-" + std::to_string(seed);
    ASSERT_EQ(mkdir((mount + "/" + name).c_str(), 0755), 0);
    TreeLoad load(mount + "/" + name, seed, passthrough);
    load.Start();
    Sleep(random() % 200);
    host().FreezeGateway();
    const uint64_t before = load.acknowledged();
    Sleep(20 + random() % 200);
    const bool goes_on =
        e2e::WaitUntil(seconds(10), [&] { return load.acknowledged() > before + 5; });
    const uint64_t at_stake = AtStake();
    if (!goes_on || at_stake == 0) host().ThawGateway();
    ASSERT_TRUE(goes_on);
    ASSERT_GT(at_stake, 0u);

    load.BeginEnd();
    if (gateway_too) host().KillGateway();
    host().KillBrokerAndMounts();
    load.Join();
    changes += load.acknowledged();

    if (twice) {
      host().StartBroker();
      if (!gateway_too) host().ThawGateway();
      Sleep(random() % 30);
      host().KillBrokerAndMounts();
    }
    if (gateway_too) {
      host().StartGateway();
    } else {
      host().ThawGateway();
    }
    host().StartBroker();
    host().Mount("work", "mnt");
    EXPECT_TRUE(Recovered());
    const std::string wrong = load.Check(mount + "/" + name, Kept::kAcknowledged);
    EXPECT_EQ(wrong, "");
    host().Unmount(mount);
    EXPECT_FALSE(e2e::Exists(host().Path("state/spool/lost+found")));
    if (HasFailure()) break;
  }
  printf("%llu changes acknowledged in %llu rounds\n", static_cast<unsigned long long>(changes),
         static_cast<unsigned long long>(rounds));
}

// Somebody else takes the name before the changes come: they are kept for their owner.
TEST_F(Recovery, WhatTheGatewayRefusesForGoodIsKept) {
  const std::string mount = host().Mount("work", "mnt");
  ASSERT_FALSE(e2e::Exists(mount + "/dir"));  // the gateway is not asked again
  host().FreezeGateway();
  const std::string content = e2e::RandomBytes(1, 5000);
  mkdir((mount + "/dir").c_str(), 0755);
  e2e::WriteFile(mount + "/dir/file", content);
  const uint64_t at_stake = AtStake();
  host().KillBrokerAndMounts();
  host().ThawGateway();
  ASSERT_GT(at_stake, 0u);
  std::filesystem::rename(host().Path("state"), host().Path("old-state"));
  host().StartBroker();
  host().Mount("work", "mnt");
  e2e::WriteFile(mount + "/dir", "in the way");
  host().Unmount(mount);
  host().StopBroker();
  host().WipeBrokerState();
  std::filesystem::rename(host().Path("old-state"), host().Path("state"));
  host().StartBroker();
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Recovered(); }));
  const std::string kept = host().Path("state/spool/lost+found");
  const auto sessions = e2e::NamesIn(kept);
  ASSERT_EQ(sessions.size(), 1u);
  const std::string directory = kept + "/" + *sessions.begin();
  EXPECT_FALSE(e2e::Exists(directory + "/session.json"));
  const auto manifest = nlohmann::json::parse(e2e::ReadFile(directory + "/manifest.json"));
  bool found = false;
  for (const auto& item : manifest.at("items")) {
    if (item.at("what") != "content") continue;
    found = true;
    EXPECT_EQ(item.at("path"), "/dir/file");
    EXPECT_EQ(item.at("size"), content.size());
    EXPECT_EQ(e2e::ReadFile(directory + "/" + item.at("file").get<std::string>()), content);
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace airstore::fault
