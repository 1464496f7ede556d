// SPDX-License-Identifier: Apache-2.0
//
// Who has locked what in one workspace, and who waits: flock (whole files) and byte ranges with
// POSIX rules (an owner's locks merge and split; they never conflict with themselves). The two
// kinds do not see each other, as on Linux.
//
// Only the rules; where the state is kept, and who is told, is for LockTable and RedisLocks.
//
// Threads: plain values.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tools/gateway/types.h"

namespace airstore::gateway {

struct LockOwner {
  SessionId session;
  std::string owner;
  friend auto operator<=>(const LockOwner&, const LockOwner&) = default;
};

enum class LockMode { kUnlock, kShared, kExclusive };

struct LockSpec {
  LockOwner owner;
  LockMode mode = LockMode::kUnlock;
  uint64_t start = 0;
  uint64_t end = UINT64_MAX;  // inclusive
  uint32_t pid = 0;
};

struct LockWish {
  InodeNo ino = 0;
  bool flock = false;
  LockSpec lock;
  bool test_only = false;
  uint64_t wait = 0;     // number to leave it under, per session; 0: do not
  bool process = false;  // the owner is a process, which cannot do anything while it waits
};

enum class LockAnswer {
  kDone,
  kHeld,      // by another
  kDeadlock,  // waiting would never end; nothing is left behind
  kFull,
  kUnknown,  // the session must say what it holds first
  kGrace,    // others must
};

struct LockState {
  struct FileKey {
    InodeNo ino = 0;
    bool flock = false;
    friend auto operator<=>(const FileKey&, const FileKey&) = default;
  };
  using WaitKey = std::pair<SessionId, uint64_t>;
  // Sessions that wait for a lock of that inode and can have it.
  using Told = std::set<std::pair<SessionId, InodeNo>>;

  std::map<FileKey, std::vector<LockSpec>> files;
  std::map<WaitKey, LockWish> waits;
  std::set<SessionId> known;     // have said what they hold
  std::set<SessionId> expected;  // are to say it
  std::set<SessionId> expired;

  // `conflict`: of kHeld, what stands in the way.
  LockAnswer Set(const LockWish& wish, std::optional<LockSpec>* conflict, Told* told);
  // The session holds these locks, and no others. False: it was away for too long, and holds none
  // of them any more. `lost`: those that somebody else holds.
  bool Assert(const SessionId& session, const std::vector<LockWish>& held,
              std::vector<LockWish>* lost, Told* told);
  // The session is gone; `late`: and is to know it when it comes back.
  void Drop(const SessionId& session, bool late, Told* told);
  uint64_t held() const {
    uint64_t count = 0;
    for (const auto& [file, locks] : files) count += locks.size();
    return count;
  }

  static constexpr size_t kMaxLocksPerInode = 65536;
  static constexpr size_t kMaxWaits = 65536;

 private:
  const LockSpec* Conflict(const LockWish& wish) const;
  bool WouldDeadlock(const LockWish& wish) const;
  void Put(const LockWish& wish);
  // Who waits on that file and need not any more.
  void Free(const FileKey& key, Told* told) const;
};

}  // namespace airstore::gateway
