// SPDX-License-Identifier: Apache-2.0
#include "shm/lane_recovery.h"

#include <algorithm>

#include "shm/copy_once.h"
#include "shm/futex.h"
#include "shm/lane.h"

namespace airstore::shm {

QueueEnd EndOfQueue(const LaneLayout* lane, uint64_t applied) {
  QueueEnd end{applied, lane->cursors.arena_applied.load(std::memory_order_acquire)};
  // Of what was just applied the place in the arena may not be noted yet.
  const uint64_t first = applied - std::min<uint64_t>(applied, kQueueRecords);
  for (uint64_t place = first; place != applied + kQueueRecords; ++place) {
    const QueueRecord& record = lane->queue[place % kQueueRecords];
    if (record.position.load(std::memory_order_acquire) != place + 1) continue;
    end.record = std::max(end.record, place + 1);
    if (static_cast<QueueOp>(LoadOnce(record.op)) == QueueOp::kWrite) {
      end.arena = std::max(end.arena, LoadOnce(record.arena_position) + LoadOnce(record.length));
    }
  }
  return end;
}

QueueEnd CloseQueueGaps(LaneLayout* lane, uint64_t applied) {
  const QueueEnd end = EndOfQueue(lane, applied);
  for (uint64_t place = applied; place != end.record; ++place) {
    QueueRecord& record = lane->queue[place % kQueueRecords];
    if (record.position.load(std::memory_order_acquire) == place + 1) continue;
    record.op = static_cast<uint32_t>(QueueOp::kNone);
    record.position.store(place + 1, std::memory_order_release);
  }
  return end;
}

Result<std::unique_ptr<LaneConsumer>> LaneConsumer::Adopt(std::unique_ptr<Segment> lane,
                                                          std::unique_ptr<Segment> arena) {
  if (lane->size() < sizeof(LaneLayout) || arena->size() < ArenaSegmentBytes(kMinArenaBytes)) {
    return Error{EPROTO, "segments too short for a lane"};
  }
  std::unique_ptr<LaneConsumer> consumer(new LaneConsumer(std::move(lane), std::move(arena)));
  AIRSTORE_TRY(consumer->Guard());
  LaneLayout* layout = consumer->layout();
  const uint32_t inode_uses = LoadOnce(layout->cursors.inode_uses);
  if (consumer->lane_->size() < LaneBytes(inode_uses)) {
    return Error{EPROTO, "lane segment too short for its inode uses"};
  }
  consumer->inode_uses_ = inode_uses;
  // The frontend may have changed these; with wrong ones it is its own writes that are lost.
  consumer->applied_ = layout->cursors.applied.load(std::memory_order_acquire);
  consumer->arena_applied_ = layout->cursors.arena_applied.load(std::memory_order_acquire);
  consumer->popped_ = consumer->applied_;
  consumer->adopted_until_ = EndOfQueue(layout, consumer->applied_).record;
  consumer->arena_popped_ = consumer->arena_applied_;
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    const RequestSlot& slot = layout->slots[i];
    const SlotState state = StateOf(slot.state.load(std::memory_order_acquire));
    const uint64_t position = slot.position.load(std::memory_order_acquire);
    if (state == SlotState::kSubmitted && position != 0 && position <= consumer->applied_) {
      consumer->adopted_calls_ |= uint64_t{1} << i;
    }
  }
  layout->cursors.taken.store(consumer->popped_, std::memory_order_release);
  layout->cursors.broker_sleeps.store(0, std::memory_order_seq_cst);
  // The old broker may have died between an answer and its wake.
  for (RequestSlot& slot : layout->slots) {
    const uint32_t state = slot.state.load(std::memory_order_acquire);
    if (state != static_cast<uint32_t>(SlotState::kFree)) FutexWakeAll(slot.state);
  }
  layout->cursors.progress.fetch_add(1, std::memory_order_acq_rel);
  FutexWakeAll(layout->cursors.progress);
  return consumer;
}

bool LaneConsumer::AnsweredBefore(uint32_t slot_index) const {
  if (popped_ >= adopted_until_ || slot_index >= kRequestSlots) return false;
  const RequestSlot& slot = layout()->slots[slot_index];
  return StateOf(slot.state.load(std::memory_order_acquire)) != SlotState::kSubmitted ||
         slot.position.load(std::memory_order_acquire) != popped_ + 1;
}

bool LaneConsumer::Unanswered(uint64_t position) const {
  for (const RequestSlot& slot : layout()->slots) {
    if (StateOf(slot.state.load(std::memory_order_acquire)) == SlotState::kSubmitted &&
        slot.position.load(std::memory_order_acquire) == position) {
      return true;
    }
  }
  return false;
}

bool LaneConsumer::Keeps(uint32_t slot_index, uint64_t position) const {
  if (slot_index >= kRequestSlots) return false;
  const RequestSlot& slot = layout()->slots[slot_index];
  return slot.state.load(std::memory_order_acquire) != static_cast<uint32_t>(SlotState::kFree) &&
         slot.position.load(std::memory_order_acquire) == position;
}

std::vector<LaneConsumer::Append> LaneConsumer::Appends() const {
  std::vector<Append> appends;
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    const RequestSlot& slot = layout()->slots[i];
    if (slot.state.load(std::memory_order_acquire) != static_cast<uint32_t>(SlotState::kDone) ||
        static_cast<Op>(LoadOnce(slot.args.op)) != Op::kAppend || LoadOnce(slot.reply.error) != 0) {
      continue;
    }
    appends.push_back({i, slot.position.load(std::memory_order_acquire), LoadOnce(slot.args.inode),
                       LoadOnce(slot.reply.value) + LoadOnce(slot.args.size)});
  }
  return appends;
}

uint64_t LaneConsumer::QueuedCalls() const {
  uint64_t calls = 0;
  for (uint64_t place = popped_; place != popped_ + kQueueRecords; ++place) {
    const QueueRecord& record = layout()->queue[place % kQueueRecords];
    if (record.position.load(std::memory_order_acquire) != place + 1) continue;
    const uint32_t slot = LoadOnce(record.slot);
    if (static_cast<QueueOp>(LoadOnce(record.op)) != QueueOp::kCall || slot >= kRequestSlots) {
      continue;
    }
    calls |= uint64_t{1} << slot;
  }
  return calls;
}

void LaneConsumer::FrontendGone() {
  LaneLayout* lane = layout();
  CloseQueueGaps(lane, applied_);
  const uint64_t sent = open_calls_ | adopted_calls_ | QueuedCalls();
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    // Answers stay: the requests they belong to may come again.
    const uint32_t state = lane->slots[i].state.load(std::memory_order_acquire);
    if ((sent >> i & 1) != 0 || state == static_cast<uint32_t>(SlotState::kDone)) continue;
    lane->slots[i].state.store(static_cast<uint32_t>(SlotState::kFree), std::memory_order_release);
  }
  for (HazardSlot& hazard : lane->hazards) hazard.extent.store(0, std::memory_order_release);
  lane->cursors.frontend_waits.store(0, std::memory_order_relaxed);
}

std::vector<uint64_t> LaneConsumer::RequestsInWork() const {
  std::vector<uint64_t> uniques;
  for (const RequestTrace& trace : layout()->traces) {
    const uint64_t unique = trace.unique.load(std::memory_order_acquire);
    if (unique != 0 && trace.waiting.load(std::memory_order_relaxed) == 0) {
      uniques.push_back(unique);
    }
  }
  return uniques;
}

}  // namespace airstore::shm
