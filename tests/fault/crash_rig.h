// SPDX-License-Identifier: Apache-2.0
//
// CrashRig: a gateway and a broker for many runs of crash tests. A run mounts a workspace of its
// own, puts load on it, kills what its plan says, lets the rest recover, and compares what the
// programs were told with what another broker finds at the gateway, and with the gateway's own
// data. Threads: the test's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/support/host.h"
#include "tests/e2e/support/other_broker.h"
#include "tests/fault/at_stake.h"
#include "tests/fault/crash_plan.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {

struct CrashResult {
  std::vector<std::string> problems;  // empty: it holds
  bool at_point = false;              // the process was killed there
  uint64_t acknowledged = 0;
  AtStake at_stake;  // when all that the plan says was dead, or about to be
  std::chrono::milliseconds took{0};
};

class CrashRig {
 public:
  explicit CrashRig(std::chrono::seconds patience);

  // Throws when something does not come back at all.
  CrashResult Run(const CrashPlan& plan);
  uint64_t reached(FaultPoint point) const { return board_.reached(point); }
  // Files and logs stay after a failure.
  void Keep() const { host_->Keep(); }
  const std::string& directory() const { return host_->directory(); }

 private:
  struct Scene;  // of one run

  void StartLoads(Scene& scene);
  void Kill(Scene& scene);
  // Until the process that comes to the point is dead; false: none came.
  bool AwaitFired(const CrashPlan& plan, uint64_t before);
  void KillRest(Scene& scene);
  void Recover(Scene& scene);
  void MountAgain(Scene& scene);
  bool ServesAgain(const Scene& scene);
  void Restart(Scene& scene);
  void StartBrokerToDie(Scene& scene);
  void JudgeErrors(Scene& scene);
  void Verify(Scene& scene);
  AtStake StakeOfLiving(const std::string& workspace);

  Switchboard board_;
  std::unique_ptr<e2e::Host> host_;
  std::unique_ptr<e2e::OtherBroker> other_;
  int runs_ = 0;
};

}  // namespace airstore::fault
