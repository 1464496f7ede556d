// SPDX-License-Identifier: Apache-2.0
//
// InodeCache: the session's inode table and the small-file slabs behind it, as the broker changes
// them. What is in the table is what frontends see.
//
// Threads: the event loop.
// Owns: the meta segment and the slabs.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "broker/directory_parents.h"
#include "broker/freshness.h"
#include "broker/gateway.h"
#include "broker/mount_port.h"
#include "shm/meta_table.h"
#include "shm/slab.h"

namespace airstore::broker {

// Files up to this size are cached in slabs, larger ones in content files.
inline constexpr uint64_t kSmallFile = shm::kSlabMaxExtent;

// Of InodeRecord::flags, for brokers only: the gateway knows better, and known_by was taken away.
inline constexpr uint32_t kStale = 1u << 31;

class InodeCache {
 public:
  InodeCache(std::unique_ptr<shm::MetaWriter> meta, const shm::SessionId& session,
             uint64_t slab_limit, MountSet* mounts, shm::SlabPool::OnSegment on_segment,
             shm::SlabPool::OnEnded on_ended = nullptr);

  // The tables are a dead broker's, and these its slabs, attached read-only. Before anything else.
  void Adopt(std::vector<std::unique_ptr<shm::Segment>> slabs);
  // What was stale is stale again, and nothing is changing any more. When all mounts are there
  // whose kernels may hold something.
  void AdoptStale();

  shm::MetaWriter& meta() { return *meta_; }
  shm::SlabPool& slabs() { return slabs_; }

  uint32_t IndexOf(uint64_t inode) const { return meta_->IndexOf(inode); }
  // nullopt: not in the table.
  std::optional<shm::InodeRecord> Get(uint64_t inode) const;
  // Changes one record through `change` and publishes it. False: not in the table.
  template <typename Change>
  bool Update(uint64_t inode, Change change) {
    const uint32_t index = meta_->IndexOf(inode);
    if (index == shm::kNoIndex) return false;
    shm::InodeRecord record = meta_->Inode(index);
    change(record);
    meta_->UpdateInode(index, record);
    return true;
  }

  Freshness& freshness() { return freshness_; }

  // Adds an inode the gateway described; one that is already there stays as it is, unless
  // `refresh`.
  Result<uint32_t> Insert(const Attr& attr, bool refresh);

  // The gateway knows better than the record, which stays until Refresh(). Frontends ask meanwhile.
  void MarkStale(uint64_t inode);
  bool IsStale(uint64_t inode) const { return stale_.contains(inode); }
  std::vector<uint64_t> Stale() const;
  // Takes the gateway's attributes; content is not touched. REQUIRES: in the table.
  void Refresh(const Attr& attr);
  // It is gone at the gateway: without a name from now on.
  void MarkGone(uint64_t inode);
  // known_by, also of what is stale.
  uint64_t KnownBy(uint64_t inode) const;
  // Adds an inode made here.
  Result<uint32_t> InsertNew(const shm::InodeRecord& record);
  // Takes the inode out, its slab extent with it. REQUIRES: no mount's kernel holds it.
  void Remove(uint64_t inode);
  // As Remove, but false when a mount's kernel holds it or gets hold of it at this moment.
  bool RemoveUnlessHeld(uint64_t inode);

  DirectoryParents& directories() { return directories_; }
  // Of what is no directory: where all its names are; the root when they are in several; 0: not
  // known, as of all that a dead broker left.
  uint64_t ParentOf(uint64_t inode) const;
  void SetParent(uint64_t inode, uint64_t parent);
  // The inode at that index has come or was asked for since this was last called.
  bool TakeTouched(uint32_t index);

  // Puts the whole content of a regular file or symlink into a slab and publishes it there,
  // evicting others at the limit. ENOSPC when even that does not help.
  Result<void> StoreSmall(uint64_t inode, std::span<const uint8_t> content);
  // Takes the extent (if any) out of the record; content_kind becomes kNone.
  void DropSmall(uint64_t inode);

  // Says that the mount's kernel may hold the inode from now on.
  void MarkKnown(uint64_t inode, uint32_t mount);
  // What is told of it must not be kept (kChanging) until each begin has its end.
  void BeginChange(uint64_t inode);
  void EndChange(uint64_t inode);
  // No longer mounts: clears these bits everywhere.
  void ForgetMounts(uint64_t bits);

  // Calls `look(index, record)` for each inode.
  template <typename Look>
  void EachInode(Look look) {
    const uint32_t capacity = meta_->reader().view().geometry().inode_capacity;
    for (uint32_t index = 1, left = meta_->inode_count(); index < capacity && left != 0; ++index) {
      const shm::InodeRecord record = meta_->Inode(index);
      if (record.inode == 0) continue;
      --left;
      look(index, record);
    }
  }

 private:
  void EvictSmall(uint64_t bytes);
  uint64_t TakeStale(uint64_t inode);
  void Touch(uint32_t index);

  std::unique_ptr<shm::MetaWriter> meta_;
  shm::SlabPool slabs_;
  MountSet* mounts_;
  DirectoryParents directories_;
  std::vector<bool> touched_;      // by index
  std::vector<uint64_t> parents_;  // ditto
  uint32_t evict_hand_ = 1;
  Freshness freshness_;
  std::unordered_map<uint64_t, uint64_t> stale_;     // and what known_by was
  std::unordered_map<uint64_t, uint32_t> changing_;  // changes begun and not ended
};

shm::InodeRecord ToRecord(const Attr& attr);
inline bool IsDirectory(uint32_t mode) { return (mode & 0170000) == 0040000; }
inline bool IsRegular(uint32_t mode) { return (mode & 0170000) == 0100000; }
inline bool IsSymlink(uint32_t mode) { return (mode & 0170000) == 0120000; }

}  // namespace airstore::broker
