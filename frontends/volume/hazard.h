// SPDX-License-Identifier: Apache-2.0
//
// Hazard: one thread's announcement that it reads a slab extent.
//
// Each thread owns one hazard slot number for life; threads beyond the last number share one slot,
// one at a time. The slot number is the same in every lane of the process, so that a thread needs
// only one however many volumes it serves.
// Threads: a Hazard lives on the stack of one thread; one at a time per thread.
#pragma once

#include <cstdint>
#include <mutex>

#include "shm/lane.h"

namespace airstore::volume {

class Hazard {
 public:
  explicit Hazard(const shm::LaneProducer& lane);
  ~Hazard() { Clear(); }
  Hazard(const Hazard&) = delete;
  Hazard& operator=(const Hazard&) = delete;

  // From here on the broker leaves the extent alone, provided that the inode record still names it
  // when it is read again after this call.
  void Name(uint64_t hazard_key) { slot_->extent.store(hazard_key, std::memory_order_seq_cst); }
  // Release: what was read of the extent was read before.
  void Clear() { slot_->extent.store(0, std::memory_order_release); }

 private:
  std::unique_lock<std::mutex> shared_;  // held when the slot is the shared one
  shm::HazardSlot* slot_;
};

}  // namespace airstore::volume
