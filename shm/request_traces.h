// SPDX-License-Identifier: Apache-2.0
//
// RequestTraces: which entry of a lane's traces belongs to which request that is being served.
//
// Entries that a dead frontend left are kept until the request comes again or is known not to come.
// Threads: any of the frontend; nobody waits. REQUIRES: the memory outlives this.
#pragma once

#include <array>

#include "shm/layout.h"

namespace airstore::shm {

class RequestTraces {
 public:
  explicit RequestTraces(RequestTrace* traces);

  // The entry of a request that begins: the one it left when it is being made again, else a clean
  // one. nullptr when all are in use: that request leaves no trace.
  RequestTrace* Begin(uint64_t unique, bool repeated);
  void End(RequestTrace* trace);
  // What was left by requests that will not be made again.
  void DropLeft();

 private:
  enum class Owner : uint8_t { kNobody, kThread, kPredecessor };

  bool Claim(size_t index, Owner from);

  RequestTrace* traces_;
  std::array<std::atomic<Owner>, kRequestTraces> owners_{};
};

}  // namespace airstore::shm
