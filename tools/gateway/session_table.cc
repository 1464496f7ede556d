// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/session_table.h"

#include <algorithm>

namespace airstore::gateway {
namespace {

constexpr std::chrono::seconds kBetweenAsks{1};
constexpr std::chrono::seconds kBreak{5};  // without a look for so long: nobody was at work

}  // namespace

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

bool SessionTable::RecallSome(const SessionRecord& session, const std::vector<InodeNo>& zones,
                              std::unique_lock<std::mutex>* lock) {
  bool held = false;
  std::vector<LeaseRecord> to_recall;
  for (auto& [id, lease] : leases_) {
    const LeaseRecord& record = lease.record;
    if (record.workspace != session.workspace || record.session == session.id) continue;
    if (!zones.empty() && std::find(zones.begin(), zones.end(), record.inode) == zones.end()) {
      continue;
    }
    held = true;
    // A holder that is busy giving it back need not hear it more than once a second.
    const SteadyTime now = SteadyNow();
    if (now - lease.recalled < kBetweenAsks) continue;
    lease.recalled = now;
    to_recall.push_back(record);
  }
  lock->unlock();
  for (const LeaseRecord& lease : to_recall) recall_(lease.workspace, lease.session, lease.id);
  return held;
}

Result<bool> SessionTable::RecallOthers(const SessionRecord& session) {
  std::unique_lock lock(mu_);
  return RecallSome(session, {}, &lock);
}

Result<Sessions::Standing> SessionTable::Enter(const SessionRecord& session) {
  Standing standing;
  {
    std::unique_lock lock(mu_);
    standing.held_by_other = RecallSome(session, {kRootInode}, &lock);
  }
  return UntilNoConflict([&]() -> Result<Standing> {
    standing.zones.clear();
    auto reader = store_.Read();
    if (!reader) return reader.error();
    for (const InterestRecord& interest : (*reader)->ListInterests(session.workspace)) {
      if (interest.session == session.id) standing.zones.insert(interest.zone);
    }
    AIRSTORE_TRY((*reader)->status());
    return standing;
  });
}

Result<bool> SessionTable::Register(const SessionRecord& session,
                                    const std::vector<InodeNo>& zones) {
  std::unique_lock lock(mu_);
  std::vector<InodeNo> conflicting = zones;
  conflicting.push_back(kRootInode);
  if (RecallSome(session, conflicting, &lock)) return false;
  lock.lock();
  const bool taken = std::any_of(leases_.begin(), leases_.end(), [&](const auto& lease) {
    const LeaseRecord& record = lease.second.record;
    return record.workspace == session.workspace && record.session != session.id &&
           std::find(conflicting.begin(), conflicting.end(), record.inode) != conflicting.end();
  });
  if (taken) return false;  // since we looked: the next try recalls it
  live_.try_emplace(session.id, Live{session, SteadyNow()});
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    PutZones(**writer, session, zones);
    return (*writer)->Commit();
  }));
  return true;
}

Result<void> SessionTable::Unregister(const SessionRecord& session, InodeNo zone) {
  std::lock_guard lock(mu_);
  return UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    (*writer)->DeleteInterest({session.workspace, session.id, zone});
    return (*writer)->Commit();
  });
}

Result<bool> SessionTable::BeginWatch(const SessionRecord& session) {
  const auto standing = Enter(session);
  if (!standing) return standing.error();
  if (standing->zones.contains(kRootInode)) return true;
  std::lock_guard lock(mu_);
  live_.try_emplace(session.id, Live{session, SteadyNow()});
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    (*writer)->PutInterest({session.workspace, session.id, kRootInode});
    return (*writer)->Commit();
  }));
  return false;
}

