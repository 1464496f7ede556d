// SPDX-License-Identifier: Apache-2.0
//
// Advisory locks between hosts: flock (whole files) and byte ranges with POSIX rules (an owner's
// locks merge and split; they never conflict with themselves). The two kinds do not see each other,
// as on Linux.
//
// No call waits here. A wish that cannot be fulfilled may be left behind under a number; its
// session is told when it could be, and wishes again. Left wishes are also what deadlocks are found
// by.
//
// Locks live in memory: sessions know theirs and say so (Assert) before anything else, and again
// after a restart. Until all sessions of an earlier life have, or have expired, nothing is given.
//
// Threads: any. `notify` is called without the lock.
#pragma once

#include <functional>
#include <map>
#include <mutex>
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

class LockTable {
 public:
  // A lock that the session waits for on that inode can be had.
  using Notify = std::function<void(WorkspaceKey, const SessionId&, InodeNo)>;

  explicit LockTable(Notify notify) : notify_(std::move(notify)) {}

  // `conflict`: of kHeld, what stands in the way.
  LockAnswer Set(WorkspaceKey ws, const LockWish& wish, std::optional<LockSpec>* conflict);
  void CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait);
  // The session holds these locks, and no others. False: it was away for too long, and holds none
  // of them any more. `lost`: those that somebody else holds.
  bool Assert(WorkspaceKey ws, const SessionId& session, const std::vector<LockWish>& held,
              std::vector<LockWish>* lost);

  // A session of an earlier life of the gateway: what it holds is to be heard.
  void Expect(WorkspaceKey ws, const SessionId& session);
  // It was not heard of for too long, and is to know that when it comes back.
  void Expire(WorkspaceKey ws, const SessionId& session);
  void ReleaseSession(WorkspaceKey ws, const SessionId& session);

  static constexpr size_t kMaxLocksPerInode = 65536;
  static constexpr size_t kMaxWaits = 65536;  // of a workspace

 private:
  struct FileKey {
    InodeNo ino = 0;
    bool flock = false;
    friend auto operator<=>(const FileKey&, const FileKey&) = default;
  };
  using WaitKey = std::pair<SessionId, uint64_t>;
  struct Workspace {
    std::map<FileKey, std::vector<LockSpec>> files;
    std::map<WaitKey, LockWish> waits;
    std::set<SessionId> known;     // have said what they hold
    std::set<SessionId> expected;  // are to say it
    std::set<SessionId> expired;
  };
  using Told = std::set<std::pair<SessionId, InodeNo>>;

  static const LockSpec* Conflict(const Workspace& in, const LockWish& wish);
  static bool WouldDeadlock(const Workspace& in, const LockWish& wish);
  static void Put(Workspace* in, const LockWish& wish);
  // Who waits on that file and need not any more.
  static void Free(const Workspace& in, const FileKey& key, Told* told);
  static void Drop(Workspace* in, const SessionId& session, Told* told);
  void Tell(WorkspaceKey ws, const Told& told) const;

  const Notify notify_;
  std::mutex mu_;
  std::map<WorkspaceKey, Workspace> workspaces_;  // guarded by mu_
};

}  // namespace airstore::gateway
