// SPDX-License-Identifier: Apache-2.0
//
// Slabs: clean content of small files, one contiguous extent each, in sealed memfd segments.
//
// The broker allocates an extent, fills it, and publishes it in an inode record; from then on it is
// immutable. A frontend that hands extent memory to the kernel names it in a hazard slot, then
// checks that the inode record still points there; the broker reuses a freed extent only when no
// live hazard slot names it. Sizes step by an eighth of a power of two, which wastes 12.5 % at
// most, but not by less than a cache line.
//
// Slabs of a dead broker can only be read: their extents are served until they are freed, nothing
// is allocated there any more, and a slab goes with its last extent.
// Threads: SlabPool: one thread of the broker. SlabView: any thread of a frontend.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "shm/segment.h"

namespace airstore::shm {

inline constexpr uint64_t kSlabSegmentBytes = 64ull << 20;
inline constexpr uint64_t kSlabHeaderBytes = 4096;  // extents lie behind the segment's first page
inline constexpr uint32_t kSlabMaxExtent = 64u << 10;
inline constexpr uint32_t kMaxSlabs = 4096;  // of one session

// Where an extent lies.
struct Extent {
  uint32_t slab = 0;
  uint64_t offset = 0;
  uint32_t bytes = 0;  // of content; the extent itself may be longer
  uint64_t key() const { return HazardKey(slab, offset); }
};

class SlabPool {
 public:
  // Asked before freed extents are reused: adds the keys that live hazard slots name.
  using Hazards = std::function<void(std::vector<uint64_t>* keys)>;
  // Told of every new segment, to hand its read-only descriptor to the frontends.
  using OnSegment = std::function<void(const Segment&)>;

  // Told of every adopted slab that no record and no hazard slot names any more: frontends need not
  // keep it mapped. Not told of one whose last reader outlives everything that is stored or freed.
  using OnEnded = std::function<void(uint32_t index)>;

  SlabPool(const SessionId& session, uint64_t limit_bytes, Hazards hazards, OnSegment on_segment,
           OnEnded on_ended = nullptr);

  // Takes over a slab of a broker that has died, attached read-only. Then Keep each extent that a
  // record names, and DropUnused. Before the first Store. EEXIST: that slab is here already.
  Result<void> Adopt(std::unique_ptr<Segment> slab);
  // False: not an extent of an adopted slab; the record must not name it any longer.
  bool Keep(const Extent& extent);
  void DropUnused();

  // An extent filled with `content`. ENOSPC at the limit: evict and try again. EFBIG beyond
  // kSlabMaxExtent. Empty content needs no extent: EINVAL.
  Result<Extent> Store(std::span<const uint8_t> content);
  // REQUIRES: the extent is no longer published in any inode record.
  void Free(const Extent& extent);

  std::span<const uint8_t> Bytes(const Extent& extent) const;
  // By slab index; nullptr: an adopted slab that is gone.
  const std::vector<std::unique_ptr<Segment>>& segments() const { return segments_; }
  uint64_t used_bytes() const { return used_bytes_; }  // of extents in use
  uint64_t mapped_bytes() const;

 private:
  Result<Extent> Carve(uint32_t class_bytes);
  // Room for an extent, within the limit: in the newest slab, or in one more.
  Result<void> Grow(uint32_t class_bytes);
  Result<void> AddSegment();
  Result<void> Back(uint32_t slab, uint64_t end);
  std::vector<uint64_t> NamedByHazards() const;
  void TellEnded();
  // Frees what is in limbo until a run of that length has come together.
  void ReclaimLimbo(uint64_t wanted_bytes);
  void PutRun(uint64_t place, uint64_t length);
  void TakeRun(uint64_t place, uint64_t length);

  SessionId session_;
  uint64_t limit_bytes_;  // of extents, in use or free
  Hazards hazards_;
  OnSegment on_segment_;
  OnEnded on_ended_;
  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<uint64_t> backed_;  // by segment: bytes from its start that have memory
  // Free space: best fit with neighbours merged, so that whatever was evicted makes room for any
  // size, and not only for content of its own class.
  std::map<uint64_t, uint64_t> runs_;                     // place -> length
  std::set<std::pair<uint64_t, uint64_t>> runs_by_size_;  // (length, place)
  std::deque<Extent> limbo_;                 // freed, perhaps still named by a hazard slot
  uint64_t carved_bytes_ = 0;                // of all segments, within the limit
  uint64_t carved_end_ = kSlabSegmentBytes;  // in the newest segment: behind it is none's yet
  std::map<uint32_t, uint64_t> adopted_;     // slab -> its extents in use
  uint64_t adopted_bytes_ = 0;               // of those extents: count for the limit
  std::vector<uint32_t> ended_;              // adopted, without extents; frontends have them mapped
  uint64_t used_bytes_ = 0;
};

// Extent size for `bytes` of content.
uint32_t SlabClassBytes(uint32_t bytes);

class SlabView {
 public:
  explicit SlabView(const SessionId& session);
  // Maps a received slab segment.
  Result<void> Attach(UniqueFd fd, uint32_t index);
  // Unmaps it. REQUIRES: no record names an extent of it, and nobody who has found one there reads.
  void Detach(uint32_t index);
  // Those attached; they stay until they are detached.
  std::vector<const Segment*> segments() const;
  // The extent's memory; empty when that slab is not attached yet or the extent leaves it.
  std::span<const uint8_t> Bytes(const Extent& extent) const;

 private:
  SessionId session_;
  // By slab index: where it is mapped; readers take no lock.
  std::vector<std::atomic<const uint8_t*>> bases_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Segment>> segments_;  // guarded by mutex_; keeps the mappings
};

}  // namespace airstore::shm
