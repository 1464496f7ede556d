// SPDX-License-Identifier: Apache-2.0
//
// Locks between hosts, kept in Redis: the rules of lock_state.h, over what is read, changed and
// written back in one transaction. So they outlive gateways, and there is no time of grace.
//
// Threads: any.
// Ownership: borrows the store.
#pragma once

#include <functional>

#include "tools/gateway/host_locks.h"
#include "tools/gateway/meta/redis/redis_transaction.h"

namespace airstore::gateway {

class RedisLocks final : public HostLocks {
 public:
  explicit RedisLocks(RedisStore& store) : store_(store) {}

  Result<LockAnswer> Set(WorkspaceKey ws, const LockWish& wish,
                         std::optional<LockSpec>* conflict) override;
  Result<void> CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait) override;
  Result<bool> Assert(WorkspaceKey ws, const SessionId& session, const std::vector<LockWish>& held,
                      std::vector<LockWish>* lost) override;
  Result<void> Expire(WorkspaceKey ws, const SessionId& session) override;
  Result<void> ReleaseSession(WorkspaceKey ws, const SessionId& session) override;
  Result<uint64_t> Count(WorkspaceKey ws) override;

 private:
  using Change = std::function<void(LockState& state, LockState::Told* told)>;
  // Does it as a whole, again when another gateway was in between.
  Result<void> Do(WorkspaceKey ws, const Change& change);

  RedisStore& store_;
};

}  // namespace airstore::gateway
