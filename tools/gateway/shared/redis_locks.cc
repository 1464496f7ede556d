// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/shared/redis_locks.h"

namespace airstore::gateway {

Result<void> RedisLocks::Do(WorkspaceKey ws, const Change& change) {
  return UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    RedisTransaction& txn = **writer;
    const LockState before = txn.ReadLocks(ws);
    AIRSTORE_TRY(txn.status());
    LockState after = before;
    LockState::Told told;
    change(after, &told);
    txn.WriteLocks(ws, before, after);
    for (const auto& [session, inode] : told) {
      LoggedEvent event;
      event.session = session;
      event.event.lock_freed = inode;
      txn.Tell(ws, event);
    }
    // Also where nothing changes: it says that what was read is of one moment.
    return txn.Commit();
  });
}

Result<LockAnswer> RedisLocks::Set(WorkspaceKey ws, const LockWish& wish,
                                   std::optional<LockSpec>* conflict) {
  LockAnswer answer = LockAnswer::kDone;
  AIRSTORE_TRY(Do(ws, [&](LockState& state, LockState::Told* told) {
    conflict->reset();
    answer = state.Set(wish, conflict, told);
  }));
  return answer;
}

Result<void> RedisLocks::CancelWait(WorkspaceKey ws, const SessionId& session, uint64_t wait) {
  return Do(ws, [&](LockState& state, LockState::Told*) { state.waits.erase({session, wait}); });
}

Result<bool> RedisLocks::Assert(WorkspaceKey ws, const SessionId& session,
                                const std::vector<LockWish>& held, std::vector<LockWish>* lost) {
  bool in_time = true;
  AIRSTORE_TRY(Do(ws, [&](LockState& state, LockState::Told* told) {
    lost->clear();
    in_time = state.Assert(session, held, lost, told);
  }));
  return in_time;
}

Result<void> RedisLocks::Expire(WorkspaceKey ws, const SessionId& session) {
  return Do(ws, [&](LockState& state, LockState::Told* told) { state.Drop(session, true, told); });
}

Result<void> RedisLocks::ReleaseSession(WorkspaceKey ws, const SessionId& session) {
  return Do(ws, [&](LockState& state, LockState::Told* told) { state.Drop(session, false, told); });
}

Result<uint64_t> RedisLocks::Count(WorkspaceKey ws) {
  auto reader = store_.Read();
  if (!reader) return reader.error();
  // Its readers are transactions like its writers, without a commit.
  auto& txn = static_cast<RedisTransaction&>(**reader);
  const uint64_t held = txn.ReadLocks(ws).held();
  AIRSTORE_TRY(txn.status());
  return held;
}

}  // namespace airstore::gateway
