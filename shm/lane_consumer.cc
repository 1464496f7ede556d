// SPDX-License-Identifier: Apache-2.0
#include "shm/copy_once.h"
#include "shm/futex.h"
#include "shm/lane.h"
#include "shm/lane_recovery.h"
#include "shm/request_rules.h"

namespace airstore::shm {
namespace {

constexpr uint32_t kReleaseFlags = kOpenModeMask | kOpenForWrite;

InodeUse* Uses(const Segment& lane) { return lane.At<InodeUse>(sizeof(LaneLayout)); }

}  // namespace

uint64_t LaneBytes(uint32_t inode_uses) {
  return sizeof(LaneLayout) + uint64_t{inode_uses} * sizeof(InodeUse);
}

uint64_t ArenaSegmentBytes() { return kArenaRingOffset + kArenaBytes; }

LaneConsumer::LaneConsumer(std::unique_ptr<Segment> lane, std::unique_ptr<Segment> arena)
    : lane_(std::move(lane)), arena_(std::move(arena)) {}

Result<std::unique_ptr<LaneConsumer>> LaneConsumer::Create(const SessionId& session,
                                                           uint32_t mount_index,
                                                           uint32_t inode_uses,
                                                           const std::string& lane_path,
                                                           const std::string& arena_path) {
  if (mount_index >= kMaxMounts) return Error{EINVAL, "mount index"};
  auto lane = Segment::CreateSpool({SegmentKind::kLane, session, mount_index},
                                   LaneBytes(inode_uses), lane_path);
  if (!lane) return lane.error();
  auto arena = Segment::CreateSpool({SegmentKind::kArena, session, mount_index},
                                    ArenaSegmentBytes(), arena_path);
  if (!arena) return arena.error();
  std::unique_ptr<LaneConsumer> consumer(new LaneConsumer(std::move(*lane), std::move(*arena)));
  consumer->inode_uses_ = inode_uses;
  LaneCursors& cursors = consumer->layout()->cursors;
  cursors.mounts.store(1, std::memory_order_relaxed);
  cursors.inode_uses = inode_uses;
  cursors.mount_index = mount_index;
  consumer->lane_->MarkReady();
  consumer->arena_->MarkReady();
  return consumer;
}

bool LaneConsumer::HasNext() const {
  // Acquire pairs with the release in LaneProducer::Publish: the record's fields are there.
  return layout()->queue[popped_ % kQueueRecords].position.load(std::memory_order_acquire) ==
         popped_ + 1;
}

LaneConsumer::Next LaneConsumer::Pop(Item* item, std::string* why) {
  if (broken_.empty()) {
    // An honest frontend leaves voids only behind a restart. A hostile one can make no more of them
    // than fit into the queue, because nothing is applied while we are here.
    while (HasNext()) {
      if (popped_ - applied_ >= kQueueRecords) {
        broken_ = "queue overrun";
        break;
      }
      const QueueRecord& record = layout()->queue[popped_ % kQueueRecords];
      const auto op = static_cast<QueueOp>(LoadOnce(record.op));
      if (op != QueueOp::kNone) broken_ = Take(record, op, item);
      if (!broken_.empty()) break;
      ++popped_;
      if (op != QueueOp::kNone) return Next::kItem;
    }
    if (broken_.empty()) return Next::kEmpty;
  }
  *why = broken_;
  return Next::kCorrupt;
}

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
      return TakeWrite(LoadOnce(record.arena_position), LoadOnce(record.length), item);
    case QueueOp::kRelease:
      if (item->inode == 0) return "release of inode 0";
      if ((item->flags & ~kReleaseFlags) != 0 || (item->flags & kOpenModeMask) == kOpenModeMask) {
        return "release with flags " + std::to_string(item->flags);
      }
      return {};
    case QueueOp::kForget:
      return item->inode == 0 ? "forget of inode 0" : std::string();
  }
  return "queue operation " + std::to_string(static_cast<uint32_t>(op));
}

std::string LaneConsumer::TakeWrite(uint64_t position, uint32_t length, Item* item) {
  if (item->inode == 0) return "write to inode 0";
  if (length > kMaxWrite) return "write of " + std::to_string(length) + " bytes";
  if (item->offset > static_cast<uint64_t>(INT64_MAX) - length) return "write beyond any file";
  if (position < arena_popped_ || position - arena_applied_ > kArenaBytes - length) {
    return "payload outside of the arena's window";
  }
  const uint64_t place = position % kArenaBytes;
  if (place + length > kArenaBytes) return "payload across the arena's end";
  item->data = {arena_->base() + kArenaRingOffset + place, length};
  arena_popped_ = position + length;
  item->arena_end = arena_popped_;
  return {};
}

