// SPDX-License-Identifier: Apache-2.0
//
// LockRanges: who holds which bytes of one file, by the rules of POSIX: an owner never stands in
// its own way, what it locks replaces what it held there, neighbours of one type merge.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <vector>

namespace airstore::broker {

// Whom a lock belongs to: a process (ranges of fcntl) or an open file (flock, OFD ranges), as the
// kernel of a mount numbers them. One process is two owners on two mounts.
struct LockOwner {
  uint32_t mount = 0;
  uint64_t id = 0;
  friend auto operator<=>(const LockOwner&, const LockOwner&) = default;
};

enum class LockType : uint32_t { kUnlock, kShared, kExclusive };

struct LockRange {
  LockOwner owner;
  LockType type = LockType::kUnlock;
  uint64_t first = 0;
  uint64_t last = UINT64_MAX;  // inclusive
  uint32_t pid = 0;            // to show to others
  friend bool operator==(const LockRange&, const LockRange&) = default;
};

class LockRanges {
 public:
  // What stands in the way of `wanted`: of several the one that begins first; nullptr: nothing.
  const LockRange* Conflict(const LockRange& wanted) const;
  // Whoever stands in its way, each once.
  std::vector<LockOwner> Holders(const LockRange& wanted) const;
  // Locks, or unlocks. REQUIRES: no conflict.
  void Set(const LockRange& wanted);
  // Takes all of an owner; false: it had none.
  bool Drop(const LockOwner& owner);
  bool Has(const LockOwner& owner) const;

  const std::vector<LockRange>& all() const { return held_; }
  bool empty() const { return held_.empty(); }

 private:
  std::vector<LockRange> held_;  // those of one owner do not overlap
};

}  // namespace airstore::broker
