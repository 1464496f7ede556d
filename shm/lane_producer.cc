// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cerrno>
#include <ctime>
#include <thread>

#include "shm/base/fault.h"
#include "shm/copy_once.h"
#include "shm/counters.h"
#include "shm/lane.h"
#include "shm/lane_recovery.h"
#include "shm/lane_wait.h"
#include "shm/request_rules.h"

namespace airstore::shm {
namespace {

constexpr uint64_t kPayloadAlignment = 64;
constexpr int64_t kMomentNs = 1'000'000'000;  // see lane_wait.h

}  // namespace

LaneProducer::LaneProducer(std::unique_ptr<Segment> lane, std::unique_ptr<Segment> arena,
                           int wake_fd)
    : lane_(std::move(lane)),
      arena_(std::move(arena)),
      wake_fd_(wake_fd),
      inode_uses_(layout()->cursors.inode_uses),
      ring_bytes_(arena_->size() - kArenaRingOffset),
      // With two processors the broker needs the one we would be spinning on.
      spins_(std::thread::hardware_concurrency() > 2),
      traces_(layout()->traces) {}

Result<std::unique_ptr<LaneProducer>> LaneProducer::Attach(std::unique_ptr<Segment> lane,
                                                           std::unique_ptr<Segment> arena,
                                                           int wake_fd) {
  if (lane->size() < sizeof(LaneLayout) ||
      lane->size() < LaneBytes(lane->At<LaneLayout>(0)->cursors.inode_uses)) {
    return Error{EPROTO, "lane segment too short"};
  }
  if (arena->size() < ArenaSegmentBytes(kMinArenaBytes))
    return Error{EPROTO, "arena segment too short"};
  std::unique_ptr<LaneProducer> producer(
      new LaneProducer(std::move(lane), std::move(arena), wake_fd));
  producer->TakeOver();
  return producer;
}

// What an earlier frontend of this mount left: records not yet applied, calls not yet answered.
void LaneProducer::TakeOver() {
  LaneLayout* lane = layout();
  const QueueEnd end = CloseQueueGaps(lane, lane->cursors.applied.load(std::memory_order_acquire));
  tail_ = end.record;
  arena_tail_ = end.arena;
  for (std::atomic<uint64_t>& last : last_write_) last.store(tail_, std::memory_order_relaxed);
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    const RequestSlot& slot = lane->slots[i];
    if (slot.state.load(std::memory_order_acquire) == static_cast<uint32_t>(SlotState::kFree)) {
      continue;
    }
    free_slots_ &= ~(uint64_t{1} << i);
    const bool keep = slot.args.unique != 0 && HasEffect(static_cast<Op>(slot.args.op));
    (keep ? left_ : abandoned_) |= uint64_t{1} << i;
  }
  for (HazardSlot& hazard : lane->hazards) hazard.extent.store(0, std::memory_order_release);
  // Whatever `broker_sleeps` says: a predecessor may have died between clearing it and this.
  if (tail_ != 0) WakeBroker();
}

std::optional<uint64_t> LaneProducer::QueueWrite(uint64_t inode, uint64_t offset,
                                                 std::span<const uint8_t> data, int64_t time_ns,
                                                 bool append) {
  AIRSTORE_CHECK(data.size() <= kMaxWrite);
  Message message{};
  message.op = QueueOp::kWrite;
  message.inode = inode;
  message.offset = offset;
  message.time_ns = time_ns;
  if (append) {
    message.flags = kWriteAppends | (RequestRepeated() ? kWriteRepeats : 0);
    message.unique = RequestUnique();
  }
  Place place;
  if (!Reserve(message, data.size(), &place)) {
    const Waiting waiting(this);
    if (AwaitPlace(message, data.size(), {}, waiting, &place) != End::kReady) return std::nullopt;
  }
  Publish(message, data, place);
  return place.record;
}

