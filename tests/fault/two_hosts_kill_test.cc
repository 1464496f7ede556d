// SPDX-License-Identifier: Apache-2.0
//
// Two brokers work in one workspace, and one of them is killed with all of its frontends: the other
// one goes on without an error, and what the dead one had acknowledged arrives.
#include <signal.h>
#include <sys/stat.h>

#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"
#include "tests/fault/ack_log.h"
#include "tests/fault/at_stake.h"
#include "tests/fault/switchboard.h"
#include "tests/fault/tree_process.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class TwoHostsKill : public e2e::HostTest {
 protected:
  using Loads = std::vector<std::unique_ptr<Load>>;

  e2e::HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "5"},
            .environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    here_ = host().Mount("work", "here");
    // So that there is always something on its way.
    board_.Arm(FaultPoint::kGatewayBeforeCommit, FaultAction::kDelay, 10, 0, 1ll << 40);
  }

  Loads StartLoads(const std::string& mount, const std::string& name, uint64_t seed) {
    const std::string directory = mount + "/" + name;
    EXPECT_EQ(mkdir(directory.c_str(), 0755), 0) << strerror(errno);
    Loads loads;
    loads.push_back(MakeTreeProcess(directory, host().Path(name + "-tree"), seed, true));
    for (const char* kind : {"manifest", "blocks"}) {
      loads.push_back(MakeLoggedLoad(kind, directory, host().Path(name + "-" + kind), seed, true));
    }
    for (const auto& load : loads) load->Start();
    return loads;
  }
  static void Join(const Loads& loads) {
    for (const auto& load : loads) load->Join();
  }
  static uint64_t Acknowledged(const Loads& loads) {
    uint64_t sum = 0;
    for (const auto& load : loads) sum += load->acknowledged();
    return sum;
  }
  static void ExpectNoErrors(const Loads& loads) {
    for (const auto& load : loads) {
      for (const LoadError& error : load->errors()) {
        ADD_FAILURE() << load->name() << ": " << error.what;
      }
    }
  }
  static void ExpectAll(const Loads& loads, const std::string& directory) {
    for (const auto& load : loads) {
      EXPECT_EQ(load->Check(directory, Kept::kAcknowledged), "") << load->name();
    }
  }
  void KillHere() {
    const std::vector<pid_t> frontends = host().FrontendPids();
    host().KillBroker();
    for (const pid_t pid : frontends) kill(pid, SIGKILL);
  }
  const std::string& here() const { return here_; }

 private:
  Switchboard board_;
  std::string here_;
};

TEST_F(TwoHostsKill, NothingIsLostWhicheverDies) {
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 2);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  e2e::OtherBroker other(host());
  std::string there = other.Mount("work", "there");
  uint64_t at_stake = 0;
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::mt19937_64 random(seed + round);
    const bool kill_here = round % 2 == 0;
    const std::string name = "round" + std::to_string(round);
    const Loads dying = StartLoads(kill_here ? here() : there, name + "-dying", seed + round);
    const Loads living =
        StartLoads(kill_here ? there : here(), name + "-living", seed + round + 1000);
    ASSERT_TRUE(e2e::WaitUntil(
        seconds(30), [&] { return Acknowledged(dying) > 30 && Acknowledged(living) > 30; }));
    std::this_thread::sleep_for(milliseconds(random() % 300));
    host().FreezeGateway();  // from now on nothing leaves
    std::this_thread::sleep_for(milliseconds(100));
    for (const auto& load : dying) load->BeginEnd();
    kill_here ? KillHere() : other.Kill();
    Join(dying);
    host().ThawGateway();
    const AtStake stake = ReadAtStake(host().Path(kill_here ? "state" : "other-state"));
    at_stake += stake.total();
    const uint64_t before = Acknowledged(living);
    EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] { return Acknowledged(living) > before + 20; }))
        << "the one that is left does not go on";
    Join(living);
    ExpectNoErrors(living);
    if (kill_here) {
      host().StartBroker();
      (void)host().Mount("work", "here");
    } else {
      other.Start();
      there = other.Mount("work", "there");
    }
    for (const std::string& mount : {here(), there}) {
      ExpectAll(dying, mount + "/" + name + "-dying");
      ExpectAll(living, mount + "/" + name + "-living");
    }
    std::cout << name << (kill_here ? ", the first one" : ", the other one")
              << " killed: " << Acknowledged(dying) << " + " << Acknowledged(living)
              << " acknowledged, " << stake.changes << " changes and " << stake.files
              << " files at stake\n";
  }
  EXPECT_GT(at_stake, 0u);
}

}  // namespace
}  // namespace airstore::fault
