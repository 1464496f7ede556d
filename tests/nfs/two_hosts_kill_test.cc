// SPDX-License-Identifier: Apache-2.0
//
// Two brokers serve one workspace to clients of hard mounts, and one of them is killed with its
// frontend: the clients of the other one go on, those of the dead one when it is served again, and
// all that anybody was told is there.
#include <signal.h>

#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/other_broker.h"
#include "tests/fault/at_stake.h"
#include "tests/fault/switchboard.h"
#include "tests/nfs/hard_client.h"

namespace airstore::nfs_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class TwoHostsKillOverNfs : public ServedTest {
 protected:
  static constexpr int kClients = 2;

  e2e::HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "5"},
            .patience = Patience(),
            .environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  void SetUp() override {
    ServedTest::SetUp();
    if (IsSkipped()) return;
    // So that there is always something on its way.
    board_.Arm(FaultPoint::kGatewayBeforeCommit, FaultAction::kDelay, 10, 0, 1ll << 40);
  }

 private:
  fault::Switchboard board_;
};

// AIRSTORE_NFS_LONG=1: twenty of each.
TEST_F(TwoHostsKillOverNfs, NothingIsLostWhicheverDies) {
  const int rounds = e2e::EnvOr("AIRSTORE_NFS_LONG", 0) != 0 ? 40 : 2;
  std::mt19937_64 random(e2e::EnvOr("AIRSTORE_FAULT_SEED", 1));
  e2e::OtherBroker other(host());
  const auto there = other.Serve("work", "there");
  Crew crew_here(port(), path(), kClients, "here");
  Crew crew_there(there["nfs"]["port"].get<uint16_t>(), there["nfs"]["path"], kClients, "there");
  uint64_t at_stake = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const bool kill_here = round % 2 == 0;
    Crew& dying = kill_here ? crew_here : crew_there;
    const Crew& living = kill_here ? crew_there : crew_here;
    dying.AwaitProgress();
    living.AwaitProgress();
    std::this_thread::sleep_for(milliseconds(random() % 300));
    host().FreezeGateway();  // from now on nothing leaves
    std::this_thread::sleep_for(milliseconds(100));
    dying.BeginNewExport();
    kill_here ? host().KillBrokerAndMounts() : other.Kill();
    host().ThawGateway();
    const auto stake = fault::ReadAtStake(host().Path(kill_here ? "state" : "other-state"));
    at_stake += stake.total();
    living.AwaitProgress();
    if (kill_here) {
      host().StartBroker();
      ServeAgain();
    } else {
      other.Start();
      EXPECT_EQ(other.Serve("work", "there")["nfs"]["port"], there["nfs"]["port"]);
    }
    dying.EndNewExport();
    dying.AwaitProgress();
    std::cout << "round " << round << (kill_here ? ", the first one" : ", the other one")
              << " killed: " << dying.rounds() << " + " << living.rounds() << " rounds of clients, "
              << stake.changes << " changes and " << stake.files << " files at stake\n";
  }
  EXPECT_GT(at_stake, 0u);
  crew_here.End();
  crew_there.End();
  EXPECT_GT(crew_here.files(), 0u);
  EXPECT_GT(crew_there.files(), 0u);
  other.Unmount(host().Path("there"));
  other.Stop();
  const std::string mount = MountElsewhere();
  crew_here.ExpectAllIn(mount);
  crew_there.ExpectAllIn(mount);
}

}  // namespace
}  // namespace airstore::nfs_test
