// SPDX-License-Identifier: Apache-2.0
//
// Switchboard: arms fault points (shm/base/fault.h) of the processes that were started with its
// path in AIRSTORE_FAULT, and tells what was reached.
// Fails how: throws std::runtime_error when the file cannot be made.
// Threads: any.
#pragma once

#include <chrono>
#include <string>

#include "shm/base/fault.h"

namespace airstore::fault {

class Switchboard {
 public:
  Switchboard();
  ~Switchboard();
  Switchboard(const Switchboard&) = delete;
  Switchboard& operator=(const Switchboard&) = delete;

  const std::string& path() const { return path_; }

  // From its (`skip` + 1)th time on, `times` times.
  void Arm(FaultPoint point, FaultAction action, uint32_t argument, int64_t skip, int64_t times);
  void Disarm(FaultPoint point);
  uint64_t reached(FaultPoint point) const { return Slot(point).reached; }
  uint64_t fired(FaultPoint point) const { return Slot(point).fired; }
  pid_t fired_in(FaultPoint point) const { return Slot(point).fired_in; }

 private:
  FaultSlot& Slot(FaultPoint point) const { return board_->slots[static_cast<uint32_t>(point)]; }

  std::string path_;
  FaultBoard* board_ = nullptr;
};

inline const char* NameOf(FaultPoint point) {
  return kFaultPointNames[static_cast<uint32_t>(point)];
}

}  // namespace airstore::fault
