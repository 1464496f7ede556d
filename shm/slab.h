// SPDX-License-Identifier: Apache-2.0
//
// Slabs: clean content of small files, one contiguous extent each, in sealed memfd segments.
//
// The broker allocates an extent, fills it, and publishes it in an inode record; from then on it is
// immutable. A frontend that hands extent memory to the kernel names it in a hazard slot, then
// checks that the inode record still points there; the broker reuses a freed extent only when no
// live hazard slot names it. Size classes step by an eighth of a power of two from 64 bytes, which
// wastes 12.5 % at most.
// Threads: SlabPool: one thread of the broker. SlabView: any thread of a frontend.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <span>
#include <vector>

#include "shm/segment.h"

namespace airstore::shm {

inline constexpr uint64_t kSlabSegmentBytes = 64ull << 20;
inline constexpr uint32_t kSlabMaxExtent = 64u << 10;

// Where an extent lies.
struct Extent {
  uint32_t slab = 0;
  uint64_t offset = 0;
  uint32_t bytes = 0;  // of content; the extent itself may be longer
  uint64_t key() const { return HazardKey(slab, offset); }
};

class SlabPool {
 public:
  // Asked about each freed extent before it is reused: does a live hazard slot name it?
  using InUse = std::function<bool(uint64_t hazard_key)>;
  // Told of every new segment, to hand its read-only descriptor to the frontends.
  using OnSegment = std::function<void(const Segment&)>;

  SlabPool(const SessionId& session, uint64_t limit_bytes, InUse in_use, OnSegment on_segment);

  // An extent filled with `content`. ENOSPC at the limit: evict and try again. EFBIG beyond
  // kSlabMaxExtent. Empty content needs no extent: EINVAL.
  Result<Extent> Store(std::span<const uint8_t> content);
  // REQUIRES: the extent is no longer published in any inode record.
  void Free(const Extent& extent);

  std::span<const uint8_t> Bytes(const Extent& extent) const;
  const std::vector<std::unique_ptr<Segment>>& segments() const { return segments_; }
  uint64_t used_bytes() const { return used_bytes_; }  // of extents in use
  uint64_t mapped_bytes() const { return segments_.size() * kSlabSegmentBytes; }

 private:
  struct SizeClass {
    std::vector<Extent> free;
  };
  Result<Extent> Carve(uint32_t class_bytes);
  void ReclaimLimbo();

  SessionId session_;
  uint64_t limit_bytes_;
  InUse in_use_;
  OnSegment on_segment_;
  std::vector<std::unique_ptr<Segment>> segments_;
  uint64_t segment_used_ = 0;  // of the last segment
  std::map<uint32_t, SizeClass> classes_;
  std::deque<Extent> limbo_;  // freed, perhaps still named by a hazard slot
  uint64_t used_bytes_ = 0;
};

// Extent size for `bytes` of content.
uint32_t SlabClassBytes(uint32_t bytes);

class SlabView {
 public:
  explicit SlabView(const SessionId& session) : session_(session) {}
  // Maps a received slab segment.
  Result<void> Attach(UniqueFd fd, uint32_t index);
  // The extent's memory; empty when that slab is not attached yet or the extent leaves it.
  std::span<const uint8_t> Bytes(const Extent& extent) const;

 private:
  SessionId session_;
  mutable std::shared_mutex mutex_;
  std::vector<std::unique_ptr<Segment>> segments_;  // guarded by mutex_; entries never change
};

}  // namespace airstore::shm
