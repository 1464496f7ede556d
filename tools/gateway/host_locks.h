// SPDX-License-Identifier: Apache-2.0
//
// Locks between hosts (lock_state.h), wherever they are kept: LocalLocks for a gateway that is the
// only one, RedisLocks for several.
//
// Threads: any.
// Fails: when the store does.
#pragma once

#include <vector>

#include "shm/base/result.h"
#include "tools/gateway/lock_table.h"

namespace airstore::gateway {

class HostLocks {
 public:
  virtual ~HostLocks() = default;
  // See LockState.
  virtual Result<LockAnswer> Set(WorkspaceKey ws, const LockWish& wish,
                                 std::optional<LockSpec>* conflict) = 0;
  virtual Result<void> CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait) = 0;
  virtual Result<bool> Assert(WorkspaceKey ws, const SessionId& session,
                              const std::vector<LockWish>& held, std::vector<LockWish>* lost) = 0;
  // It was not heard of for too long, and is to know that when it comes back.
  virtual Result<void> Expire(WorkspaceKey ws, const SessionId& session) = 0;
  virtual Result<void> ReleaseSession(WorkspaceKey ws, const SessionId& session) = 0;
  // Locks that are held; of byte ranges, each.
  virtual Result<uint64_t> Count(WorkspaceKey ws) = 0;
};

class LocalLocks final : public HostLocks {
 public:
  explicit LocalLocks(LockTable::Notify notify) : table_(std::move(notify)) {}

  Result<LockAnswer> Set(WorkspaceKey ws, const LockWish& wish,
                         std::optional<LockSpec>* conflict) override {
    return table_.Set(ws, wish, conflict);
  }
  Result<void> CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait) override {
    table_.CancelWait(ws, session, wait);
    return {};
  }
  Result<bool> Assert(WorkspaceKey ws, const SessionId& session, const std::vector<LockWish>& held,
                      std::vector<LockWish>* lost) override {
    return table_.Assert(ws, session, held, lost);
  }
  Result<void> Expire(WorkspaceKey ws, const SessionId& session) override {
    table_.Expire(ws, session);
    return {};
  }
  Result<void> ReleaseSession(WorkspaceKey ws, const SessionId& session) override {
    table_.ReleaseSession(ws, session);
    return {};
  }
  Result<uint64_t> Count(WorkspaceKey ws) override { return table_.Count(ws); }
  // A session of an earlier life of the gateway: what it holds is to be heard.
  void Expect(WorkspaceKey ws, const SessionId& session) { table_.Expect(ws, session); }

 private:
  LockTable table_;
};

}  // namespace airstore::gateway