LaneProducer::Gate LaneProducer::AwaitGate(int64_t until_ns, const Interrupted& interrupted) {
  LaneCursors& cursors = layout()->cursors;
  const uint32_t gate = cursors.write_gate.load(std::memory_order_acquire);
  for (;;) {
    // As in AwaitProgress.
    const uint32_t seen = cursors.progress.load(std::memory_order_acquire);
    cursors.frontend_waits.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const uint32_t now = cursors.write_gate.load(std::memory_order_acquire);
    if (now == 0 || (gate == kWriteGateClosed && now != gate)) return Gate::kOpen;
    if (interrupted && interrupted()) return Gate::kInterrupted;
    const int64_t left = until_ns - MonotonicNs();
    if (left <= 0) return Gate::kTimeOver;
    FutexWaitFor(cursors.progress, seen, left);
  }
}

bool LaneProducer::writes_wait() const {
  return layout()->cursors.write_gate.load(std::memory_order_acquire) != 0;
}

int LaneProducer::AwaitRoom(uint64_t bytes, const Interrupted& interrupted) {
  const LaneCursors& cursors = layout()->cursors;
  uint32_t gate = cursors.write_gate.load(std::memory_order_acquire);
  if (gate == 0) return 0;
  Count(kWriteStalls);
  const Waiting waiting(this);
  while (gate == kWriteGateClosed) {
    const int64_t until =
        cursors.write_closed_ns.load(std::memory_order_relaxed) +
        int64_t{cursors.write_stall_ms.load(std::memory_order_relaxed)} * 1'000'000;
    const Gate end = AwaitGate(until, interrupted);
    if (end == Gate::kInterrupted) return EINTR;
    if (end == Gate::kTimeOver) return ENOSPC;
    gate = cursors.write_gate.load(std::memory_order_acquire);
  }
  if (gate == 0) return 0;
  constexpr uint64_t kMiB = 1u << 20;
  const auto pause_ns = static_cast<int64_t>(bytes * gate / kMiB * 1000);
  const Gate end = AwaitGate(MonotonicNs() + pause_ns, interrupted);
  return end == Gate::kInterrupted ? EINTR : 0;
}

void LaneProducer::QueueForget(uint64_t inode) {
  Message message{};
  message.op = QueueOp::kForget;
  message.inode = inode;
  QueueInAnyCase(message);
}

void LaneProducer::QueueTouch(uint64_t inode, int64_t time_ns) {
  Message message{};
  message.op = QueueOp::kTouch;
  message.inode = inode;
  message.time_ns = time_ns;
  Place place;
  if (!Reserve(message, 0, &place)) return;
  Count(kTouches);
  Publish(message, {}, place);
}

bool LaneProducer::WaitTouches(uint64_t inode) {
  const uint64_t behind = LastTouch(inode).load(std::memory_order_acquire);
  return behind == 0 || WaitApplied(behind - 1, kForever);
}

uint64_t LaneProducer::QueueInterrupt(uint64_t unique) {
  Message message{};
  message.op = QueueOp::kInterrupt;
  message.unique = unique;
  QueueInAnyCase(message);
  const std::lock_guard lock(mutex_);
  return tail_;
}

LaneProducer::End LaneProducer::AwaitPlace(const Message& message, uint64_t bytes,
                                           const Interrupted& interrupted, const Waiting& waiting,
                                           Place* place) {
  if (Reserve(message, bytes, place)) return End::kReady;
  Count(kQueueFullWaits);
  return AwaitProgress([&] { return Reserve(message, bytes, place); }, interrupted, waiting);
}

void LaneProducer::QueueInAnyCase(const Message& message) {
  Place place;
  if (Reserve(message, 0, &place)) return Publish(message, {}, place);
  Later([this, message](const Interrupted& interrupted, const Waiting& waiting) {
    Place later;
    if (AwaitPlace(message, 0, interrupted, waiting, &later) == End::kReady) {
      Publish(message, {}, later);
    }
  });
}

