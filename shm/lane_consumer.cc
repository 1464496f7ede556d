// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cerrno>

#include "shm/copy_once.h"
#include "shm/futex.h"
#include "shm/lane.h"
#include "shm/request_rules.h"

namespace airstore::shm {
namespace {

InodeUse* Uses(const Segment& lane) { return lane.At<InodeUse>(sizeof(LaneLayout)); }

}  // namespace

uint64_t LaneBytes(uint32_t inode_uses) {
  return sizeof(LaneLayout) + uint64_t{inode_uses} * sizeof(InodeUse);
}

uint64_t ArenaSegmentBytes(uint64_t ring_bytes) { return kArenaRingOffset + ring_bytes; }

LaneConsumer::LaneConsumer(std::unique_ptr<Segment> lane, std::unique_ptr<Segment> arena)
    : lane_(std::move(lane)),
      arena_(std::move(arena)),
      ring_bytes_(arena_->size() - kArenaRingOffset) {}

Result<std::unique_ptr<LaneConsumer>> LaneConsumer::Create(
    const SessionId& session, uint32_t mount_index, uint32_t inode_uses,
    const std::string& lane_path, const std::string& arena_path, uint64_t first_place,
    uint64_t arena_bytes) {
  if (mount_index >= kMaxMounts) return Error{EINVAL, "mount index"};
  auto lane = Segment::CreateSpool({SegmentKind::kLane, session, mount_index},
                                   LaneBytes(inode_uses), lane_path);
  if (!lane) return lane.error();
  auto arena = Segment::CreateSpool({SegmentKind::kArena, session, mount_index},
                                    ArenaSegmentBytes(arena_bytes), arena_path);
  if (!arena) return arena.error();
  std::unique_ptr<LaneConsumer> consumer(new LaneConsumer(std::move(*lane), std::move(*arena)));
  AIRSTORE_TRY(consumer->Guard());
  consumer->inode_uses_ = inode_uses;
  LaneCursors& cursors = consumer->layout()->cursors;
  cursors.mounts.store(1, std::memory_order_relaxed);
  cursors.applied.store(first_place, std::memory_order_relaxed);
  consumer->applied_ = consumer->popped_ = first_place;
  cursors.inode_uses = inode_uses;
  cursors.mount_index = mount_index;
  consumer->lane_->MarkReady();
  consumer->arena_->MarkReady();
  return consumer;
}

Result<void> LaneConsumer::Guard() {
  auto lane_guard = FaultGuard::Watch(lane_->base(), lane_->size());
  if (!lane_guard) return lane_guard.error();
  auto arena_guard = FaultGuard::Watch(arena_->base(), arena_->size());
  if (!arena_guard) return arena_guard.error();
  lane_guard_ = std::move(*lane_guard);
  arena_guard_ = std::move(*arena_guard);
  return {};
}

bool LaneConsumer::HasNext() const {
  // Acquire pairs with the release in LaneProducer::Publish: the record's fields are there.
  return layout()->queue[popped_ % kQueueRecords].position.load(std::memory_order_acquire) ==
         popped_ + 1;
}

LaneConsumer::Next LaneConsumer::Pop(Item* item, std::string* why) {
  Next next = Next::kCorrupt;
  if (broken_.empty()) next = adopted_calls_ != 0 ? PopAdopted(item) : PopQueued(item);
  if (broken_.empty() && (lane_guard_.lost() || arena_guard_.lost())) broken_ = "file cut short";
  if (broken_.empty()) return next;
  *why = broken_;
  return Next::kCorrupt;
}

LaneConsumer::Next LaneConsumer::PopAdopted(Item* item) {
  const auto slot = static_cast<uint32_t>(std::countr_zero(adopted_calls_));
  adopted_calls_ &= adopted_calls_ - 1;
  *item = Item{};
  item->op = QueueOp::kCall;
  broken_ = TakeCall(slot, &item->call);
  return Next::kItem;
}

LaneConsumer::Next LaneConsumer::PopQueued(Item* item) {
  // An honest frontend leaves voids only behind a restart. A hostile one can make no more of them
  // than fit into the queue, because nothing is applied while we are here.
  while (HasNext()) {
    if (popped_ - applied_ >= kQueueRecords) {
      broken_ = "queue overrun";
      return Next::kCorrupt;
    }
    const QueueRecord& record = layout()->queue[popped_ % kQueueRecords];
    const auto op = static_cast<QueueOp>(LoadOnce(record.op));
    const bool is_void =
        op == QueueOp::kNone || (op == QueueOp::kCall && AnsweredBefore(LoadOnce(record.slot)));
    if (!is_void) broken_ = Take(record, op, item);
    ++popped_;
    if (!is_void) return Next::kItem;
  }
  return Next::kEmpty;
}

void LaneConsumer::MarkTaken() {
  layout()->cursors.taken.store(popped_, std::memory_order_release);
  WakeFrontend();
}

void LaneConsumer::MarkApplied() {
  LaneCursors& cursors = layout()->cursors;
  applied_ = popped_;
  arena_applied_ = arena_popped_;
  // Release: our reads of the arena are over before a producer may overwrite it. The queue first:
  // were we to die in between, our successor would pop records whose payload may be gone.
  cursors.taken.store(popped_, std::memory_order_release);
  cursors.applied.store(applied_, std::memory_order_release);
  cursors.arena_applied.store(arena_applied_, std::memory_order_release);
  WakeFrontend();
}

// In the reply to be, in a word that other replies set to 0: positions are never used twice.
void LaneConsumer::NoteExecuted(uint32_t slot_index, uint64_t position, const Executed& executed) {
  if (slot_index >= kRequestSlots || (open_calls_ >> slot_index & 1) == 0) return;
  // Its caller may have been answered meanwhile, and another call be there.
  if (layout()->slots[slot_index].position.load(std::memory_order_relaxed) != position) return;
  RequestReply& reply = layout()->slots[slot_index].reply;
  StoreOnce(&reply.statfs[0], executed.inode);
  StoreOnce(&reply.statfs[1], executed.ticket);
  std::atomic_thread_fence(std::memory_order_release);
  StoreOnce(&reply.statfs[5], position);
}

bool LaneConsumer::Reply(uint32_t slot_index, const RequestReply& reply, std::string_view text) {
  // A reply nobody waits for: the slot may already carry another call.
  if (slot_index >= kRequestSlots || (open_calls_ >> slot_index & 1) == 0) return false;
  open_calls_ &= ~(uint64_t{1} << slot_index);
  RequestSlot& slot = layout()->slots[slot_index];
  RequestReply answer = reply;
  const RequestReply& note = slot.reply;
  const uint64_t position = slot.position.load(std::memory_order_relaxed);
  if (position != 0 && LoadOnce(note.statfs[5]) == position &&
      HasEffect(static_cast<Op>(LoadOnce(slot.args.op)))) {
    // Were we to die before the answer counts, our successor is to find the note.
    for (const int word : {0, 1, 5}) answer.statfs[word] = LoadOnce(note.statfs[word]);
  }
  slot.reply = answer;
  slot.reply.text_bytes = 0;
  if (!text.empty()) {
    // Behind the names: were we to die before the answer counts, our successor reads the call.
    const size_t at = size_t{LoadOnce(slot.args.name_bytes)} + LoadOnce(slot.args.name2_bytes);
    if (at <= kRequestText && text.size() <= kRequestText - at) {
      memcpy(slot.text + at, text.data(), text.size());
      slot.reply.text_bytes = static_cast<uint32_t>(text.size());
    } else {
      slot.reply.error = EIO;  // the frontend has changed its own call
    }
  }
  // Whoever is sent a request again takes this for its answer: no success that is undone.
  const auto refuse = [&slot] {
    if (slot.reply.error == 0) slot.reply.error = ETIMEDOUT;
  };
  if ((slot.state.load(std::memory_order_acquire) & kSlotGivenUp) != 0) refuse();
  const uint32_t before =
      slot.state.exchange(static_cast<uint32_t>(SlotState::kDone), std::memory_order_acq_rel);
  const bool wanted = (before & kSlotGivenUp) == 0;
  if (!wanted) refuse();
  FutexWakeAll(slot.state);
  WakeFrontend();  // a thread may wait for any slot, and this one's caller may have given up
  return wanted;
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

bool LaneConsumer::PrepareSleep() {
  std::atomic<uint32_t>& sleeps = layout()->cursors.broker_sleeps;
  sleeps.store(1, std::memory_order_seq_cst);
  // Pairs with the fence in LaneProducer::Wake: either it sees the 1, or we see its record.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!HasNext() && adopted_calls_ == 0) return true;
  sleeps.store(0, std::memory_order_relaxed);
  return false;
}

void LaneConsumer::Awake() { layout()->cursors.broker_sleeps.store(0, std::memory_order_relaxed); }

void LaneConsumer::AddHazards(std::vector<uint64_t>* keys) const {
  const uint32_t used =
      std::min(layout()->cursors.hazards_used.load(std::memory_order_seq_cst), kHazardSlots);
  for (uint32_t i = 0; i < used; ++i) {
    const uint64_t key = layout()->hazards[i].extent.load(std::memory_order_acquire);
    if (key != 0) keys->push_back(key);
  }
}

uint32_t LaneConsumer::Lookups(uint32_t inode_index) const {
  if (inode_index >= inode_uses_) return 0;
  return Uses(*lane_)[inode_index].lookups.load(std::memory_order_acquire);
}

uint32_t LaneConsumer::Opens(uint32_t inode_index) const {
  if (inode_index >= inode_uses_) return 0;
  return Uses(*lane_)[inode_index].opens.load(std::memory_order_acquire);
}

bool LaneConsumer::Answering(uint64_t inode) const {
  for (const RequestSlot& slot : layout()->slots) {
    if (slot.state.load(std::memory_order_acquire) == static_cast<uint32_t>(SlotState::kFree)) {
      continue;
    }
    switch (static_cast<Op>(LoadOnce(slot.args.op))) {
      case Op::kMknod:
      case Op::kMkdir:
      case Op::kSymlink:
        // First as a note that it has had its effect, then in the answer.
        if (LoadOnce(slot.reply.statfs[0]) == inode || LoadOnce(slot.reply.attr.inode) == inode) {
          return true;
        }
        break;
      default:
        break;
    }
  }
  return false;
}

bool LaneConsumer::TakeUsed(uint32_t inode_index) {
  if (inode_index >= inode_uses_) return false;
  std::atomic<uint32_t>& used = Uses(*lane_)[inode_index].used;
  // Most have none: a store would take memory for it.
  if (used.load(std::memory_order_relaxed) == 0) return false;
  used.store(0, std::memory_order_relaxed);
  return true;
}

void LaneConsumer::SetMounts(uint32_t mounts) {
  std::atomic<uint32_t>& word = layout()->cursors.mounts;
  if (mounts > 1 || word.load(std::memory_order_relaxed) > 1) mounts |= kWasShared;
  word.store(mounts, std::memory_order_release);
}

void LaneConsumer::SetWriteGate(uint32_t gate, int64_t closed_ns, uint32_t stall_ms) {
  LaneCursors& cursors = layout()->cursors;
  cursors.write_stall_ms.store(stall_ms, std::memory_order_relaxed);
  cursors.write_closed_ns.store(closed_ns, std::memory_order_relaxed);
  cursors.write_gate.store(gate, std::memory_order_release);
  WakeFrontend();
}

void LaneConsumer::SetPatience(uint32_t patience_ms) {
  layout()->cursors.patience_ms.store(patience_ms, std::memory_order_release);
}

void LaneConsumer::SetSynchronous(bool synchronous) {
  layout()->cursors.synchronous.store(synchronous ? 1 : 0, std::memory_order_release);
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
