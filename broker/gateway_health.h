// SPDX-License-Identifier: Apache-2.0
//
// How calls to a gateway go, over the connection that all sessions with it share.
// Threads: a plain value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace airstore::broker {

struct GatewayHealth {
  uint64_t unanswered = 0;             // calls
  std::string error;                   // why it does not answer; empty: it does
  std::vector<uint64_t> latency = {};  // of answered calls: element b counts [2^b, 2^(b+1)) ns
};

}  // namespace airstore::broker