void LaneProducer::Publish(const Message& message, std::span<const uint8_t> data,
                           const Place& place) {
  Reach(FaultPoint::kFrontendPlaceReserved);
  if (!data.empty()) {
    memcpy(arena_->base() + kArenaRingOffset + place.arena % ring_bytes_, data.data(), data.size());
  }
  QueueRecord& record = layout()->queue[place.record % kQueueRecords];
  StoreOnce(&record.op, static_cast<uint32_t>(message.op));
  StoreOnce(&record.slot, message.slot);
  StoreOnce(&record.inode, message.inode);
  StoreOnce(&record.offset, message.offset);
  StoreOnce(&record.arena_position, place.arena);
  StoreOnce(&record.length, static_cast<uint32_t>(data.size()));
  StoreOnce(&record.flags, message.flags);
  StoreOnce(&record.time_ns, message.time_ns);
  StoreOnce(&record.unique, message.unique);
  if (message.op == QueueOp::kCall) {
    layout()->slots[message.slot].position.store(place.record + 1, std::memory_order_release);
  }
  // Release pairs with the acquire in LaneConsumer::HasNext: publishes record, payload and slot.
  record.position.store(place.record + 1, std::memory_order_release);
  Reach(FaultPoint::kFrontendRecordQueued);
  Wake();
}

bool LaneProducer::Reserve(const Message& message, uint64_t bytes, Place* place) {
  const LaneCursors& cursors = layout()->cursors;
  const std::lock_guard lock(mutex_);
  // Acquire pairs with the release in MarkApplied: the broker has done with what lay there.
  if (tail_ - cursors.applied.load(std::memory_order_acquire) >= kQueueRecords) return false;
  uint64_t arena = arena_tail_;
  if (bytes != 0) {
    arena = (arena + kPayloadAlignment - 1) / kPayloadAlignment * kPayloadAlignment;
    const uint64_t behind = ring_bytes_ - arena % ring_bytes_;
    if (bytes > behind) arena += behind;  // payloads are contiguous: skip the ring's end
    const uint64_t applied = cursors.arena_applied.load(std::memory_order_acquire);
    if (arena + bytes - applied > ring_bytes_) return false;
  }
  *place = {tail_++, arena};
  arena_tail_ = arena + bytes;
  if (message.op == QueueOp::kWrite) {
    // Under the mutex, so that places only grow.
    LastWrite(message.inode).store(tail_, std::memory_order_release);
  }
  if (message.op == QueueOp::kTouch) {
    LastTouch(message.inode).store(tail_, std::memory_order_release);
  }
  return true;
}

void LaneProducer::Wake() {
  std::atomic<uint32_t>& sleeps = layout()->cursors.broker_sleeps;
  // Pairs with the fence in LaneConsumer::PrepareSleep.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (sleeps.load(std::memory_order_relaxed) == 0) return;
  if (sleeps.exchange(0, std::memory_order_acq_rel) == 0) return;
  WakeBroker();
}

void LaneProducer::WakeBroker() {
  const uint64_t one = 1;
  // The only failure that an eventfd of ours can have is EAGAIN: it is readable already.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
  Count(kBrokerWakes);
}

void LaneProducer::BumpProgress() {
  std::atomic<uint32_t>& progress = layout()->cursors.progress;
  progress.fetch_add(1, std::memory_order_acq_rel);
  FutexWakeAll(progress);
}

std::atomic<uint64_t>& LaneProducer::LastWrite(uint64_t inode) {
  return last_write_[(inode * 0x9e3779b97f4a7c15ull) >> 56];
}

std::atomic<uint64_t>& LaneProducer::LastTouch(uint64_t inode) {
  return last_touch_[(inode * 0x9e3779b97f4a7c15ull) >> 56];
}

