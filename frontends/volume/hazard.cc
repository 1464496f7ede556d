// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/hazard.h"

#include <array>

namespace airstore::volume {
namespace {

constexpr uint32_t kSharedSlot = shm::kHazardSlots - 1;

// Numbers of the threads; process wide because a thread's number is.
class SlotNumbers {
 public:
  uint32_t Take() {
    const std::lock_guard lock(mutex_);
    for (uint32_t number = 0; number < kSharedSlot; ++number) {
      if (!taken_[number]) {
        taken_[number] = true;
        return number;
      }
    }
    return kSharedSlot;
  }
  void Return(uint32_t number) {
    const std::lock_guard lock(mutex_);
    taken_[number] = false;
  }
  std::mutex& shared_slot() { return shared_slot_; }

 private:
  std::mutex mutex_;
  std::array<bool, shm::kHazardSlots> taken_{};  // guarded by mutex_
  std::mutex shared_slot_;
};

// Never destroyed: threads that end after main still return their numbers.
SlotNumbers& Numbers() {
  static SlotNumbers& numbers = *new SlotNumbers;
  return numbers;
}

struct ThreadSlot {
  uint32_t number = Numbers().Take();
  ~ThreadSlot() { Numbers().Return(number); }
};

uint32_t NumberOfThisThread() {
  static thread_local ThreadSlot slot;
  return slot.number;
}

}  // namespace

Hazard::Hazard(const shm::LaneProducer& lane) {
  const uint32_t number = NumberOfThisThread();
  if (number == kSharedSlot) shared_ = std::unique_lock(Numbers().shared_slot());
  slot_ = &lane.Hazard(number);
}

}  // namespace airstore::volume