std::string LaneConsumer::TakeCall(uint32_t slot_index, Call* call) {
  if (slot_index >= kRequestSlots) return "request slot " + std::to_string(slot_index);
  if ((open_calls_ >> slot_index & 1) != 0) return "request slot submitted twice";
  const RequestSlot& slot = layout()->slots[slot_index];
  const uint32_t state = slot.state.load(std::memory_order_acquire) & ~kSlotPoked;
  if (state != static_cast<uint32_t>(SlotState::kSubmitted)) return "request slot not submitted";
  call->slot = slot_index;
  call->args = CopyOnce(slot.args);
  const uint32_t name_bytes = call->args.name_bytes;
  const uint32_t name2_bytes = call->args.name2_bytes;
  if (name_bytes > kRequestText || name2_bytes > kRequestText - name_bytes) {
    return "texts longer than the slot";
  }
  char text[kRequestText];
  CopyOnce(text, slot.text, name_bytes + name2_bytes);
  call->name.assign(text, name_bytes);
  call->name2.assign(text + name_bytes, name2_bytes);
  if (CheckRequest(call->args, call->name, call->name2) != 0) {
    return "malformed call of operation " + std::to_string(call->args.op);
  }
  open_calls_ |= uint64_t{1} << slot_index;
  return {};
}

void LaneConsumer::MarkApplied() {
  LaneCursors& cursors = layout()->cursors;
  applied_ = popped_;
  arena_applied_ = arena_popped_;
  // Release: our reads of the arena are over before a producer may overwrite it. The arena first,
  // for a producer that sees the record's place free looks at the arena's next.
  cursors.arena_applied.store(arena_applied_, std::memory_order_release);
  cursors.applied.store(applied_, std::memory_order_release);
  WakeFrontend();
}

void LaneConsumer::Reply(uint32_t slot_index, const RequestReply& reply) {
  // A reply nobody waits for: the slot may already carry another call.
  if (slot_index >= kRequestSlots || (open_calls_ >> slot_index & 1) == 0) return;
  open_calls_ &= ~(uint64_t{1} << slot_index);
  RequestSlot& slot = layout()->slots[slot_index];
  slot.reply = reply;
  slot.state.store(static_cast<uint32_t>(SlotState::kDone), std::memory_order_release);
  FutexWakeAll(slot.state);
  WakeFrontend();  // a thread may wait for any slot, and this one's caller may have given up
}

void LaneConsumer::WakeFrontend() {
  LaneCursors& cursors = layout()->cursors;
  // Pairs with the fence in LaneProducer::AwaitProgress: either it sees what we stored, or we see
  // that it waits.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (cursors.frontend_waits.load(std::memory_order_relaxed) == 0) return;
  cursors.frontend_waits.store(0, std::memory_order_seq_cst);
  cursors.progress.fetch_add(1, std::memory_order_acq_rel);
  FutexWakeAll(cursors.progress);
}

void LaneConsumer::FrontendGone() {
  LaneLayout* lane = layout();
  CloseQueueGaps(lane);
  uint64_t sent = open_calls_;
  for (uint64_t place = popped_; place < popped_ + kQueueRecords; ++place) {
    const QueueRecord& record = lane->queue[place % kQueueRecords];
    if (record.position.load(std::memory_order_acquire) != place + 1) continue;
    if (static_cast<QueueOp>(record.op) != QueueOp::kCall || record.slot >= kRequestSlots) continue;
    sent |= uint64_t{1} << record.slot;
  }
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    if ((sent >> i & 1) != 0) continue;
    lane->slots[i].state.store(static_cast<uint32_t>(SlotState::kFree), std::memory_order_release);
  }
  for (HazardSlot& hazard : lane->hazards) hazard.extent.store(0, std::memory_order_release);
  lane->cursors.frontend_waits.store(0, std::memory_order_relaxed);
}

bool LaneConsumer::PrepareSleep() {
  std::atomic<uint32_t>& sleeps = layout()->cursors.broker_sleeps;
  sleeps.store(1, std::memory_order_seq_cst);
  // Pairs with the fence in LaneProducer::Wake: either it sees the 1, or we see its record.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!HasNext()) return true;
  sleeps.store(0, std::memory_order_relaxed);
  return false;
}

void LaneConsumer::Awake() { layout()->cursors.broker_sleeps.store(0, std::memory_order_relaxed); }

bool LaneConsumer::HazardNames(uint64_t hazard_key) const {
  for (const HazardSlot& slot : layout()->hazards) {
    if (slot.extent.load(std::memory_order_acquire) == hazard_key) return true;
  }
  return false;
}

uint32_t LaneConsumer::Lookups(uint32_t inode_index) const {
  if (inode_index >= inode_uses_) return 0;
  return Uses(*lane_)[inode_index].lookups.load(std::memory_order_acquire);
}

uint32_t LaneConsumer::Opens(uint32_t inode_index) const {
  if (inode_index >= inode_uses_) return 0;
  return Uses(*lane_)[inode_index].opens.load(std::memory_order_acquire);
}

void LaneConsumer::SetMounts(uint32_t mounts) {
  layout()->cursors.mounts.store(mounts, std::memory_order_release);
}

uint64_t LaneConsumer::Counter(uint32_t counter) const {
  if (counter >= kCounterWords) return 0;
  return layout()->counters[counter].load(std::memory_order_relaxed);
}

uint64_t LaneConsumer::HistogramBucket(uint32_t row, uint32_t bucket) const {
  if (row >= kHistogramRows || bucket >= kHistogramBuckets) return 0;
  return layout()->histograms[row][bucket].load(std::memory_order_relaxed);
}

}  // namespace airstore::shm
