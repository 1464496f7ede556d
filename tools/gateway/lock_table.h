// SPDX-License-Identifier: Apache-2.0
//
// Advisory locks between hosts, as lock_state.h has them, in the memory of the one gateway.
//
// No call waits here. A wish that cannot be fulfilled may be left behind under a number; its
// session is told when it could be, and wishes again. Left wishes are also what deadlocks are found
// by.
//
// Sessions know their locks and say so (Assert) before anything else, and again after a restart.
// Until all sessions of an earlier life have, or have expired, nothing is given.
//
// Threads: any. `notify` is called without the lock.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "tools/gateway/lock_state.h"

namespace airstore::gateway {

class LockTable {
 public:
  // A lock that the session waits for on that inode can be had.
  using Notify = std::function<void(WorkspaceKey, const SessionId&, InodeNo)>;

  explicit LockTable(Notify notify) : notify_(std::move(notify)) {}

  // See LockState.
  LockAnswer Set(WorkspaceKey ws, const LockWish& wish, std::optional<LockSpec>* conflict);
  void CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait);
  bool Assert(WorkspaceKey ws, const SessionId& session, const std::vector<LockWish>& held,
              std::vector<LockWish>* lost);

  // A session of an earlier life of the gateway: what it holds is to be heard.
  void Expect(WorkspaceKey ws, const SessionId& session);
  // It was not heard of for too long, and is to know that when it comes back.
  void Expire(WorkspaceKey ws, const SessionId& session);
  void ReleaseSession(WorkspaceKey ws, const SessionId& session);
  uint64_t Count(WorkspaceKey ws);

 private:
  void Tell(WorkspaceKey ws, const LockState::Told& told) const;

  const Notify notify_;
  std::mutex mu_;
  std::map<WorkspaceKey, LockState> workspaces_;  // guarded by mu_
};

}  // namespace airstore::gateway
