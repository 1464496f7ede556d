// SPDX-License-Identifier: Apache-2.0
//
// MountPort: what the session's shared state needs of each of its mounts; MountSet: all of them.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/task.h"
#include "shm/base/result.h"

namespace airstore::broker {

class MountPort {
 public:
  virtual ~MountPort() = default;
  virtual uint32_t index() const = 0;  // bit in InodeRecord::known_by
  virtual bool passthrough() const = 0;
  // What this mount's kernel holds of the inode at that index of the inode table.
  virtual uint32_t Lookups(uint32_t inode_index) const = 0;
  virtual uint32_t LocalOpens(uint32_t inode_index) const = 0;
  virtual bool HazardNames(uint64_t hazard_key) const = 0;

  virtual Result<int32_t> BackingOpen(int file) = 0;
  virtual void BackingClose(int32_t backing_id) = 0;

  // Make this mount's kernel forget; each returns when it has.
  virtual Task<void> InvalidateName(uint64_t parent, std::string name) = 0;
  virtual Task<void> InvalidateData(uint64_t inode, uint64_t offset, uint64_t length) = 0;
  virtual void InvalidateAttr(uint64_t inode) = 0;
};

class MountSet {
 public:
  void Add(MountPort* mount) { mounts_.push_back(mount); }
  void Remove(MountPort* mount) { std::erase(mounts_, mount); }
  const std::vector<MountPort*>& all() const { return mounts_; }
  size_t size() const { return mounts_.size(); }

  bool AnyLookups(uint32_t inode_index) const {
    for (const MountPort* mount : mounts_) {
      if (mount->Lookups(inode_index) != 0) return true;
    }
    return false;
  }
  bool AnyLocalOpens(uint32_t inode_index) const {
    for (const MountPort* mount : mounts_) {
      if (mount->LocalOpens(inode_index) != 0) return true;
    }
    return false;
  }
  bool HazardNames(uint64_t hazard_key) const {
    for (const MountPort* mount : mounts_) {
      if (mount->HazardNames(hazard_key)) return true;
    }
    return false;
  }
  MountPort* Find(uint32_t index) const {
    for (MountPort* mount : mounts_) {
      if (mount->index() == index) return mount;
    }
    return nullptr;
  }

 private:
  std::vector<MountPort*> mounts_;
};

}  // namespace airstore::broker
