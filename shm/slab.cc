// SPDX-License-Identifier: Apache-2.0
#include "shm/slab.h"

#include <algorithm>
#include <bit>

namespace airstore::shm {
namespace {

constexpr uint32_t kMinExtent = 64;
// Memory of a segment is taken in such steps, before it is touched.
constexpr uint64_t kBackingStep = 1u << 20;
// Extents reclaimed before looking whether there is room now: more would only make one Store long.
constexpr size_t kReclaimBatch = 64;

// Places of all segments in one number line; segments never touch, for each begins with a header.
constexpr int kSlabShift = 40;
constexpr uint64_t kOffsetMask = (1ull << kSlabShift) - 1;

}  // namespace

uint32_t SlabClassBytes(uint32_t bytes) {
  if (bytes <= kMinExtent) return kMinExtent;
  // Steps of an eighth of the power of two below, but never finer than a cache line.
  const uint32_t step = std::max(std::bit_floor(bytes - 1) / 8, kMinExtent);
  return (bytes + step - 1) / step * step;
}

SlabPool::SlabPool(const SessionId& session, uint64_t limit_bytes, Hazards hazards,
                   OnSegment on_segment, OnEnded on_ended)
    : session_(session),
      limit_bytes_(limit_bytes),
      hazards_(std::move(hazards)),
      on_segment_(std::move(on_segment)),
      on_ended_(std::move(on_ended)) {}

Result<void> SlabPool::Adopt(std::unique_ptr<Segment> slab) {
  const uint32_t index = slab->header().index;
  if (index >= kMaxSlabs || slab->size() < kSlabSegmentBytes) return Error{EPROTO, "old slab"};
  if (segments_.size() <= index) {
    segments_.resize(index + 1);
    backed_.resize(index + 1);
  }
  if (segments_[index] != nullptr) return Error{EEXIST, "old slab"};
  segments_[index] = std::move(slab);
  adopted_[index] = 0;
  return {};
}

bool SlabPool::Keep(const Extent& extent) {
  const auto slab = adopted_.find(extent.slab);
  if (slab == adopted_.end() || extent.bytes == 0 || extent.bytes > kSlabMaxExtent ||
      extent.offset < kSlabHeaderBytes || extent.offset > kSlabSegmentBytes - extent.bytes) {
    return false;
  }
  ++slab->second;
  used_bytes_ += SlabClassBytes(extent.bytes);
  adopted_bytes_ += SlabClassBytes(extent.bytes);
  return true;
}

void SlabPool::DropUnused() {
  for (auto slab = adopted_.begin(); slab != adopted_.end();) {
    if (slab->second == 0) {
      segments_[slab->first].reset();
      ended_.push_back(slab->first);  // told later: those who have it mapped are not here yet
    }
    slab = slab->second == 0 ? adopted_.erase(slab) : std::next(slab);
  }
}

Result<Extent> SlabPool::Store(std::span<const uint8_t> content) {
  if (content.empty()) return Error{EINVAL, "empty content needs no extent"};
  if (content.size() > kSlabMaxExtent) return Error{EFBIG, "content for a slab"};
  const auto bytes = static_cast<uint32_t>(content.size());
  auto extent = Carve(SlabClassBytes(bytes));
  if (!extent) return extent;
  extent->bytes = bytes;
  memcpy(segments_[extent->slab]->base() + extent->offset, content.data(), content.size());
  used_bytes_ += SlabClassBytes(bytes);
  return extent;
}

void SlabPool::Free(const Extent& extent) {
  used_bytes_ -= SlabClassBytes(extent.bytes);
  const auto adopted = adopted_.find(extent.slab);
  if (adopted == adopted_.end()) {
    limbo_.push_back(extent);
    return;
  }
  adopted_bytes_ -= SlabClassBytes(extent.bytes);
  if (--adopted->second != 0) return;
  segments_[extent.slab].reset();  // who still reads it has a mapping of its own
  adopted_.erase(adopted);
  ended_.push_back(extent.slab);
  TellEnded();
}

// The records that named its extents were changed before: see ReclaimLimbo.
void SlabPool::TellEnded() {
  if (ended_.empty() || !on_ended_) return;
  const std::vector<uint64_t> named = NamedByHazards();
  std::erase_if(ended_, [&](uint32_t index) {
    const auto first = std::lower_bound(named.begin(), named.end(), HazardKey(index, 0));
    if (first != named.end() && *first < HazardKey(index + 1, 0)) return false;
    on_ended_(index);
    return true;
  });
}

std::span<const uint8_t> SlabPool::Bytes(const Extent& extent) const {
  return {segments_[extent.slab]->base() + extent.offset, extent.bytes};
}

Result<Extent> SlabPool::Carve(uint32_t class_bytes) {
  auto run = runs_by_size_.lower_bound({class_bytes, 0});
  if (run == runs_by_size_.end() && !limbo_.empty()) {
    ReclaimLimbo(class_bytes);
    run = runs_by_size_.lower_bound({class_bytes, 0});
  }
  if (run == runs_by_size_.end()) {
    AIRSTORE_TRY(Grow(class_bytes));
    run = runs_by_size_.lower_bound({class_bytes, 0});
  }
  const auto [length, place] = *run;
  const auto slab = static_cast<uint32_t>(place >> kSlabShift);
  const uint64_t offset = place & kOffsetMask;
  AIRSTORE_TRY(Back(slab, offset + class_bytes));
  TakeRun(place, length);
  if (length > class_bytes) PutRun(place + class_bytes, length - class_bytes);
  return Extent{slab, offset, class_bytes};
}

uint64_t SlabPool::mapped_bytes() const {
  uint64_t bytes = 0;
  for (const auto& segment : segments_) bytes += segment == nullptr ? 0 : kSlabSegmentBytes;
  return bytes;
}

// While the extents of adopted slabs die, the room in the limit comes back bit by bit.
Result<void> SlabPool::Grow(uint32_t class_bytes) {
  TellEnded();
  const uint64_t taken = carved_bytes_ + adopted_bytes_;
  const uint64_t room = limit_bytes_ > taken ? limit_bytes_ - taken : 0;
  if (room < class_bytes) return Error{ENOSPC, "slab limit"};
  if (kSlabSegmentBytes - carved_end_ < class_bytes) AIRSTORE_TRY(AddSegment());
  const uint64_t usable = std::min(room, kSlabSegmentBytes - carved_end_) / kMinExtent * kMinExtent;
  carved_bytes_ += usable;
  PutRun(static_cast<uint64_t>(segments_.size() - 1) << kSlabShift | carved_end_, usable);
  carved_end_ += usable;
  return {};
}

Result<void> SlabPool::AddSegment() {
  if (segments_.size() >= kMaxSlabs) return Error{ENOSPC, "slab count"};
  const auto index = static_cast<uint32_t>(segments_.size());
  auto segment = Segment::CreateMemfd({SegmentKind::kSlab, session_, index}, kSlabSegmentBytes);
  if (!segment) return segment.error();
  (*segment)->MarkReady();
  segments_.push_back(std::move(*segment));
  backed_.push_back(0);
  carved_end_ = kSlabHeaderBytes;
  if (on_segment_) on_segment_(*segments_.back());
  return {};
}

Result<void> SlabPool::Back(uint32_t slab, uint64_t end) {
  uint64_t& backed = backed_[slab];
  if (end <= backed) return {};
  const uint64_t to =
      std::min((end + kBackingStep - 1) / kBackingStep * kBackingStep, segments_[slab]->size());
  if (auto allocated = segments_[slab]->Allocate(backed, to - backed); !allocated) {
    return Error{ENOSPC, "no memory for slab: " + allocated.error().ToString()};
  }
  backed = to;
  return {};
}

// Ascending. REQUIRES: the records that named what is asked about were changed before. Pairs with
// the fence of a frontend between its hazard slot and its second look at the record: either we see
// the slot, or it sees the change.
std::vector<uint64_t> SlabPool::NamedByHazards() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::vector<uint64_t> named;
  if (hazards_) hazards_(&named);
  std::sort(named.begin(), named.end());
  return named;
}

