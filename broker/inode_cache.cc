// SPDX-License-Identifier: Apache-2.0
#include "broker/inode_cache.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace airstore::broker {
namespace {

using shm::ContentKind;
using shm::Extent;
using shm::InodeRecord;

constexpr uint64_t kEvictAtOnce = 4u << 20;

Extent ExtentOf(const InodeRecord& record) {
  return Extent{record.slab_index, record.extent_offset, record.extent_bytes};
}

bool HasExtent(const InodeRecord& record) {
  return record.content_kind == static_cast<uint32_t>(ContentKind::kSlab) &&
         record.extent_bytes != 0;
}

void SetNoContent(InodeRecord& record) {
  record.content_kind = static_cast<uint32_t>(ContentKind::kNone);
  record.slab_index = 0;
  record.extent_offset = 0;
  record.extent_bytes = 0;
}

}  // namespace

InodeRecord ToRecord(const Attr& attr) {
  InodeRecord record{};
  record.inode = attr.inode;
  record.generation = attr.generation;
  record.mode = attr.mode;
  record.nlink = attr.nlink;
  record.uid = attr.uid;
  record.gid = attr.gid;
  record.size = attr.size;
  record.rdev = attr.rdev;
  record.allocated_bytes = attr.allocated_bytes;
  record.atime_ns = attr.atime_ns;
  record.mtime_ns = attr.mtime_ns;
  record.ctime_ns = attr.ctime_ns;
  record.btime_ns = attr.btime_ns;
  record.content_version = attr.content_version;
  record.xattr_count = attr.xattr_count;
  record.dir_next_cookie = 1;
  if (IsRegular(attr.mode) && attr.size == 0 && !attr.size_unknown) {
    record.content_kind = static_cast<uint32_t>(ContentKind::kSlab);
  }
  if (attr.size_unknown) record.flags |= shm::kSizeUnknown;
  return record;
}

InodeCache::InodeCache(std::unique_ptr<shm::MetaWriter> meta, const shm::SessionId& session,
                       uint64_t slab_limit, MountSet* mounts, shm::SlabPool::OnSegment on_segment,
                       shm::SlabPool::OnEnded on_ended)
    : meta_(std::move(meta)),
      slabs_(
          session, slab_limit, [mounts](std::vector<uint64_t>* keys) { mounts->AddHazards(keys); },
          std::move(on_segment), std::move(on_ended)),
      mounts_(mounts) {}

void InodeCache::Adopt(std::vector<std::unique_ptr<shm::Segment>> slabs) {
  for (auto& slab : slabs) {
    const uint32_t index = slab->header().index;
    auto adopted = slabs_.Adopt(std::move(slab));
    if (!adopted && adopted.error().code != EEXIST) {
      spdlog::warn("slab {}: {}", index, adopted.error().ToString());
    }
  }
  EachInode([this](uint32_t index, InodeRecord record) {
    if (!HasExtent(record) || slabs_.Keep(ExtentOf(record))) return;
    SetNoContent(record);
    ++record.content_generation;
    meta_->UpdateInode(index, record);
  });
  slabs_.DropUnused();
}

std::vector<uint64_t> InodeCache::Stale() const {
  std::vector<uint64_t> inodes;
  inodes.reserve(stale_.size());
  for (const auto& [inode, known_by] : stale_) inodes.push_back(inode);
  return inodes;
}

void InodeCache::AdoptStale() {
  EachInode([this](uint32_t index, InodeRecord record) {
    if ((record.flags & shm::kChanging) != 0) {
      record.flags &= ~uint32_t{shm::kChanging};
      meta_->UpdateInode(index, record);
    }
    if ((record.flags & kStale) == 0) return;
    uint64_t& known_by = stale_[record.inode];
    for (const MountPort* mount : mounts_->all()) {
      if (mount->Lookups(index) != 0) known_by |= 1ull << mount->index();
    }
  });
}

std::optional<InodeRecord> InodeCache::Get(uint64_t inode) const {
  const uint32_t index = meta_->IndexOf(inode);
  if (index == shm::kNoIndex) return std::nullopt;
  return meta_->Inode(index);
}

