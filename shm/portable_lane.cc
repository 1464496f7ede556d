// SPDX-License-Identifier: Apache-2.0
//
// The lane of a mount in portable form: what is queued, the calls that have no answer yet or whose
// client has not had it, what the kernel holds of each inode.
#include <unistd.h>

#include <algorithm>

#include "shm/lane.h"
#include "shm/portable_fields.h"
#include "shm/portable_import.h"

namespace airstore::shm {
namespace {

constexpr uint32_t kMostUses = 1u << 28;

Error Impossible(const char* what) {
  return Error{EPROTO, std::string("a lane with an impossible ") + what + " is handed over"};
}

Result<std::unique_ptr<Segment>> AttachSpool(UniqueFd fd, SegmentKind kind) {
  SegmentHeader header;
  if (pread(fd.get(), static_cast<void*>(&header), sizeof(header), 0) != sizeof(header)) {
    return Error{EPROTO, "lane segment too short"};
  }
  Segment::Identity identity{kind, {}, header.index};
  memcpy(identity.session.data(), header.session_id, identity.session.size());
  return Segment::Attach(std::move(fd), identity, false);
}

template <typename T>
uint64_t Load(const std::atomic<T>& word) {
  return static_cast<uint64_t>(word.load(std::memory_order_acquire));
}

template <typename T>
void Store(std::atomic<T>* to, uint64_t word) {
  to->store(static_cast<T>(word), std::memory_order_relaxed);
}

void PutQueue(const LaneLayout& lane, const Segment& arena, PortableWriter* out) {
  const uint64_t ring = arena.size() - kArenaRingOffset;
  const uint64_t applied = Load(lane.cursors.applied);
  for (uint64_t place = applied; place != applied + kQueueRecords; ++place) {
    const QueueRecord& record = lane.queue[place % kQueueRecords];
    if (Load(record.position) != place + 1) continue;
    std::vector<uint64_t> words = {place};
    PutFields(record, &words);
    std::string_view payload;
    const uint64_t at = record.arena_position % ring;
    if (static_cast<QueueOp>(record.op) == QueueOp::kWrite && record.length <= kMaxWrite &&
        at + record.length <= ring) {
      payload = {reinterpret_cast<const char*>(arena.base() + kArenaRingOffset + at),
                 record.length};
    }
    out->Put(PortableKind::kQueued, words, payload);
  }
}

void PutSlots(const LaneLayout& lane, PortableWriter* out) {
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    const RequestSlot& slot = lane.slots[i];
    const uint64_t state = Load(slot.state);
    if (state == static_cast<uint64_t>(SlotState::kFree)) continue;
    std::vector<uint64_t> words = {i, state, Load(slot.position)};
    PutFields(slot.args, &words);
    PutFields(slot.reply, &words);
    const uint64_t text =
        uint64_t{slot.args.name_bytes} + slot.args.name2_bytes +
        (StateOf(static_cast<uint32_t>(state)) == SlotState::kDone ? slot.reply.text_bytes : 0);
    out->Put(PortableKind::kSlot, words,
             {reinterpret_cast<const char*>(slot.text), std::min<uint64_t>(text, kRequestText)});
  }
}

void PutCounts(const LaneLayout& lane, PortableWriter* out) {
  for (uint64_t i = 0; i < kCounterWords; ++i) {
    const uint64_t words[] = {i, Load(lane.counters[i])};
    if (words[1] != 0) out->Put(PortableKind::kCounter, words);
  }
  for (uint64_t row = 0; row < kHistogramRows; ++row) {
    for (uint64_t bucket = 0; bucket < kHistogramBuckets; ++bucket) {
      const uint64_t words[] = {row, bucket, Load(lane.histograms[row][bucket])};
      if (words[2] != 0) out->Put(PortableKind::kHistogram, words);
    }
  }
}

}  // namespace

