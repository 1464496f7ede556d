// SPDX-License-Identifier: Apache-2.0
//
// What a frontend leaves to its successor of each request it serves.
#include <bit>
#include <utility>

#include "shm/copy_once.h"
#include "shm/counters.h"
#include "shm/lane.h"
#include "shm/lane_wait.h"
#include "shm/request_rules.h"

namespace airstore::shm {
namespace {

constexpr uint32_t kNoSlot = kRequestSlots;

struct ThreadRequest {
  const void* lane = nullptr;  // nullptr: none
  RequestTrace* trace = nullptr;
  uint64_t unique = 0;
  bool repeated = false;
  uint32_t kept_slot = kNoSlot;
  int64_t end_ns = 0;  // of its time; 0: it has not waited yet
};

thread_local ThreadRequest current;

LocalEffect EffectOf(const RequestTrace& trace) {
  return static_cast<LocalEffect>(trace.effect.load(std::memory_order_relaxed));
}

void SetEffect(RequestTrace* trace, LocalEffect effect) {
  trace->effect.store(static_cast<uint32_t>(effect), std::memory_order_release);
}

}  // namespace

LaneProducer::Left LaneProducer::BeginRequest(uint64_t unique, bool repeated) {
  if (current.lane == this) EndRequest();
  current = {this, traces_.Begin(unique, repeated), unique, repeated, kNoSlot, 0};
  if (repeated) Count(kRepeatedRequests);
  Left left;
  if (current.trace == nullptr) return left;
  const LocalEffect effect = EffectOf(*current.trace);
  if (effect != LocalEffect::kLookup && effect != LocalEffect::kOpen) return left;
  left = {effect, current.trace->inode_index.load(std::memory_order_relaxed)};
  SetEffect(current.trace, LocalEffect::kNone);
  return left;
}

void LaneProducer::EndRequest() {
  if (current.lane != this) return;
  if (current.kept_slot != kNoSlot) FreeSlot(current.kept_slot);
  if (current.trace != nullptr) traces_.End(current.trace);
  current = {};
}

bool LaneProducer::RequestRepeated() const { return current.lane == this && current.repeated; }

uint64_t LaneProducer::RequestUnique() const { return current.lane == this ? current.unique : 0; }

RequestTrace* LaneProducer::Trace() const { return current.lane == this ? current.trace : nullptr; }

// A slot that is kept says that its request is in work: others may wait for its end.
void LaneProducer::DropLeft() {
  traces_.DropLeft();
  uint64_t left = 0;
  {
    const std::lock_guard lock(mutex_);
    left = std::exchange(left_, 0);
  }
  for (uint64_t bits = left; bits != 0; bits &= bits - 1) {
    const auto at = static_cast<uint32_t>(std::countr_zero(bits));
    if (!GiveUp(at)) FreeSlot(at);
  }
}

bool LaneProducer::TakeLeftCall(const RequestArgs& args, std::string_view name,
                                std::string_view name2, uint32_t* index) {
  if (!RequestRepeated() || !HasEffect(static_cast<Op>(args.op))) return false;
  const std::lock_guard lock(mutex_);
  for (uint64_t bits = left_; bits != 0; bits &= bits - 1) {
    const auto at = static_cast<uint32_t>(std::countr_zero(bits));
    const RequestSlot& slot = layout()->slots[at];
    const auto* text = reinterpret_cast<const char*>(slot.text);
    if (slot.args.unique != current.unique || slot.args.op != args.op ||
        slot.args.inode != args.inode || slot.args.inode2 != args.inode2 ||
        slot.args.name_bytes != name.size() || slot.args.name2_bytes != name2.size() ||
        std::string_view(text, name.size()) != name ||
        std::string_view(text + name.size(), name2.size()) != name2) {
      continue;
    }
    left_ &= ~(uint64_t{1} << at);
    // The predecessor may have given it up and died before the client heard of that.
    uint32_t given_up = static_cast<uint32_t>(SlotState::kSubmitted) | kSlotGivenUp;
    layout()->slots[at].state.compare_exchange_strong(
        given_up, static_cast<uint32_t>(SlotState::kSubmitted), std::memory_order_acq_rel);
    Count(kLeftCalls);
    *index = at;
    return true;
  }
  return false;
}

int64_t* LaneProducer::RequestEnd() const {
  return current.lane == this ? &current.end_ns : nullptr;
}

bool LaneProducer::MayKeepCall() const {
  return current.lane == this && current.kept_slot == kNoSlot;
}

bool LaneProducer::KeepCall(uint32_t index) {
  if (current.lane != this) return false;
  if (current.kept_slot != kNoSlot) {
    // Where an append goes matters until its bytes are there; what comes before it can be repeated.
    if (layout()->slots[index].args.op != static_cast<uint32_t>(Op::kAppend)) return false;
    FreeSlot(current.kept_slot);
  }
  current.kept_slot = index;
  return true;
}

void LaneProducer::NoteEffect(LocalEffect effect, uint32_t inode_index) const {
  RequestTrace* trace = Trace();
  if (trace == nullptr) return;
  trace->inode_index.store(inode_index, std::memory_order_relaxed);
  SetEffect(trace, effect);
}

bool LaneProducer::NoteRelease() const {
  RequestTrace* trace = Trace();
  if (trace == nullptr) return true;
  if (EffectOf(*trace) == LocalEffect::kReleased) return false;
  SetEffect(trace, LocalEffect::kReleased);
  return true;
}

// A record stays legible in its place until the queue has come round once more.
bool LaneProducer::ReleaseQueued(uint64_t unique) const {
  for (const QueueRecord& record : layout()->queue) {
    if (record.position.load(std::memory_order_acquire) != 0 && LoadOnce(record.unique) == unique &&
        static_cast<QueueOp>(LoadOnce(record.op)) == QueueOp::kRelease) {
      return true;
    }
  }
  return false;
}

void LaneProducer::QueueRelease(uint64_t inode, uint32_t flags) {
  RequestTrace* trace = Trace();
  Message message{};
  message.op = QueueOp::kRelease;
  message.inode = inode;
  message.flags = flags;
  if (trace == nullptr) return QueueInAnyCase(message);
  const LocalEffect before = EffectOf(*trace);
  if (before == LocalEffect::kReleased) return;
  message.unique = current.unique;
  if (before != LocalEffect::kReleasing || !ReleaseQueued(message.unique)) {
    SetEffect(trace, LocalEffect::kReleasing);
    QueueInAnyCase(message);
  }
  SetEffect(trace, LocalEffect::kReleased);
}

void LaneProducer::SaveOpening(std::span<const uint8_t> bytes) {
  AIRSTORE_CHECK(bytes.size() <= kOpeningBytes);
  OpeningMessage& opening = layout()->opening;
  memcpy(opening.data, bytes.data(), bytes.size());
  opening.bytes.store(static_cast<uint32_t>(bytes.size()), std::memory_order_release);
}

std::vector<uint8_t> LaneProducer::Opening() const {
  const OpeningMessage& opening = layout()->opening;
  const size_t bytes = opening.bytes.load(std::memory_order_acquire);
  if (bytes > kOpeningBytes) return {};
  return {opening.data, opening.data + bytes};
}

size_t LaneProducer::GreatestRequest() const {
  return layout()->opening.greatest_request.load(std::memory_order_relaxed);
}

// Two threads may undo each other's notes: the longer request comes again.
void LaneProducer::NoteRequestBytes(size_t bytes) const {
  std::atomic<uint32_t>& greatest = layout()->opening.greatest_request;
  if (bytes <= greatest.load(std::memory_order_relaxed)) return;
  greatest.store(static_cast<uint32_t>(bytes), std::memory_order_relaxed);
}

}  // namespace airstore::shm
