// SPDX-License-Identifier: Apache-2.0
//
// Clients of hard mounts work while broker, frontends and gateway die, at named places and at any
// time. What they were told is then looked for without any cache.
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "tests/fault/switchboard.h"
#include "tests/nfs/hard_client.h"

namespace airstore::nfs_test {
namespace {

constexpr std::chrono::seconds kPatience{60};

bool Long() { return e2e::EnvOr("AIRSTORE_NFS_LONG", 0) != 0; }

class Faults : public ServedTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.patience = Patience(), .environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  // Has somebody die there, and brings back who does not come back by itself.
  void DieAt(FaultPoint point, int64_t skip) {
    const auto before = board_.fired(point);
    const pid_t serving = Frontend();
    board_.Arm(point, FaultAction::kKill, 0, skip, 1);
    ASSERT_TRUE(e2e::WaitUntil(kPatience, [&] { return board_.fired(point) > before; }))
        << fault::NameOf(point);
    const std::string name = fault::NameOf(point);
    if (name.starts_with("frontend.")) return AwaitFrontendAfter(serving);  // or both are dead
    if (name.starts_with("gateway.")) {
      ASSERT_TRUE(e2e::WaitUntil(kPatience, [&] { return !host().GatewayRuns(); }));
      host().StartGateway();
    } else {
      ASSERT_TRUE(e2e::WaitUntil(kPatience, [&] { return !host().BrokerRuns(); }));
      host().StartBroker();
    }
  }

  void DieTogether(Crew* crew) {
    crew->BeginNewExport();
    host().KillBrokerAndMounts();
    host().StartBroker();
    Serve(name());
    crew->EndNewExport();
  }

  fault::Switchboard board_;
};

// AIRSTORE_NFS_LONG=1: each point twenty times.
TEST_F(Faults, LoseNothingThatAClientWasTold) {
  Crew crew(port(), path(), 1);
  using enum FaultPoint;
  const FaultPoint points[] = {kFrontendSlotFilled,
                               kFrontendPlaceReserved,
                               kFrontendRecordQueued,
                               kFrontendCallMade,
                               kFrontendCallAnswered,
                               kFrontendBeforeReply,
                               kFrontendAfterReply,
                               kJournalBeforeAppend,
                               kJournalAfterAppend,
                               kLogAfterNumber,
                               kRpcSent,
                               kLogBatchAnswered,
                               kLogAfterSettle,
                               kContentAfterDirty,
                               kContentBeforeWrite,
                               kContentAfterWrite,
                               kCallTaken,
                               kCallBeforeAnswer,
                               kCallAfterAnswer,
                               kTreeBeforeLog,
                               kTreeAfterLog,
                               kGatewayBeforeCommit,
                               kGatewayAfterCommit,
                               kGatewayBeforeReply};
  const int64_t rounds = Long() ? 20 : 1;
  for (int64_t round = 0; round < rounds && !HasFatalFailure(); ++round) {
    for (const FaultPoint point : points) {
      DieAt(point, (round * 7 + static_cast<int64_t>(point)) % 5);
      if (HasFatalFailure()) break;
    }
    DieTogether(&crew);
  }
  crew.End();
  EXPECT_GT(crew.files(), 10u);
  crew.ExpectAllIn(MountElsewhere());
}

// Which of them, when, and in which order is the seed's. AIRSTORE_NFS_LONG=1: forty of each.
TEST_F(Faults, OfAnyAtAnyTimeLoseNothing) {
  struct Victims {
    bool frontend, broker, gateway;
  };
  const Victims all[] = {{true, false, false}, {false, true, false}, {false, false, true},
                         {false, true, true},  {true, true, false},  {true, true, true}};
  std::mt19937_64 random(e2e::EnvOr("AIRSTORE_FAULT_SEED", 1));
  Crew crew(port(), path(), 3);
  for (int round = 0; round < (Long() ? 40 : 1); ++round) {
    for (const Victims& victims : all) {
      SCOPED_TRACE(testing::Message()
                   << "round " << round << (victims.frontend ? " frontend" : "")
                   << (victims.broker ? " broker" : "") << (victims.gateway ? " gateway" : ""));
      crew.AwaitProgress();
      const auto pause = [&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
      };
      pause();
      const bool together = victims.frontend && victims.broker;
      if (together) crew.BeginNewExport();
      if (victims.frontend && !together) KillFrontend();
      if (victims.gateway) host().KillGateway();
      pause();
      if (together) {
        host().KillBrokerAndMounts();
      } else if (victims.broker) {
        host().KillBroker();
      }
      pause();
      const bool twice = victims.broker && random() % 2 == 0;
      if (twice) {
        host().StartBroker();
        pause();
        host().KillBroker();
      }
      if (victims.gateway) host().StartGateway();
      if (victims.broker) host().StartBroker();
      if (together) {
        Serve(name());
        crew.EndNewExport();
      }
      ASSERT_FALSE(HasFailure());
    }
  }
  crew.AwaitProgress();
  crew.End();
  crew.ExpectAllIn(MountElsewhere());
}

}  // namespace
}  // namespace airstore::nfs_test