Result<void> ExportLane(UniqueFd lane_fd, UniqueFd arena_fd, PortableWriter* out) {
  auto segment = AttachSpool(std::move(lane_fd), SegmentKind::kLane);
  if (!segment) return segment.error();
  auto arena = AttachSpool(std::move(arena_fd), SegmentKind::kArena);
  if (!arena) return arena.error();
  if ((*segment)->size() < sizeof(LaneLayout) ||
      (*arena)->size() < ArenaSegmentBytes(kMinArenaBytes)) {
    return Error{EPROTO, "segments too short for a lane"};
  }
  const LaneLayout& lane = *(*segment)->At<LaneLayout>(0);
  const LaneCursors& cursors = lane.cursors;
  const uint32_t uses = cursors.inode_uses;
  if ((*segment)->size() < LaneBytes(uses)) {
    return Error{EPROTO, "lane segment too short for its inode uses"};
  }
  const uint64_t words[] = {Load(cursors.applied),
                            Load(cursors.arena_applied),
                            (*arena)->size() - kArenaRingOffset,
                            uses,
                            Load(cursors.mounts),
                            Load(cursors.synchronous),
                            Load(cursors.write_gate),
                            Load(cursors.write_stall_ms),
                            Load(cursors.write_closed_ns),
                            Load(lane.opening.greatest_request)};
  out->Put(PortableKind::kLane, words,
           {reinterpret_cast<const char*>(lane.opening.data),
            std::min<size_t>(Load(lane.opening.bytes), kOpeningBytes)});
  PutQueue(lane, **arena, out);
  PutSlots(lane, out);
  for (uint64_t i = 0; i < kRequestTraces; ++i) {
    const RequestTrace& trace = lane.traces[i];
    const uint64_t traced[] = {i, Load(trace.unique), Load(trace.waiting), Load(trace.effect),
                               Load(trace.inode_index)};
    if (traced[1] != 0) out->Put(PortableKind::kTrace, traced);
  }
  PutCounts(lane, out);
  const auto* use = (*segment)->At<InodeUse>(sizeof(LaneLayout));
  for (uint64_t i = 0; i < uses; ++i) {
    const uint64_t used[] = {i, Load(use[i].lookups), Load(use[i].opens),
                             Load(use[i].cached_generation), Load(use[i].used)};
    if ((used[1] | used[2] | used[3] | used[4]) != 0) out->Put(PortableKind::kUse, used);
  }
  return {};
}

Result<void> LaneImport::Begin(const PortableRecord& record, const Segment::Identity& identity,
                               const std::string& lane_path, const std::string& arena_path) {
  if (lane_) return Error{EPROTO, "two lanes are handed over"};
  ring_bytes_ = record.word(2);
  if (ring_bytes_ < kMinArenaBytes || ring_bytes_ > kArenaBytes || ring_bytes_ % 4096 != 0) {
    return Impossible("arena");
  }
  if (record.word(3) > kMostUses || record.text.size() > kOpeningBytes) return Impossible("size");
  const auto uses = static_cast<uint32_t>(record.word(3));
  auto lane = Segment::CreateSpool(identity, LaneBytes(uses), lane_path);
  if (!lane) return lane.error();
  auto arena = Segment::CreateSpool({SegmentKind::kArena, identity.session, identity.index},
                                    ArenaSegmentBytes(ring_bytes_), arena_path);
  if (!arena) return arena.error();
  lane_ = std::move(*lane);
  arena_ = std::move(*arena);
  LaneCursors& cursors = layout()->cursors;
  Store(&cursors.applied, record.word(0));
  Store(&cursors.taken, record.word(0));
  Store(&cursors.arena_applied, record.word(1));
  cursors.inode_uses = uses;
  cursors.mount_index = identity.index;
  Store(&cursors.mounts, record.word(4));
  Store(&cursors.synchronous, record.word(5));
  Store(&cursors.write_gate, record.word(6));
  Store(&cursors.write_stall_ms, record.word(7));
  Store(&cursors.write_closed_ns, record.word(8));
  OpeningMessage& opening = layout()->opening;
  memcpy(opening.data, record.text.data(), record.text.size());
  Store(&opening.greatest_request, record.word(9));
  Store(&opening.bytes, record.text.size());
  return {};
}

