// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/session_table.h"

#include <algorithm>

namespace airstore::gateway {

Result<void> SessionTable::Load() {
  auto reader = store_.Read();
  if (!reader) return reader.error();
  const auto leases = (*reader)->ListLeases(std::nullopt);
  std::lock_guard lock(mu_);
  for (const SessionId& id : (*reader)->ListSessionsUnseenSince(INT64_MAX)) {
    if (auto session = (*reader)->GetSession(id)) live_[id] = {std::move(*session), SteadyNow()};
  }
  for (const LeaseRecord& lease : leases) {
    if (!live_.contains(lease.session)) continue;
    leases_[lease.id] = {lease, {}};
    last_lease_id_ = std::max(last_lease_id_, lease.id);
  }
  return (*reader)->status();
}

Result<std::optional<SessionRecord>> SessionTable::Find(const SessionId& id) {
  {
    std::lock_guard lock(mu_);
    if (auto it = live_.find(id); it != live_.end()) return std::optional(it->second.record);
  }
  auto session = UntilNoConflict([&]() -> Result<std::optional<SessionRecord>> {
    auto reader = store_.Read();
    if (!reader) return reader.error();
    auto row = (*reader)->GetSession(id);
    AIRSTORE_TRY((*reader)->status());
    return row;
  });
  if (session && *session) AIRSTORE_TRY(Remember(**session));
  return session;
}

Result<void> SessionTable::Remember(const SessionRecord& session) {
  std::lock_guard lock(mu_);
  live_[session.id] = {session, SteadyNow()};
  return {};
}

void SessionTable::Touch(const SessionId& id, SteadyTime now) {
  std::lock_guard lock(mu_);
  if (auto it = live_.find(id); it != live_.end()) it->second.seen = now;
}

bool SessionTable::IsLive(const SessionId& id) {
  std::lock_guard lock(mu_);
  return live_.contains(id);
}

Result<void> SessionTable::Forget(const SessionRecord& session) {
  std::lock_guard lock(mu_);
  live_.erase(session.id);
  std::erase_if(leases_,
                [&](const auto& lease) { return lease.second.record.session == session.id; });
  WakeWaiters(0);
  return {};
}

void SessionTable::ForgetWorkspace(WorkspaceKey ws) {
  std::lock_guard lock(mu_);
  std::erase_if(live_, [&](const auto& live) { return live.second.record.workspace == ws; });
  std::erase_if(leases_, [&](const auto& lease) { return lease.second.record.workspace == ws; });
  WakeWaiters(ws);
}

void SessionTable::WhenFree(const SessionRecord& session, std::function<void()> again) {
  std::lock_guard lock(mu_);
  waiters_.push_back({session.workspace, std::move(again)});
  const bool held = std::any_of(leases_.begin(), leases_.end(), [&](const auto& lease) {
    return lease.second.record.workspace == session.workspace &&
           lease.second.record.session != session.id;
  });
  if (!held) WakeWaiters(session.workspace);
}

void SessionTable::WakeWaiters(WorkspaceKey ws) {
  std::erase_if(waiters_, [&](const Waiter& waiter) {
    if (ws != 0 && waiter.workspace != ws) return false;
    waiter.again();
    return true;
  });
}

bool SessionTable::IsAlone(const SessionRecord& session) const {
  return std::none_of(live_.begin(), live_.end(), [&](const auto& live) {
    return live.second.record.workspace == session.workspace && live.first != session.id;
  });
}

Result<bool> SessionTable::RecallOthers(const SessionRecord& session) {
  bool held = false;
  std::vector<LeaseRecord> to_recall;
  {
    std::lock_guard lock(mu_);
    for (auto& [id, lease] : leases_) {
      if (lease.record.workspace != session.workspace || lease.record.session == session.id) {
        continue;
      }
      held = true;
      // A holder that is busy giving it back need not hear it more than once a second.
      const SteadyTime now = SteadyNow();
      if (now - lease.recalled < std::chrono::seconds(1)) continue;
      lease.recalled = now;
      to_recall.push_back(lease.record);
    }
  }
  for (const LeaseRecord& lease : to_recall) recall_(lease.workspace, lease.session, lease.id);
  return held;
}

Result<Sessions::Acquired> SessionTable::Acquire(const SessionRecord& session, InodeNo ino,
                                                 bool may_write) {
  const auto held = RecallOthers(session);
  if (!held) return held.error();
  if (*held) return Acquired{{}, true};
  if (!may_write) return Acquired{};
  std::lock_guard lock(mu_);
  for (const auto& [id, lease] : leases_) {
    if (lease.record.workspace != session.workspace) continue;
    // Granted to another one since we looked: the next try recalls it.
    if (lease.record.session != session.id) return Acquired{{}, true};
    if (lease.record.inode == ino) return Acquired{lease.record, false};
  }
  if (!IsAlone(session)) return Acquired{};
  // Ids rise over restarts too: the clock keeps them above those of released leases.
  const auto clock = static_cast<uint64_t>(WallClockNs() / 1000);
  const LeaseRecord lease{std::max(last_lease_id_ + 1, clock), session.workspace, ino, session.id};
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    (*writer)->PutLease(lease);
    return (*writer)->Commit();
  }));
  last_lease_id_ = lease.id;
  leases_[lease.id] = {lease, {}};
  return Acquired{lease, false};
}

