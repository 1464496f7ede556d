// SPDX-License-Identifier: Apache-2.0
//
// Calls of a frontend: request slots, waiting for an answer, interruption.
#include <bit>
#include <chrono>

#include "shm/base/fault.h"
#include "shm/counters.h"
#include "shm/lane.h"
#include "shm/lane_wait.h"
#include "shm/request_rules.h"

namespace airstore::shm {
namespace {

constexpr std::chrono::nanoseconds kSpin{2000};

constexpr uint32_t kFree = static_cast<uint32_t>(SlotState::kFree);
constexpr uint32_t kSubmitted = static_cast<uint32_t>(SlotState::kSubmitted);
constexpr uint32_t kDone = static_cast<uint32_t>(SlotState::kDone);

RequestReply Failure(int error) {
  RequestReply reply{};
  reply.error = error;
  return reply;
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

RequestReply LaneProducer::CallBroker(const RequestArgs& args, std::string_view name,
                                      std::string_view name2,
                                      const std::function<bool()>& interrupted, std::string* text) {
  if (const int error = CheckRequest(args, name, name2); error != 0) return Failure(error);
  if (name.size() + name2.size() > kRequestText) return Failure(ENAMETOOLONG);
  const Waiting waiting(*this);
  uint32_t index = 0;
  if (!TakeLeftCall(args, name, name2, &index) && !Submit(args, name, name2, interrupted, &index)) {
    Count(kInterrupted);
    return Failure(EINTR);
  }
  RequestSlot& slot = layout()->slots[index];
  if (!AwaitReply(&slot, interrupted)) {
    const std::lock_guard lock(mutex_);
    abandoned_ |= uint64_t{1} << index;
    Count(kInterrupted);
    return Failure(EINTR);
  }
  Reach(FaultPoint::kFrontendCallAnswered);
  const RequestReply reply = slot.reply;
  if (text != nullptr) {
    const size_t at = name.size() + name2.size();
    if (reply.text_bytes > kRequestText - at) return Failure(EIO);
    text->assign(reinterpret_cast<const char*>(slot.text) + at, reply.text_bytes);
  }
  if (!HasEffect(static_cast<Op>(args.op)) || !KeepCall(index)) FreeSlot(index);
  return reply;
}

bool LaneProducer::Submit(const RequestArgs& args, std::string_view name, std::string_view name2,
                          const std::function<bool()>& interrupted, uint32_t* index) {
  if (!ClaimSlot(index) && !AwaitProgress([&] { return ClaimSlot(index); }, interrupted)) {
    return false;
  }
  RequestSlot& slot = layout()->slots[*index];
  slot.args = args;
  slot.args.name_bytes = static_cast<uint32_t>(name.size());
  slot.args.name2_bytes = static_cast<uint32_t>(name2.size());
  if (!name.empty()) memcpy(slot.text, name.data(), name.size());
  if (!name2.empty()) memcpy(slot.text + name.size(), name2.data(), name2.size());
  slot.position.store(0, std::memory_order_relaxed);
  slot.state.store(kSubmitted, std::memory_order_release);
  Reach(FaultPoint::kFrontendSlotFilled);
  Message message{};
  message.op = QueueOp::kCall;
  message.slot = *index;
  if (!Enqueue(message, {}, interrupted)) {
    FreeSlot(*index);  // its record was never made: the broker does not know of it
    return false;
  }
  Reach(FaultPoint::kFrontendCallMade);
  Count(kBrokerCalls);
  return true;
}

bool LaneProducer::ClaimSlot(uint32_t* index) {
  const std::lock_guard lock(mutex_);
  if (free_slots_ == 0) {
    for (uint64_t left = abandoned_; left != 0; left &= left - 1) {
      const int i = std::countr_zero(left);
      std::atomic<uint32_t>& state = layout()->slots[i].state;
      if (state.load(std::memory_order_acquire) != kDone) continue;
      state.store(kFree, std::memory_order_relaxed);
      abandoned_ &= ~(uint64_t{1} << i);
      free_slots_ |= uint64_t{1} << i;
    }
  }
  if (free_slots_ == 0) {
    slot_wanted_ = true;
    return false;
  }
  *index = static_cast<uint32_t>(std::countr_zero(free_slots_));
  free_slots_ &= free_slots_ - 1;
  return true;
}

void LaneProducer::FreeSlot(uint32_t index) {
  layout()->slots[index].state.store(kFree, std::memory_order_relaxed);
  bool wanted;
  {
    const std::lock_guard lock(mutex_);
    free_slots_ |= uint64_t{1} << index;
    wanted = std::exchange(slot_wanted_, false);
  }
  if (wanted) BumpProgress();
}

bool LaneProducer::AwaitReply(RequestSlot* slot, const std::function<bool()>& interrupted) {
  if (spins_) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 16; ++i) {
        if (slot->state.load(std::memory_order_acquire) == kDone) return true;
        Pause();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  for (;;) {
    uint32_t state = slot->state.load(std::memory_order_acquire);
    if (state == kDone) return true;
    if (state == (kSubmitted | kSlotPoked)) {
      // Fails when the answer came meanwhile: look again.
      if (!slot->state.compare_exchange_strong(state, kSubmitted, std::memory_order_acq_rel)) {
        continue;
      }
    }
    // Pairs with the fence in Interrupt: either we are told of the interruption here, or it finds
    // the slot submitted and changes its state, so that the wait below does not begin.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (interrupted && interrupted()) return slot->state.load(std::memory_order_acquire) == kDone;
    FutexWait(slot->state, kSubmitted);
  }
}

void LaneProducer::Interrupt() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (RequestSlot& slot : layout()->slots) {
    uint32_t state = kSubmitted;
    if (slot.state.compare_exchange_strong(state, kSubmitted | kSlotPoked,
                                           std::memory_order_acq_rel)) {
      FutexWakeAll(slot.state);
    }
  }
  BumpProgress();
}

}  // namespace airstore::shm
