// SPDX-License-Identifier: Apache-2.0
//
// The broker's look at one record: everything in it was written by a frontend that may be hostile.
#include "shm/copy_once.h"
#include "shm/lane.h"
#include "shm/request_rules.h"

namespace airstore::shm {
namespace {

constexpr uint32_t kReleaseFlags = kOpenModeMask | kOpenForWrite;
constexpr uint32_t kWriteFlags = kWriteAppends | kWriteRepeats;

}  // namespace

std::string LaneConsumer::Take(const QueueRecord& record, QueueOp op, Item* item) {
  item->op = op;
  item->inode = LoadOnce(record.inode);
  item->offset = LoadOnce(record.offset);
  item->flags = LoadOnce(record.flags);
  item->time_ns = LoadOnce(record.time_ns);
  item->data = {};
  item->arena_end = arena_popped_;
  switch (op) {
    case QueueOp::kNone:
      return {};
    case QueueOp::kCall:
      return TakeCall(LoadOnce(record.slot), &item->call);
    case QueueOp::kWrite:
      item->unique = LoadOnce(record.unique);
      return TakeWrite(LoadOnce(record.arena_position), LoadOnce(record.length), item);
    case QueueOp::kRelease:
      if (item->inode == 0) return "release of inode 0";
      if ((item->flags & ~kReleaseFlags) != 0 || (item->flags & kOpenModeMask) == kOpenModeMask) {
        return "release with flags " + std::to_string(item->flags);
      }
      return {};
    case QueueOp::kTouch:
      return item->inode == 0 ? "touch of inode 0" : std::string();
    case QueueOp::kForget:
      return item->inode == 0 ? "forget of inode 0" : std::string();
    case QueueOp::kReads:
      return item->flags > 1 ? "reads with flags " + std::to_string(item->flags) : std::string();
    case QueueOp::kInterrupt:
      item->unique = LoadOnce(record.unique);
      return {};
  }
  return "queue operation " + std::to_string(static_cast<uint32_t>(op));
}

std::string LaneConsumer::TakeWrite(uint64_t position, uint32_t length, Item* item) {
  if (item->inode == 0) return "write to inode 0";
  if ((item->flags & ~kWriteFlags) != 0) return "write with flags " + std::to_string(item->flags);
  if (length > kMaxWrite) return "write of " + std::to_string(length) + " bytes";
  if (item->offset > static_cast<uint64_t>(INT64_MAX) - length) return "write beyond any file";
  if (position < arena_popped_ || position - arena_applied_ > ring_bytes_ - length) {
    return "payload outside of the arena's window";
  }
  const uint64_t place = position % ring_bytes_;
  if (place + length > ring_bytes_) return "payload across the arena's end";
  item->data = {arena_->base() + kArenaRingOffset + place, length};
  arena_popped_ = position + length;
  item->arena_end = arena_popped_;
  return {};
}

std::string LaneConsumer::TakeCall(uint32_t slot_index, Call* call) {
  if (slot_index >= kRequestSlots) return "request slot " + std::to_string(slot_index);
  if ((open_calls_ >> slot_index & 1) != 0) return "request slot submitted twice";
  const RequestSlot& slot = layout()->slots[slot_index];
  const uint32_t state = slot.state.load(std::memory_order_acquire);
  if (StateOf(state) != SlotState::kSubmitted) return "request slot not submitted";
  call->given_up = (state & kSlotGivenUp) != 0;
  call->slot = slot_index;
  call->position = slot.position.load(std::memory_order_relaxed);
  call->args = CopyOnce(slot.args);
  const uint32_t name_bytes = call->args.name_bytes;
  const uint32_t name2_bytes = call->args.name2_bytes;
  if (name_bytes > kRequestText || name2_bytes > kRequestText - name_bytes) {
    return "texts longer than the slot";
  }
  std::string text(name_bytes + name2_bytes, '\0');
  CopyOnce(text.data(), slot.text, text.size());
  call->name2 = text.substr(name_bytes);
  text.resize(name_bytes);
  call->name = std::move(text);
  if (CheckRequest(call->args, call->name, call->name2) != 0) {
    return "malformed call of operation " + std::to_string(call->args.op);
  }
  call->executed.reset();
  if (call->position != 0 && LoadOnce(slot.reply.statfs[5]) == call->position) {
    std::atomic_thread_fence(std::memory_order_acquire);
    call->executed = Executed{LoadOnce(slot.reply.statfs[0]), LoadOnce(slot.reply.statfs[1])};
  }
  open_calls_ |= uint64_t{1} << slot_index;
  return {};
}

}  // namespace airstore::shm
