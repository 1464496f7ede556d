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
constexpr int kSpareSlots = 16;

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
                                      std::string_view name2, const Interrupted& interrupted,
                                      std::string* text, int64_t until_ns) {
  if (const int error = CheckRequest(args, name, name2); error != 0) return Failure(error);
  if (name.size() + name2.size() > kRequestText) return Failure(ENAMETOOLONG);
  const Waiting waiting(this, until_ns);
  return Call(args, name, name2, interrupted, waiting, text);
}

RequestReply LaneProducer::Call(const RequestArgs& args, std::string_view name,
                                std::string_view name2, const Interrupted& interrupted,
                                const Waiting& waiting, std::string* text) {
  const auto unanswered = [this](End end) {
    if (end == End::kTimeOver) return Failure(ETIMEDOUT);
    Count(kInterrupted);
    return Failure(EINTR);
  };
  uint32_t index = 0;
  if (!TakeLeftCall(args, name, name2, &index)) {
    const End end = Submit(args, name, name2, interrupted, waiting, &index);
    if (end != End::kReady && GivesBack(args)) {
      Later([this, args](const Interrupted& ending, const Waiting& patient) {
        Call(args, {}, {}, ending, patient, nullptr);
      });
    }
    if (end != End::kReady) return unanswered(end);
  }
  RequestSlot& slot = layout()->slots[index];
  const End end = AwaitReply(&slot, interrupted, waiting);
  if (end != End::kReady && GiveUp(index)) return unanswered(end);
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

LaneProducer::End LaneProducer::Submit(const RequestArgs& args, std::string_view name,
                                       std::string_view name2, const Interrupted& interrupted,
                                       const Waiting& waiting, uint32_t* index) {
  if (!ClaimSlot(index)) {
    const End end = AwaitProgress([&] { return ClaimSlot(index); }, interrupted, waiting);
    if (end != End::kReady) return end;
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
  Place place;
  if (const End end = AwaitPlace(message, 0, interrupted, waiting, &place); end != End::kReady) {
    FreeSlot(*index);  // its record was never made: the broker does not know of it
    return end;
  }
  Publish(message, {}, place);
  Reach(FaultPoint::kFrontendCallMade);
  Count(kBrokerCalls);
  return End::kReady;
}

bool LaneProducer::GiveUp(uint32_t index) {
  std::atomic<uint32_t>& state = layout()->slots[index].state;
  uint32_t before = state.load(std::memory_order_acquire);
  do {
    if (before == kDone) return false;
  } while (
      !state.compare_exchange_weak(before, kSubmitted | kSlotGivenUp, std::memory_order_acq_rel));
  const std::lock_guard lock(mutex_);
  abandoned_ |= uint64_t{1} << index;
  return true;
}

bool LaneProducer::ClaimSlot(uint32_t* index) {
  const std::lock_guard lock(mutex_);
  if (std::popcount(free_slots_) <= kSpareSlots) {
    for (uint64_t left = abandoned_; left != 0; left &= left - 1) {
      const int i = std::countr_zero(left);
      std::atomic<uint32_t>& state = layout()->slots[i].state;
      if (state.load(std::memory_order_acquire) != kDone) continue;
      state.store(kFree, std::memory_order_relaxed);
      abandoned_ &= ~(uint64_t{1} << i);
      free_slots_ |= uint64_t{1} << i;
    }
  }
  // One who keeps an answer and needs another call finds a slot that nobody else keeps.
  const int spare = MayKeepCall() ? kSpareSlots : 0;
  if (std::popcount(free_slots_) <= spare) {
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

LaneProducer::End LaneProducer::AwaitReply(RequestSlot* slot, const Interrupted& interrupted,
                                           const Waiting& waiting) {
  if (spins_) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 16; ++i) {
        if (slot->state.load(std::memory_order_acquire) == kDone) return End::kReady;
        Pause();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  for (;;) {
    uint32_t state = slot->state.load(std::memory_order_acquire);
    if (state == kDone) return End::kReady;
    if (state == (kSubmitted | kSlotPoked)) {
      // Fails when the answer came meanwhile: look again.
      if (!slot->state.compare_exchange_strong(state, kSubmitted, std::memory_order_acq_rel)) {
        continue;
      }
    }
    // Pairs with the fence in Interrupt: either we are told of the interruption here, or it finds
    // the slot submitted and changes its state, so that the wait below does not begin.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (interrupted && interrupted()) return End::kInterrupted;
    if (!waiting.Sleep(slot->state, kSubmitted)) return End::kTimeOver;
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