Result<uint32_t> InodeCache::Insert(const Attr& attr, bool refresh) {
  const uint32_t index = meta_->IndexOf(attr.inode);
  if (index == shm::kNoIndex) {
    auto added = meta_->AddInode(ToRecord(attr));
    if (added) Touch(*added);
    if (added) SetParent(attr.inode, std::max<uint64_t>(attr.parent, shm::kRootInode));
    if (added && IsSymlink(attr.mode)) {
      const auto* target = reinterpret_cast<const uint8_t*>(attr.symlink_target.data());
      (void)StoreSmall(attr.inode, {target, attr.symlink_target.size()});
    }
    return added;
  }
  if (refresh) Refresh(attr);
  return index;
}

uint64_t InodeCache::ParentOf(uint64_t inode) const {
  const uint32_t index = meta_->IndexOf(inode);
  return index < parents_.size() ? parents_[index] : 0;
}

void InodeCache::SetParent(uint64_t inode, uint64_t parent) {
  const uint32_t index = meta_->IndexOf(inode);
  if (index == shm::kNoIndex) return;
  if (index >= parents_.size()) parents_.resize(index + index / 8 + 1);
  parents_[index] = parent;
}

void InodeCache::Refresh(const Attr& attr) {
  SetParent(attr.inode, std::max<uint64_t>(attr.parent, shm::kRootInode));
  const uint64_t known_by = TakeStale(attr.inode);
  const bool changed = Get(attr.inode)->content_version != attr.content_version;
  if (changed && IsRegular(attr.mode)) DropSmall(attr.inode);
  Update(attr.inode, [&](InodeRecord& record) {
    record.mode = attr.mode;
    record.nlink = attr.nlink;
    record.uid = attr.uid;
    record.gid = attr.gid;
    record.size = attr.size;
    record.atime_ns = attr.atime_ns;
    record.mtime_ns = attr.mtime_ns;
    record.ctime_ns = attr.ctime_ns;
    record.allocated_bytes = attr.allocated_bytes;
    record.xattr_count = attr.xattr_count;
    record.content_version = attr.content_version;
    record.known_by |= known_by;
    record.flags &= ~(shm::kOrphan | shm::kSizeUnknown | kStale);
    if (attr.size_unknown) record.flags |= shm::kSizeUnknown;
    if (changed) ++record.content_generation;
    if (IsRegular(attr.mode) && attr.size == 0 && !attr.size_unknown &&
        record.content_kind == static_cast<uint32_t>(ContentKind::kNone)) {
      record.content_kind = static_cast<uint32_t>(ContentKind::kSlab);
    }
  });
}

void InodeCache::MarkGone(uint64_t inode) {
  const uint64_t known_by = TakeStale(inode);
  Update(inode, [&](InodeRecord& record) {
    record.known_by |= known_by;
    record.nlink = 0;
    record.flags |= shm::kOrphan;
    record.flags &= ~kStale;
  });
}

void InodeCache::MarkStale(uint64_t inode) {
  Update(inode, [&](InodeRecord& record) {
    stale_[inode] |= record.known_by;
    record.known_by = 0;
    record.flags |= kStale;
  });
}

uint64_t InodeCache::TakeStale(uint64_t inode) {
  const auto found = stale_.find(inode);
  if (found == stale_.end()) return 0;
  const uint64_t known_by = found->second;
  stale_.erase(found);
  return known_by;
}

uint64_t InodeCache::KnownBy(uint64_t inode) const {
  const auto record = Get(inode);
  const auto found = stale_.find(inode);
  return (record ? record->known_by : 0) | (found == stale_.end() ? 0 : found->second);
}

Result<uint32_t> InodeCache::InsertNew(const InodeRecord& record) {
  auto added = meta_->AddInode(record);
  if (added) Touch(*added);
  if (added) SetParent(record.inode, 0);
  return added;
}

void InodeCache::Touch(uint32_t index) {
  if (touched_.size() <= index) touched_.resize(meta_->inode_end() + 1024);
  touched_[index] = true;
}

bool InodeCache::TakeTouched(uint32_t index) {
  if (index >= touched_.size() || !touched_[index]) return false;
  touched_[index] = false;
  return true;
}

// The record without our mark first, then the counts; a frontend raises its count first and then
// reads the record. So one of us sees the other.
bool InodeCache::RemoveUnlessHeld(uint64_t inode) {
  const uint32_t index = meta_->IndexOf(inode);
  if (index == shm::kNoIndex) return true;
  const auto held = [&] { return mounts_->AnyLookups(index) || mounts_->AnyLocalOpens(index); };
  if (held()) return false;
  shm::InodeRecord record = meta_->Inode(index);
  if (const uint64_t known_by = std::exchange(record.known_by, 0); known_by != 0) {
    meta_->UpdateInode(index, record);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (held()) {
      record.known_by = known_by;
      meta_->UpdateInode(index, record);
      return false;
    }
  }
  Remove(inode);
  return true;
}