Result<Sessions::Acquired> SessionTable::Acquire(const SessionRecord& session, InodeNo ino,
                                                 bool may_write) {
  std::unique_lock lock(mu_);
  if (RecallSome(session, {kRootInode}, &lock)) return Acquired{{}, true};
  if (!may_write) return Acquired{};
  lock.lock();
  // It may have expired since it was admitted. A lease of who is not here would never end.
  live_.try_emplace(session.id, Live{session, SteadyNow()});
  const LeaseRecord* zone = nullptr;
  for (const auto& [id, lease] : leases_) {
    const LeaseRecord& record = lease.record;
    if (record.workspace != session.workspace) continue;
    const bool own = record.session == session.id;
    // Granted to another one since we looked: the next try recalls it.
    if (!own && record.inode == kRootInode) return Acquired{{}, true};
    if (own && record.inode == kRootInode) return Acquired{record, false};
    if (own && record.inode == ino) zone = &record;
  }
  if (IsAlone(session)) return Grant(session, kRootInode);
  if (ino == kRootInode) return Acquired{};
  if (zone != nullptr) return Acquired{*zone, false};
  return AcquireZone(session, ino, &lock);
}

Result<Sessions::ZoneState> SessionTable::ZoneStateOf(const SessionRecord& session, InodeNo zone) {
  std::vector<SessionId> live;
  for (const auto& [id, one] : live_) {
    if (one.record.workspace == session.workspace) live.push_back(id);
  }
  return UntilNoConflict([&]() -> Result<ZoneState> {
    auto reader = store_.Read();
    if (!reader) return reader.error();
    auto state = LookAtZone(**reader, session, zone, live);
    AIRSTORE_TRY((*reader)->status());
    return state;
  });
}

Result<Sessions::Acquired> SessionTable::AcquireZone(const SessionRecord& session, InodeNo zone,
                                                     std::unique_lock<std::mutex>* lock) {
  auto state = ZoneStateOf(session, zone);
  if (!state) return state.error();
  if (state->grantable) return Grant(session, zone);
  const SteadyTime now = SteadyNow();
  std::erase_if(asked_, [&](const auto& one) { return now - one.second > kBetweenAsks; });
  std::erase_if(state->in_the_way, [&](const SessionId& id) {
    return !asked_.emplace(std::pair(id, zone), now).second;
  });
  lock->unlock();
  for (const SessionId& id : state->in_the_way) {
    if (ask_) ask_(session.workspace, id, zone);
  }
  return Acquired{};
}

Result<Sessions::Acquired> SessionTable::Grant(const SessionRecord& session, InodeNo ino) {
  // Ids rise over restarts too: the clock keeps them above those of released leases.
  const auto clock = static_cast<uint64_t>(WallClockNs() / 1000);
  const LeaseRecord lease{std::max(last_lease_id_ + 1, clock), session.workspace, ino, session.id};
  std::vector<SessionId> live;
  for (const auto& [id, one] : live_) {
    if (one.record.workspace == session.workspace) live.push_back(id);
  }
  bool granted = true;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    // A batch may have moved the zone, or carried interests, since we looked.
    granted = ino == kRootInode || LookAtZone(**writer, session, ino, live).grantable;
    if (!granted) return (*writer)->status();
    (*writer)->PutLease(lease);
    return (*writer)->Commit();
  }));
  if (!granted) return Acquired{};
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

Result<std::vector<LeaseRecord>> SessionTable::LeasesOf(const SessionRecord& session) {
  std::lock_guard lock(mu_);
  std::vector<LeaseRecord> leases;
  for (const auto& [id, lease] : leases_) {
    if (lease.record.session == session.id) leases.push_back(lease.record);
  }
  return leases;
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

Result<void> SessionTable::DropInterests(const std::vector<SessionRecord>& of) {
  if (of.empty()) return {};
  return UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    for (const SessionRecord& session : of) {
      for (const InterestRecord& interest : (*writer)->ListInterests(session.workspace)) {
        if (interest.session == session.id) (*writer)->DeleteInterest(interest);
      }
    }
    return (*writer)->Commit();
  });
}

Result<std::vector<SessionRecord>> SessionTable::Expire(SteadyTime now) {
  std::unique_lock lock(mu_);
  // A silence that this process has slept through is nobody's: what they said waits to be heard.
  const auto since_look = now - std::exchange(looked_, now);
  if (since_look > kBreak) {
    for (auto& [id, live] : live_) live.seen += since_look;
  }
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
  auto dropped = DropLeases(leases);
  if (dropped) dropped = DropInterests(expired);
  if (!dropped) {
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
