// SPDX-License-Identifier: Apache-2.0
//
// The time as the gateway needs it: wall clock for what is stored, steady for what expires.
// Threads: pure functions.
#pragma once

#include <chrono>
#include <cstdint>

namespace airstore::gateway {

inline int64_t WallClockNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

using SteadyTime = std::chrono::steady_clock::time_point;
inline SteadyTime SteadyNow() { return std::chrono::steady_clock::now(); }

}  // namespace airstore::gateway