void InodeCache::Remove(uint64_t inode) {
  const uint32_t index = meta_->IndexOf(inode);
  if (index == shm::kNoIndex) return;
  const InodeRecord record = meta_->Inode(index);
  meta_->RemoveInode(index);
  stale_.erase(inode);
  directories_.Erase(inode);
  if (HasExtent(record)) slabs_.Free(ExtentOf(record));
}

Result<void> InodeCache::StoreSmall(uint64_t inode, std::span<const uint8_t> content) {
  Extent extent;
  if (!content.empty()) {
    auto stored = slabs_.Store(content);
    if (!stored && stored.error().code == ENOSPC) {
      EvictSmall(std::max<uint64_t>(kEvictAtOnce, content.size()));
      stored = slabs_.Store(content);
    }
    if (!stored) return stored.error();
    extent = *stored;
  }
  Extent old;
  const bool present = Update(inode, [&](InodeRecord& record) {
    if (HasExtent(record)) old = ExtentOf(record);
    record.content_kind = static_cast<uint32_t>(ContentKind::kSlab);
    record.content_file = 0;
    record.flags &= ~static_cast<uint32_t>(shm::kContentComplete);
    record.slab_index = extent.slab;
    record.extent_offset = extent.offset;
    record.extent_bytes = extent.bytes;
  });
  if (!present && extent.bytes != 0) slabs_.Free(extent);
  if (old.bytes != 0) slabs_.Free(old);
  return {};
}

void InodeCache::DropSmall(uint64_t inode) {
  Extent old;
  Update(inode, [&](InodeRecord& record) {
    if (record.content_kind != static_cast<uint32_t>(ContentKind::kSlab)) return;
    if (HasExtent(record)) old = ExtentOf(record);
    SetNoContent(record);
  });
  if (old.bytes != 0) slabs_.Free(old);
}

void InodeCache::MarkKnown(uint64_t inode, uint32_t mount) {
  const uint32_t index = meta_->IndexOf(inode);
  if (index == shm::kNoIndex) return;
  shm::InodeRecord record = meta_->Inode(index);
  const uint64_t bit = 1ull << mount;
  Touch(index);
  if ((record.known_by & bit) != 0) return;
  record.known_by |= bit;
  meta_->UpdateInode(index, record);
}

void InodeCache::BeginChange(uint64_t inode) {
  if (changing_[inode]++ != 0) return;
  Update(inode, [](InodeRecord& record) { record.flags |= shm::kChanging; });
}

void InodeCache::EndChange(uint64_t inode) {
  const auto found = changing_.find(inode);
  if (--found->second != 0) return;
  changing_.erase(found);
  Update(inode, [](InodeRecord& record) { record.flags &= ~uint32_t{shm::kChanging}; });
}

void InodeCache::ForgetMounts(uint64_t bits) {
  for (auto& [inode, known_by] : stale_) known_by &= ~bits;
  EachInode([&](uint32_t index, InodeRecord record) {
    if ((record.known_by & bits) == 0) return;
    record.known_by &= ~bits;
    meta_->UpdateInode(index, record);
  });
}

// A clock hand over the table: no use is recorded on the read path, so age in the table stands in
// for it. Symlink
// targets stay: they are tiny, and one made here may not be at the gateway yet.
void InodeCache::EvictSmall(uint64_t bytes) {
  const uint32_t capacity = meta_->reader().view().geometry().inode_capacity;
  uint64_t freed = 0;
  for (uint32_t steps = 1; steps < capacity && freed < bytes; ++steps) {
    if (++evict_hand_ >= capacity) evict_hand_ = 1;
    InodeRecord record = meta_->Inode(evict_hand_);
    if (!IsRegular(record.mode) || !HasExtent(record)) continue;
    if ((record.flags & shm::kOrphan) != 0) continue;  // not every gateway has it any more
    const Extent extent = ExtentOf(record);
    SetNoContent(record);
    meta_->UpdateInode(evict_hand_, record);
    slabs_.Free(extent);
    freed += extent.bytes;
  }
}

}  // namespace airstore::broker