void SlabPool::ReclaimLimbo(uint64_t wanted_bytes) {
  const std::vector<uint64_t> named = NamedByHazards();
  const size_t all = limbo_.size();
  for (size_t looked = 0; looked < all; ++looked) {
    if (looked % kReclaimBatch == 0 && !runs_by_size_.empty() &&
        runs_by_size_.rbegin()->first >= wanted_bytes) {
      return;
    }
    const Extent extent = limbo_.front();
    limbo_.pop_front();
    if (std::binary_search(named.begin(), named.end(), extent.key())) {
      limbo_.push_back(extent);
      continue;
    }
    PutRun(static_cast<uint64_t>(extent.slab) << kSlabShift | extent.offset,
           SlabClassBytes(extent.bytes));
  }
}

void SlabPool::PutRun(uint64_t place, uint64_t length) {
  auto next = runs_.lower_bound(place);
  if (next != runs_.end() && next->first == place + length) {
    length += next->second;
    runs_by_size_.erase({next->second, next->first});
    next = runs_.erase(next);
  }
  if (next != runs_.begin()) {
    auto previous = std::prev(next);
    if (previous->first + previous->second == place) {
      runs_by_size_.erase({previous->second, previous->first});
      previous->second += length;
      runs_by_size_.insert({previous->second, previous->first});
      return;
    }
  }
  runs_.emplace_hint(next, place, length);
  runs_by_size_.insert({length, place});
}

