// SPDX-License-Identifier: Apache-2.0
//
// How threads of a frontend wait for the broker: for room, for what was queued to be applied, for a
// request slot. Inner part of LaneProducer.
// Threads: any thread of the frontend.
#pragma once

#include "shm/futex.h"
#include "shm/lane.h"

namespace airstore::shm {

class LaneProducer::Waiting {
 public:
  explicit Waiting(const LaneProducer& lane) : trace_(lane.Trace()) { Mark(1); }
  ~Waiting() { Mark(0); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  void Mark(uint32_t value) {
    if (trace_ != nullptr) trace_->waiting.store(value, std::memory_order_relaxed);
  }

  RequestTrace* trace_;
};

template <typename Ready>
bool LaneProducer::AwaitProgress(Ready ready, const std::function<bool()>& interrupted) {
  LaneCursors& cursors = layout()->cursors;
  for (;;) {
    // Before all else: whatever is bumped behind this line ends the wait.
    const uint32_t seen = cursors.progress.load(std::memory_order_acquire);
    cursors.frontend_waits.store(1, std::memory_order_seq_cst);
    // Pairs with the fence in LaneConsumer::WakeFrontend.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (ready()) return true;
    if (interrupted && interrupted()) return false;
    Wake();
    FutexWait(cursors.progress, seen);
  }
}

}  // namespace airstore::shm