Result<void> SessionTable::Release(const SessionRecord& session, uint64_t lease_id) {
  std::lock_guard lock(mu_);
  const auto it = leases_.find(lease_id);
  if (it == leases_.end() || !(it->second.record.session == session.id)) return {};
  const WorkspaceKey ws = it->second.record.workspace;
  AIRSTORE_TRY(DropLeases({it->second.record}));
  WakeWaiters(ws);
  return {};
}

Result<std::optional<LeaseRecord>> SessionTable::LeaseOf(const SessionRecord& session) {
  std::lock_guard lock(mu_);
  for (const auto& [id, lease] : leases_) {
    if (lease.record.session == session.id) return std::optional(lease.record);
  }
  return std::optional<LeaseRecord>();
}

Result<void> SessionTable::DropLeases(const std::vector<LeaseRecord>& leases) {
  if (leases.empty()) return {};
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    for (const LeaseRecord& lease : leases) (*writer)->DeleteLease(lease);
    return (*writer)->Commit();
  }));
  for (const LeaseRecord& lease : leases) leases_.erase(lease.id);
  return {};
}

Result<std::vector<SessionRecord>> SessionTable::Expire(SteadyTime now) {
  std::unique_lock lock(mu_);
  std::vector<SessionRecord> expired;
  std::vector<LeaseRecord> leases;
  for (const auto& [id, live] : live_) {
    if (now - live.seen > lifetime_) expired.push_back(live.record);
  }
  for (const auto& [id, lease] : leases_) {
    if (std::any_of(expired.begin(), expired.end(), [&](const SessionRecord& session) {
          return session.id == lease.record.session;
        })) {
      leases.push_back(lease.record);
    }
  }
  if (auto dropped = DropLeases(leases); !dropped) {
    WakeWaiters(0);
    return dropped.error();
  }
  for (const SessionRecord& session : expired) live_.erase(session.id);
  WakeWaiters(0);
  lock.unlock();
  for (const SessionRecord& session : expired) {
    if (gone_) AIRSTORE_TRY(gone_(session));
  }
  return expired;
}

Result<uint64_t> SessionTable::CountLive() {
  std::lock_guard lock(mu_);
  return uint64_t{live_.size()};
}

std::vector<SessionRecord> SessionTable::LiveSessions() {
  std::lock_guard lock(mu_);
  std::vector<SessionRecord> sessions;
  for (const auto& [id, live] : live_) sessions.push_back(live.record);
  return sessions;
}

}  // namespace airstore::gateway