Result<void> LaneImport::Take(const PortableRecord& record) {
  if (!lane_) return Error{EPROTO, "parts of no lane are handed over"};
  switch (record.kind) {
    case PortableKind::kQueued:
      return TakeQueued(record);
    case PortableKind::kSlot:
      return TakeSlot(record);
    case PortableKind::kTrace:
      return TakeTrace(record);
    case PortableKind::kCounter:
      if (record.word(0) >= kCounterWords) return Impossible("counter");
      Store(&layout()->counters[record.word(0)], record.word(1));
      return {};
    case PortableKind::kHistogram:
      if (record.word(0) >= kHistogramRows || record.word(1) >= kHistogramBuckets) {
        return Impossible("histogram");
      }
      Store(&layout()->histograms[record.word(0)][record.word(1)], record.word(2));
      return {};
    default:
      return TakeUse(record);
  }
}

Result<void> LaneImport::TakeQueued(const PortableRecord& from) {
  const uint64_t place = from.word(0);
  if (place - layout()->cursors.applied.load(std::memory_order_relaxed) >= kQueueRecords) {
    return Impossible("record");
  }
  QueueRecord& record = layout()->queue[place % kQueueRecords];
  size_t at = 1;
  TakeFields(from.words, &at, &record);
  if (static_cast<QueueOp>(record.op) == QueueOp::kWrite) {
    const uint64_t ring_at = record.arena_position % ring_bytes_;
    if (from.text.size() != record.length || record.length > ring_bytes_ ||
        ring_at > ring_bytes_ - record.length) {
      return Impossible("write");
    }
    memcpy(arena_->base() + kArenaRingOffset + ring_at, from.text.data(), record.length);
  }
  record.position.store(place + 1, std::memory_order_relaxed);
  return {};
}

Result<void> LaneImport::TakeSlot(const PortableRecord& from) {
  if (from.word(0) >= kRequestSlots || from.text.size() > kRequestText) return Impossible("call");
  RequestSlot& slot = layout()->slots[from.word(0)];
  size_t at = 3;
  TakeFields(from.words, &at, &slot.args);
  TakeFields(from.words, &at, &slot.reply);
  memcpy(slot.text, from.text.data(), from.text.size());
  Store(&slot.position, from.word(2));
  Store(&slot.state, from.word(1));
  return {};
}

Result<void> LaneImport::TakeTrace(const PortableRecord& from) {
  if (from.word(0) >= kRequestTraces) return Impossible("trace");
  RequestTrace& trace = layout()->traces[from.word(0)];
  Store(&trace.waiting, from.word(2));
  Store(&trace.effect, from.word(3));
  Store(&trace.inode_index, from.word(4));
  Store(&trace.unique, from.word(1));
  return {};
}

Result<void> LaneImport::TakeUse(const PortableRecord& from) {
  if (from.word(0) >= layout()->cursors.inode_uses) return Impossible("inode");
  InodeUse& use = lane_->At<InodeUse>(sizeof(LaneLayout))[from.word(0)];
  Store(&use.lookups, from.word(1));
  Store(&use.opens, from.word(2));
  Store(&use.cached_generation, from.word(3));
  Store(&use.used, from.word(4));
  return {};
}

Result<void> LaneImport::Finish() {
  if (!lane_) return Error{EPROTO, "no lane is handed over"};
  lane_->MarkReady();
  arena_->MarkReady();
  return {};
}

Result<void> ImportLane(int file, const SessionId& session, uint32_t mount_index,
                        const std::string& lane_path, const std::string& arena_path) {
  PortableReader reader(file);
  LaneImport lane;
  PortableRecord record;
  for (;;) {
    auto more = reader.Next(&record);
    if (!more) return more.error();
    if (!*more) return lane.Finish();
    switch (record.kind) {
      case PortableKind::kLane:
        AIRSTORE_TRY(
            lane.Begin(record, {SegmentKind::kLane, session, mount_index}, lane_path, arena_path));
        break;
      case PortableKind::kQueued:
      case PortableKind::kSlot:
      case PortableKind::kTrace:
      case PortableKind::kCounter:
      case PortableKind::kHistogram:
      case PortableKind::kUse:
        AIRSTORE_TRY(lane.Take(record));
        break;
      default:  // of a later version: it can be done without
        break;
    }
  }
}

}  // namespace airstore::shm