bool LaneProducer::WaitApplied(uint64_t place, int64_t until_ns) {
  const auto applied = [this, place] {
    return layout()->cursors.applied.load(std::memory_order_acquire) > place;
  };
  if (applied()) return true;
  const Waiting waiting(this, until_ns);
  return AwaitProgress(applied, {}, waiting) == End::kReady;
}

bool LaneProducer::WaitWrites(uint64_t inode, int64_t until_ns) {
  const uint64_t behind = LastWrite(inode).load(std::memory_order_acquire);
  return behind == 0 || WaitApplied(behind - 1, until_ns);
}

bool LaneProducer::WaitWritten(uint64_t inode) {
  const uint64_t behind = LastWrite(inode).load(std::memory_order_acquire);
  return behind == 0 || WaitTaken(behind, kForever);
}

bool LaneProducer::WaitTaken(uint64_t place, int64_t until_ns) {
  const auto taken = [this, place] { return Taken() >= place; };
  if (taken()) return true;
  const Waiting waiting(this, until_ns);
  return AwaitProgress(taken, {}, waiting) == End::kReady;
}

int64_t LaneProducer::WaitUntil() const {
  const uint32_t patience_ms = layout()->cursors.patience_ms.load(std::memory_order_acquire);
  if (patience_ms == 0) return kForever;
  int64_t* const end = RequestEnd();
  if (end != nullptr && *end != 0) return *end;
  int64_t patience_ns = int64_t{patience_ms} * 1'000'000;
  if (silent_at_.load(std::memory_order_relaxed) == Taken() + 1) {
    patience_ns = std::min(patience_ns, kMomentNs);
  }
  const int64_t until = MonotonicNs() + patience_ns;
  if (end != nullptr) *end = until;
  return until;
}

void LaneProducer::NoteTimeOver(uint64_t taken, bool all_of_it) {
  const std::lock_guard lock(mutex_);
  if (taken >= tail_ || Taken() != taken) return;
  absent_at_.store(taken + 1, std::memory_order_relaxed);
  if (all_of_it) silent_at_.store(taken + 1, std::memory_order_relaxed);
}

int64_t LaneProducer::InAMoment() const {
  const bool absent = absent_at_.load(std::memory_order_relaxed) == Taken() + 1;
  return MonotonicNs() + (absent ? 0 : kMomentNs);
}

uint32_t LaneProducer::mount_index() const { return layout()->cursors.mount_index; }

bool LaneProducer::synchronous() const {
  return layout()->cursors.synchronous.load(std::memory_order_acquire) != 0;
}

bool LaneProducer::shared_session() const {
  return (layout()->cursors.mounts.load(std::memory_order_acquire) & ~kWasShared) > 1;
}

bool LaneProducer::was_shared() const {
  return layout()->cursors.mounts.load(std::memory_order_acquire) > 1;
}

InodeUse* LaneProducer::Use(uint32_t inode_index) const {
  if (inode_index == kNoIndex || inode_index >= inode_uses_) return nullptr;
  return lane_->At<InodeUse>(sizeof(LaneLayout)) + inode_index;
}

HazardSlot& LaneProducer::Hazard(uint32_t slot) const {
  std::atomic<uint32_t>& used = layout()->cursors.hazards_used;
  uint32_t before = used.load(std::memory_order_relaxed);
  // Before anything is stored in the slot: whoever sees that looks at the slot too.
  while (before <= slot &&
         !used.compare_exchange_weak(before, slot + 1, std::memory_order_seq_cst)) {
  }
  return layout()->hazards[slot];
}

void LaneProducer::Count(uint32_t counter, uint64_t by) const {
  layout()->counters[counter].fetch_add(by, std::memory_order_relaxed);
}

void LaneProducer::Observe(uint32_t row, uint64_t nanoseconds) const {
  const auto bucket = static_cast<uint32_t>(std::bit_width(nanoseconds | 1) - 1);
  layout()->histograms[row][std::min(bucket, kHistogramBuckets - 1)].fetch_add(
      1, std::memory_order_relaxed);
}

}  // namespace airstore::shm
