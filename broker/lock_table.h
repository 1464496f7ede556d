// SPDX-License-Identifier: Apache-2.0
//
// LockTable: the locks that are held in a session, and through which open files they were taken:
// when a descriptor is closed, or the last one of an open file, they go as on a local file system.
//
// The kernel does not say of a range whether it is a process's or an open file's (OFD). It need
// not: a process's is gone with the first close of one of its descriptors (Flush), an open file's
// with the last (Release), and then no process's is left that was taken through it.
//
// Threads: one at a time.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "broker/lock_ranges.h"

namespace airstore::broker {

// What is asked for, or held.
struct LockCall {
  uint64_t inode = 0;
  bool flock = false;  // of the whole file; the two kinds do not see each other
  LockRange range;
  uint64_t handle = 0;  // the open file it is taken through, as the mount numbers them
  friend bool operator==(const LockCall&, const LockCall&) = default;
};

class LockTable {
 public:
  const LockRange* Conflict(const LockCall& call) const;
  std::vector<LockOwner> Holders(const LockCall& call) const;
  // What its owner holds within the call's range.
  std::vector<LockRange> Own(const LockCall& call) const;
  // Locks, or unlocks. REQUIRES: no conflict.
  void Set(const LockCall& call);
  // The owner (of the call's range) has closed a descriptor of the open file `handle`.
  void Flush(const LockCall& call, int64_t now_ns);
  // Nobody has the open file `handle` of the mount (of the call's range) any more.
  void Release(const LockCall& call);
  // Nor anything of that mount. Returns the inodes that had a lock of it.
  std::vector<uint64_t> ReleaseMount(uint32_t mount);
  // Flush, or Release, would take something.
  bool FlushTakes(const LockCall& call) const;
  bool ReleaseTakes(const LockCall& call) const;
  // Those who have locked something through the open file `handle` of the mount.
  std::vector<LockOwner> OwnersThrough(const LockCall& call) const;
  // A descriptor of an open file of this holder was closed at that time or later: more may come.
  bool ClosedSince(const LockCall& call, const LockOwner& holder, int64_t since_ns) const;

  bool HasLocks(uint64_t inode) const { return files_.contains(inode); }
  size_t size(uint64_t inode) const;
  // Calls that would make this table.
  void ForEach(const std::function<void(const LockCall&)>& visit) const;

 private:
  // `owner` has locked something through an open file.
  struct Through {
    LockOwner owner;
    uint64_t handle = 0;
    int64_t closed_ns = 0;  // when one of its descriptors was, last
  };
  struct File {
    LockRanges ranges;
    LockRanges whole;
    std::vector<Through> through;

    const LockRanges& of(const LockCall& call) const { return call.flock ? whole : ranges; }
    LockRanges& of(const LockCall& call) { return call.flock ? whole : ranges; }
    void Tidy();
  };
  static bool IsThrough(const Through& through, const LockCall& call) {
    return through.owner.mount == call.range.owner.mount && through.handle == call.handle;
  }
  void DropIfEmpty(uint64_t inode);

  std::unordered_map<uint64_t, File> files_;
};

}  // namespace airstore::broker