void SlabPool::TakeRun(uint64_t place, uint64_t length) {
  runs_.erase(place);
  runs_by_size_.erase({length, place});
}

SlabView::SlabView(const SessionId& session) : session_(session), bases_(kMaxSlabs) {}

Result<void> SlabView::Attach(UniqueFd fd, uint32_t index) {
  if (index >= kMaxSlabs) return Error{EPROTO, "slab index"};
  auto segment = Segment::Attach(std::move(fd), {SegmentKind::kSlab, session_, index}, false);
  if (!segment) return segment.error();
  if ((*segment)->size() < kSlabSegmentBytes) return Error{EPROTO, "slab segment is too short"};
  const std::lock_guard lock(mutex_);
  if (bases_[index].load(std::memory_order_relaxed) != nullptr) return {};
  // Release pairs with the acquire in Bytes: who sees the address sees the mapping.
  bases_[index].store((*segment)->base(), std::memory_order_release);
  segments_.push_back(std::move(*segment));
  return {};
}

void SlabView::Detach(uint32_t index) {
  if (index >= kMaxSlabs) return;
  const std::lock_guard lock(mutex_);
  bases_[index].store(nullptr, std::memory_order_release);
  std::erase_if(segments_, [index](const auto& slab) { return slab->header().index == index; });
}

std::vector<const Segment*> SlabView::segments() const {
  const std::lock_guard lock(mutex_);
  std::vector<const Segment*> all;
  for (const auto& segment : segments_) all.push_back(segment.get());
  return all;
}

std::span<const uint8_t> SlabView::Bytes(const Extent& extent) const {
  if (extent.slab >= kMaxSlabs || extent.offset < kSlabHeaderBytes ||
      extent.offset > kSlabSegmentBytes || extent.bytes > kSlabSegmentBytes - extent.offset) {
    return {};
  }
  const uint8_t* base = bases_[extent.slab].load(std::memory_order_acquire);
  if (base == nullptr) return {};
  return {base + extent.offset, extent.bytes};
}

}  // namespace airstore::shm
