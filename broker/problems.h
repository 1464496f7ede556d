// SPDX-License-Identifier: Apache-2.0
//
// What is wrong with the broker, its sessions and mounts, in words that status, doctor and the
// metrics share.
// Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "broker/broker_api.h"

namespace airstore::broker {

enum class Cause {
  kGatewayUnreachable,  // subject: its address
  kGatewayCertificate,  // ditto
  kGatewayToken,        // subject: a workspace
  kWorkspaceGone,       // ditto
  kSpoolFull,
  kFrontendFailing,  // subject: a mount point
  kJournalTorn,
  kClockSet,
  kChangesRefused,
};
// "gateway_unreachable", ...
const char* CauseName(Cause cause);
std::vector<Cause> AllCauses();

struct Problem {
  Cause cause = Cause::kGatewayUnreachable;
  std::string subject;  // empty: the broker
  std::string says;     // what happened
  std::string mend;     // what to do
};

// What lasts, and what happened in the last minutes.
std::vector<Problem> ProblemsOf(const BrokerStatus& status);

}  // namespace airstore::broker
