// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/lock_table.h"

namespace airstore::gateway {

LockAnswer LockTable::Set(WorkspaceKey ws, const LockWish& wish,
                          std::optional<LockSpec>* conflict) {
  LockState::Told told;
  LockAnswer answer = LockAnswer::kDone;
  {
    std::lock_guard lock(mu_);
    answer = workspaces_[ws].Set(wish, conflict, &told);
  }
  Tell(ws, told);
  return answer;
}

void LockTable::CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait) {
  std::lock_guard lock(mu_);
  workspaces_[ws].waits.erase({session, wait});
}

bool LockTable::Assert(WorkspaceKey ws, const SessionId& session, const std::vector<LockWish>& held,
                       std::vector<LockWish>* lost) {
  LockState::Told told;
  bool in_time = true;
  {
    std::lock_guard lock(mu_);
    in_time = workspaces_[ws].Assert(session, held, lost, &told);
  }
  Tell(ws, told);
  return in_time;
}

void LockTable::Expect(WorkspaceKey ws, const SessionId& session) {
  std::lock_guard lock(mu_);
  workspaces_[ws].expected.insert(session);
}

void LockTable::Expire(WorkspaceKey ws, const SessionId& session) {
  LockState::Told told;
  {
    std::lock_guard lock(mu_);
    workspaces_[ws].Drop(session, true, &told);
  }
  Tell(ws, told);
}

void LockTable::ReleaseSession(WorkspaceKey ws, const SessionId& session) {
  LockState::Told told;
  {
    std::lock_guard lock(mu_);
    workspaces_[ws].Drop(session, false, &told);
  }
  Tell(ws, told);
}

uint64_t LockTable::Count(WorkspaceKey ws) {
  std::lock_guard lock(mu_);
  const auto found = workspaces_.find(ws);
  return found == workspaces_.end() ? 0 : found->second.held();
}

void LockTable::Tell(WorkspaceKey ws, const LockState::Told& told) const {
  for (const auto& [session, inode] : told) notify_(ws, session, inode);
}

}  // namespace airstore::gateway
