// SPDX-License-Identifier: Apache-2.0
//
// The broker of four mounts killed, and upgraded, again and again under load: nobody sees an error,
// and nobody waits long.
#include <algorithm>
#include <iostream>
#include <random>
#include <thread>

#include "tests/fault/stall_probe.h"
#include "tests/fault/storm.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;

class BrokerStorm : public StormTest {
 protected:
  // `replace(round)`: has the broker replaced.
  template <typename Replace>
  void Rounds(uint64_t rounds, const char* what, const Replace& replace) {
    const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
    std::mt19937_64 random(seed);
    ASSERT_NO_FATAL_FAILURE(StartLoad(seed));
    StallProbe probe(mounts());
    for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
      std::this_thread::sleep_for(milliseconds(100 + random() % 400));
      probe.BeginRound();
      replace(round);
    }
    std::this_thread::sleep_for(milliseconds(500));
    const std::vector<milliseconds> stalls = probe.Stop();
    const uint64_t acknowledged = EndLoad();
    const auto p99 = stalls[stalls.size() * 99 / 100];
    std::cout << "seed " << seed << ": " << rounds << what << acknowledged
              << " acknowledged calls, " << probe.errors() << " errors; stall median "
              << stalls[stalls.size() / 2].count() << " ms, p99 " << p99.count() << " ms, longest "
              << stalls.back().count() << " ms\n";
    EXPECT_EQ(probe.errors(), 0u);
    for (const std::string& mountpoint : mounts()) {
      EXPECT_EQ(host().MountStatus(mountpoint).at("state"), "ready");
    }
    ExpectAllAtTheGateway();
  }
};

TEST_F(BrokerStorm, NobodySeesIt) {
  Rounds(e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 4), " broker kills, ", [&](uint64_t) {
    host().KillBroker();
    host().StartBroker();
  });
}

TEST_F(BrokerStorm, NobodySeesUpgrades) {
  Rounds(e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 4), " upgrades, ", [&](uint64_t round) {
    e2e::Finished said;
    EXPECT_TRUE(
        host().UpgradeBroker(e2e::Program(round % 2 == 0 ? "airstored-next" : "airstored"), &said))
        << said.All();
  });
}

}  // namespace
}  // namespace airstore::fault
