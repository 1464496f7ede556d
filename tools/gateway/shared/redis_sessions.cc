// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/shared/redis_sessions.h"

#include <algorithm>

#include "tools/gateway/meta/redis/redis_row.h"

namespace airstore::gateway {
namespace {

constexpr int64_t kBreakMs = 5000;  // without a beat for so long: nobody was at work
constexpr size_t kExpiredAtOnce = 256;
constexpr std::chrono::seconds kBetweenAsks{1};

// Of a workspace: answers the time in milliseconds, when the last break ended, and who was not
// heard of for so long. One key, so that it works also while its slot goes to another server.
constexpr const char* kBeat = R"(
local heard, n = KEYS[1], redis.call('ZCARD', KEYS[1])
local beat, since = redis.call('ZSCORE', heard, 'beat'), redis.call('ZSCORE', heard, 'since')
if n <= (beat and 1 or 0) + (since and 1 or 0) then
  redis.call('DEL', heard)
  return {0}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if not since or now - tonumber(beat or '0') > tonumber(ARGV[1]) then
  since = now
  redis.call('ZADD', heard, now, 'since')
end
redis.call('ZADD', heard, now, 'beat')
local before = now - tonumber(ARGV[2])
if tonumber(since) > before then return {now} end
local silent = redis.call('ZRANGEBYSCORE', heard, '-inf', before, 'LIMIT', 0, ARGV[3])
table.insert(silent, 1, now)
table.insert(silent, 2, before)
return silent
)";
// Of the store, for gateways of other versions.
constexpr const char* kBeatOfAll = R"(
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'beat', now)
return now
)";
// Not of one that has expired: that one has to join.
constexpr const char* kTouch = R"(
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
return 1
)";
constexpr const char* kList = R"(
local t = redis.call('TIME')
return redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
)";
// Unless that was said again meanwhile.
constexpr const char* kUnlist = R"(
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])
)";
constexpr int64_t kUnlistAfterMs = 60'000;

std::string MemberOf(WorkspaceKey ws) { return BigEndian(static_cast<uint64_t>(ws)); }

}  // namespace

// Of gateways that kept the living in their memory.
Result<void> RedisSessions::Load() {
  std::vector<LeaseRecord> leases;
  const auto listed = UntilNoConflict([&]() -> Result<void> {
    auto reader = store_.Read();
    if (!reader) return reader.error();
    leases = (*reader)->ListLeases(std::nullopt);
    return (*reader)->status();
  });
  if (!listed) return listed.error();
  for (const LeaseRecord& lease : leases) {
    SessionRecord holder;
    holder.id = lease.session;
    holder.workspace = lease.workspace;
    bool lives = false;
    if (auto found = Leases(holder, &lives); !found) return found.error();
    if (!lives) AIRSTORE_TRY(Join(holder));
  }
  return {};
}

Result<std::optional<SessionRecord>> RedisSessions::Find(const SessionId& id) {
  {
    std::lock_guard lock(mu_);
    if (auto it = known_.find(id); it != known_.end()) return std::optional(it->second.record);
  }
  auto session = UntilNoConflict([&]() -> Result<std::optional<SessionRecord>> {
    auto reader = store_.Read();
    if (!reader) return reader.error();
    auto row = (*reader)->GetSession(id);
    AIRSTORE_TRY((*reader)->status());
    return row;
  });
  if (session && *session) {
    std::lock_guard lock(mu_);
    known_[id] = {**session, SteadyNow(), {}};
  }
  return session;
}

Result<void> RedisSessions::Join(const SessionRecord& session) {
  // First: a session that lives in a workspace nobody looks at would never expire.
  auto listed = store_.Call({{"EVAL", kList, "1", keys_.Living(), MemberOf(session.workspace)}});
  if (!listed) return listed.error();
  const auto joined = UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    if (!(*writer)->GetWorkspace(session.workspace)) {
      AIRSTORE_TRY((*writer)->status());
      return Error{ENOENT, "the workspace does not exist any more"};
    }
    (*writer)->PutLive(session.workspace, session.id);
    return (*writer)->Commit();
  });
  if (!joined) return joined.error();
  std::lock_guard lock(mu_);
  Known& known = known_[session.id];
  known.record = session;
  known.heard = known.told = SteadyNow();
  return {};
}

Result<void> RedisSessions::Remember(const SessionRecord& session) {
  {
    std::lock_guard lock(mu_);
    const auto it = known_.find(session.id);
    if (it != known_.end() && SteadyNow() - it->second.told < linger()) {
      it->second.record = session;
      it->second.heard = SteadyNow();
      return {};
    }
  }
  return Join(session);
}

void RedisSessions::Touch(const SessionId& id, SteadyTime now) {
  WorkspaceKey ws = 0;
  {
    std::lock_guard lock(mu_);
    const auto it = known_.find(id);
    if (it == known_.end()) return;
    it->second.heard = now;
    if (now - it->second.told < linger()) return;
    it->second.told = now;
    ws = it->second.record.workspace;
  }
  // Should it not arrive: there is another one soon, and time enough. And that somebody lives
  // there, should whoever joined have been told wrong, or the store have forgotten it.
  (void)store_.Call({{"EVAL", kTouch, "1", keys_.Heard(ws), std::string(id.view())}});
  (void)store_.Call({{"EVAL", kList, "1", keys_.Living(), MemberOf(ws)}});
}

bool RedisSessions::IsLive(const SessionId& id) {
  const auto session = Find(id);
  if (!session || !*session) return !session;  // whoever asks wants to end it
  auto replies =
      store_.Call({{"ZSCORE", keys_.Heard((*session)->workspace), std::string(id.view())}});
  return !replies || !replies->front().is_nil();
}

Result<void> RedisSessions::Drop(const SessionRecord& session) {
  return UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    if (!(*writer)->GetWorkspace(session.workspace)) {
      AIRSTORE_TRY((*writer)->status());
      auto gone =
          store_.Call({{"ZREM", keys_.Heard(session.workspace), std::string(session.id.view())}});
      return gone ? Result<void>() : gone.error();
    }
    for (const LeaseRecord& lease : (*writer)->ListLeases(session.workspace)) {
      if (lease.session == session.id) (*writer)->DeleteLease(lease);
    }
    for (const InterestRecord& interest : (*writer)->ListInterests(session.workspace)) {
      if (interest.session == session.id) (*writer)->DeleteInterest(interest);
    }
    (*writer)->DeleteLive(session.workspace, session.id);
    return (*writer)->Commit();
  });
}

Result<bool> RedisSessions::DropSilent(const SessionRecord& session, int64_t before_ms) {
  const WorkspaceKey ws = session.workspace;
  return UntilNoConflict([&]() -> Result<bool> {
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    RedisTransaction& txn = **writer;
    const auto heard = txn.HeardMs(ws, session.id);
    const auto leases = txn.ListLeases(ws);
    const auto interests = txn.ListInterests(ws);
    const LockState locks = txn.ReadLocks(ws);
    const bool lives = txn.GetWorkspace(ws).has_value();
    AIRSTORE_TRY(txn.status());
    if (!heard || *heard > before_ms) return false;
    if (!lives) {
      // All that it had is swept, and nothing may come there again.
      auto gone = store_.Call({{"ZREM", keys_.Heard(ws), std::string(session.id.view())}});
      return gone ? Result<bool>(true) : gone.error();
    }
    txn.DeleteLive(ws, session.id);
    for (const LeaseRecord& lease : leases) {
      if (lease.session == session.id) txn.DeleteLease(lease);
    }
    for (const InterestRecord& interest : interests) {
      if (interest.session == session.id) txn.DeleteInterest(interest);
    }
    LockState after = locks;
    LockState::Told told;
    after.Drop(session.id, true, &told);
    txn.WriteLocks(ws, locks, after);
    for (const auto& [waiter, inode] : told) {
      LoggedEvent event;
      event.session = waiter;
      event.event.lock_freed = inode;
      txn.Tell(ws, event);
    }
    txn.DeleteWatcher(ws, session.id);
    AIRSTORE_TRY(txn.Commit());
    return true;
  });
}

Result<void> RedisSessions::Forget(const SessionRecord& session) {
  AIRSTORE_TRY(Drop(session));
  {
    std::lock_guard lock(mu_);
    known_.erase(session.id);
  }
  TellFreed(session.workspace);
  return {};
}

void RedisSessions::ForgetWorkspace(WorkspaceKey ws) {
  RedisNews news;
  news.kind = RedisNews::kEnd;
  news.workspace = ws;
  Hear(news);
  TellFreed(ws);
}

void RedisSessions::Hear(const RedisNews& news) {
  if (news.kind == RedisNews::kFree) return WakeWaiters(news.workspace);
  if (news.kind != RedisNews::kEnd || news.workspace == 0) return;
  std::lock_guard lock(mu_);
  std::erase_if(known_, [&](const auto& known) {
    return known.second.record.workspace == news.workspace &&
           (!news.session || *news.session == known.first);
  });
}

Result<std::vector<LeaseRecord>> RedisSessions::Leases(const SessionRecord& session, bool* lives,
                                                       std::set<InodeNo>* zones) {
  const std::string own(session.id.view());
  const std::string behind = RedisView::Behind(own);
  auto replies = store_.CallAtOnce({{"SISMEMBER", keys_.Live(session.workspace), own},
                                    {"ZRANGEBYLEX", keys_.Leases(session.workspace).key, "-", "+"},
                                    {"ZRANGEBYLEX", keys_.Interests(session.workspace).key,
                                     "[" + own, behind.empty() ? "+" : "(" + behind}});
  if (!replies) return replies.error();
  *lives = (*replies)[0].integer == 1;
  std::vector<LeaseRecord> leases;
  for (const RedisReply& member : (*replies)[1].items) {
    const std::string_view row = member.text;
    if (row.size() != 32) continue;
    leases.push_back({FromBigEndian(row), session.workspace, FromBigEndian(row.substr(8)),
                      SessionId::From(row.substr(16))});
  }
  if (zones == nullptr) return leases;
  zones->clear();
  for (const RedisReply& member : (*replies)[2].items) {
    if (member.text.size() == 24) {
      zones->insert(FromBigEndian(std::string_view(member.text).substr(16)));
    }
  }
  return leases;
}

Result<std::vector<LeaseRecord>> RedisSessions::Arrive(const SessionRecord& session,
                                                       std::set<InodeNo>* zones) {
  bool lives = false;
  auto leases = Leases(session, &lives, zones);
  if (leases && !lives) {
    // It was away for too long, or comes from elsewhere.
    AIRSTORE_TRY(Join(session));
    leases = Leases(session, &lives, zones);
  }
  return leases;
}

Result<Sessions::Standing> RedisSessions::Enter(const SessionRecord& session) {
  Standing standing;
  auto leases = Arrive(session, &standing.zones);
  if (!leases) return leases.error();
  std::erase_if(*leases, [&](const LeaseRecord& lease) {
    return lease.session == session.id || lease.inode != kRootInode;
  });
  RecallAll(*leases);
  standing.held_by_other = !leases->empty();
  return standing;
}

Result<bool> RedisSessions::Register(const SessionRecord& session,
                                     const std::vector<InodeNo>& zones) {
  return UntilNoConflict([&]() -> Result<bool> {
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    RedisTransaction& txn = **writer;
    const auto live = txn.ListLive(session.workspace);
    std::vector<LeaseRecord> leases = txn.ListLeases(session.workspace);
    AIRSTORE_TRY(txn.status());
    // Just expired: nobody would take away what it registers.
    if (std::find(live.begin(), live.end(), session.id) == live.end()) {
      writer->reset();
      AIRSTORE_TRY(Join(session));
      return Error{kStoreConflict, "the session has expired meanwhile"};
    }
    std::erase_if(leases, [&](const LeaseRecord& lease) {
      return lease.session == session.id ||
             (lease.inode != kRootInode &&
              std::find(zones.begin(), zones.end(), lease.inode) == zones.end());
    });
    if (!leases.empty()) {
      writer->reset();
      RecallAll(leases);
      return false;
    }
    PutZones(txn, session, zones);
    AIRSTORE_TRY(txn.Commit());
    return true;
  });
}

Result<void> RedisSessions::Unregister(const SessionRecord& session, InodeNo zone) {
  return UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    (*writer)->DeleteInterest({session.workspace, session.id, zone});
    return (*writer)->Commit();
  });
}

Result<bool> RedisSessions::BeginWatch(const SessionRecord& session) {
  const auto standing = Enter(session);
  if (!standing) return standing.error();
  if (standing->zones.contains(kRootInode)) return true;
  const auto done = UntilNoConflict([&]() -> Result<void> {
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    const auto live = (*writer)->ListLive(session.workspace);
    AIRSTORE_TRY((*writer)->status());
    if (std::find(live.begin(), live.end(), session.id) == live.end()) {
      writer->reset();
      AIRSTORE_TRY(Join(session));
      return Error{kStoreConflict, "the session has expired meanwhile"};
    }
    (*writer)->PutInterest({session.workspace, session.id, kRootInode});
    return (*writer)->Commit();
  });
  if (!done) return done.error();
  return false;
}

Result<bool> RedisSessions::RecallOthers(const SessionRecord& session) {
  auto leases = Arrive(session, nullptr);
  if (!leases) return leases.error();
  std::erase_if(*leases, [&](const LeaseRecord& lease) { return lease.session == session.id; });
  RecallAll(*leases);
  return !leases->empty();
}

void RedisSessions::RecallAll(const std::vector<LeaseRecord>& leases) {
  std::vector<LeaseRecord> due;
  {
    // A holder that is busy giving it back need not hear it more than once a second.
    std::lock_guard lock(mu_);
    const SteadyTime now = SteadyNow();
    std::erase_if(recalled_, [&](const auto& one) { return now - one.second > lifetime_; });
    for (const LeaseRecord& lease : leases) {
      SteadyTime& last = recalled_[lease.id];
      if (now - last < kBetweenAsks) continue;
      last = now;
      due.push_back(lease);
    }
  }
  for (const LeaseRecord& lease : due) recall_(lease.workspace, lease.session, lease.id);
}

Result<Sessions::Acquired> RedisSessions::Acquire(const SessionRecord& session, InodeNo ino,
                                                  bool may_write) {
  return UntilNoConflict([&]() -> Result<Acquired> {
    const auto standing = Enter(session);
    if (!standing) return standing.error();
    if (standing->held_by_other) return Acquired{{}, true};
    if (!may_write) return Acquired{};
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    RedisTransaction& txn = **writer;
    const auto live = txn.ListLive(session.workspace);
    const auto leases = txn.ListLeases(session.workspace);
    AIRSTORE_TRY(txn.status());
    // Just expired: nobody would take the lease of one that does not live.
    if (std::find(live.begin(), live.end(), session.id) == live.end()) {
      return Error{kStoreConflict, "the session has expired meanwhile"};
    }
    uint64_t last = 0;
    std::optional<LeaseRecord> zone;
    for (const LeaseRecord& lease : leases) {
      const bool own = lease.session == session.id;
      // Granted to another one since we looked: the next try recalls it.
      if (!own && lease.inode == kRootInode) return Acquired{{}, true};
      if (own && lease.inode == kRootInode) return Acquired{lease, false};
      if (own && lease.inode == ino) zone = lease;
      last = lease.id;
    }
    InodeNo granted = kRootInode;
    if (live.size() != 1) {
      if (ino == kRootInode) return Acquired{};
      if (zone) return Acquired{zone, false};
      const ZoneState state = LookAtZone(txn, session, ino, live);
      AIRSTORE_TRY(txn.status());
      if (!state.grantable) {
        writer->reset();
        AskAll(session.workspace, ino, state.in_the_way);
        return Acquired{};
      }
      granted = ino;
    }
    const auto fresh = txn.NextLeaseId(session.workspace, last);
    if (!fresh) return fresh.error();
    const LeaseRecord lease{*fresh, session.workspace, granted, session.id};
    txn.PutLease(lease);
    AIRSTORE_TRY(txn.Commit());
    return Acquired{lease, false};
  });
}

void RedisSessions::AskAll(WorkspaceKey ws, InodeNo zone, std::vector<SessionId> who) {
  {
    std::lock_guard lock(mu_);
    const SteadyTime now = SteadyNow();
    std::erase_if(asked_, [&](const auto& one) { return now - one.second > kBetweenAsks; });
    std::erase_if(
        who, [&](const SessionId& id) { return !asked_.emplace(std::pair(id, zone), now).second; });
  }
  for (const SessionId& id : who) {
    if (ask_) ask_(ws, id, zone);
  }
}

Result<void> RedisSessions::Release(const SessionRecord& session, uint64_t lease_id) {
  bool released = false;
  const auto done = UntilNoConflict([&]() -> Result<void> {
    released = false;
    auto writer = store_.WriteShared();
    if (!writer) return writer.error();
    for (const LeaseRecord& lease : (*writer)->ListLeases(session.workspace)) {
      if (lease.id != lease_id || lease.session != session.id) continue;
      (*writer)->DeleteLease(lease);
      released = true;
    }
    AIRSTORE_TRY((*writer)->status());
    return released ? (*writer)->Commit() : Result<void>();
  });
  if (!done) return done.error();
  if (released) TellFreed(session.workspace);
  return {};
}

Result<std::vector<LeaseRecord>> RedisSessions::LeasesOf(const SessionRecord& session) {
  bool lives = false;
  auto leases = Leases(session, &lives);
  if (!leases) return leases.error();
  std::erase_if(*leases, [&](const LeaseRecord& lease) { return lease.session != session.id; });
  return leases;
}

void RedisSessions::WhenFree(const SessionRecord& session, std::function<void()> again) {
  {
    std::lock_guard lock(mu_);
    waiters_.push_back({session.workspace, std::move(again)});
  }
  bool lives = false;
  const auto leases = Leases(session, &lives);
  const bool held = leases && std::any_of(leases->begin(), leases->end(), [&](const auto& lease) {
                      return lease.session != session.id;
                    });
  if (!held) WakeWaiters(session.workspace);
}

void RedisSessions::WakeWaiters(WorkspaceKey ws) {
  std::vector<Waiter> woken;
  {
    std::lock_guard lock(mu_);
    std::erase_if(waiters_, [&](Waiter& waiter) {
      if (ws != 0 && waiter.workspace != ws) return false;
      woken.push_back(std::move(waiter));
      return true;
    });
  }
  for (const Waiter& waiter : woken) waiter.again();
}

void RedisSessions::TellFreed(WorkspaceKey ws) {
  RedisNews news;
  news.kind = RedisNews::kFree;
  news.workspace = ws;
  (void)store_.Call({{"PUBLISH", keys_.Channel(), news.Pack()}});  // else they look each second
}

Result<std::vector<RedisSessions::Place>> RedisSessions::Living() {
  auto replies = store_.Call({{"ZRANGE", keys_.Living(), "0", "-1", "WITHSCORES"}});
  if (!replies) return replies.error();
  const std::vector<RedisReply>& items = replies->front().items;
  std::vector<Place> places;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].text.size() != 8) continue;
    places.push_back({static_cast<WorkspaceKey>(FromBigEndian(items[i].text)), items[i + 1].text});
  }
  return places;
}

Result<std::vector<RedisSessions::Silent>> RedisSessions::FindSilent(SteadyTime now) {
  auto beat = store_.Call({{"EVAL", kBeatOfAll, "1", keys_.Beat()}});
  if (!beat) return beat.error();
  const auto living = Living();
  if (!living) return living.error();
  const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(lifetime_ + linger() -
                                                                              (now - SteadyNow()));
  std::vector<RedisCommand> asked;
  for (const Place& place : *living) {
    asked.push_back({"EVAL", kBeat, "1", keys_.Heard(place.workspace), std::to_string(kBreakMs),
                     std::to_string(patience.count()), std::to_string(kExpiredAtOnce)});
  }
  std::vector<RedisReply> answers;
  Error failed{0, {}};
  if (auto all = store_.Call(asked)) {
    answers = std::move(*all);
  } else {
    // Others are not to wait for one that is damaged, or whose server is away.
    for (const RedisCommand& command : asked) {
      auto one = store_.Call({command});
      if (!one) failed = one.error();
      answers.push_back(one ? std::move(one->front()) : RedisReply());
    }
  }
  std::vector<Silent> silent;
  for (size_t i = 0; i < answers.size() && i < living->size(); ++i) {
    const std::vector<RedisReply>& items = answers[i].items;
    const Place& place = (*living)[i];
    if (items.size() == 1 && items[0].integer == 0 &&
        beat->front().integer - strtoll(place.since.c_str(), nullptr, 10) > kUnlistAfterMs) {
      (void)store_.Call(
          {{"EVAL", kUnlist, "1", keys_.Living(), MemberOf(place.workspace), place.since}});
    }
    for (size_t k = 2; k < items.size(); ++k) {
      if (items[k].text.size() != 16) continue;
      SessionRecord session;
      session.workspace = place.workspace;
      session.id = SessionId::From(items[k].text);
      silent.push_back({std::move(session), items[1].integer});
    }
  }
  if (failed.code != 0 && silent.empty()) return failed;
  return silent;
}

Result<std::vector<SessionRecord>> RedisSessions::Expire(SteadyTime now) {
  WakeWaiters(0);
  {
    std::lock_guard lock(mu_);
    std::erase_if(known_, [&](const auto& known) { return now - known.second.heard > lifetime_; });
  }
  const auto silent = FindSilent(now);
  if (!silent) return silent.error();
  std::vector<SessionRecord> expired;
  Error failed{0, {}};
  for (const auto& [session, before_ms] : *silent) {
    const auto dropped = DropSilent(session, before_ms);
    // Others are not to wait for one whose workspace is damaged.
    if (!dropped) failed = dropped.error();
    if (!dropped || !*dropped) continue;
    RedisNews news;
    news.kind = RedisNews::kForget;
    news.workspace = session.workspace;
    news.session = session.id;
    (void)store_.Call({{"PUBLISH", keys_.Channel(), news.Pack()}});  // else it is waited for once
    TellFreed(session.workspace);
    {
      std::lock_guard lock(mu_);
      known_.erase(session.id);
    }
    expired.push_back(session);
  }
  if (failed.code != 0) return failed;
  return expired;
}

Result<uint64_t> RedisSessions::CountLive() {
  const auto living = Living();
  if (!living) return living.error();
  std::vector<RedisCommand> commands;
  for (const Place& place : *living) commands.push_back({"SCARD", keys_.Live(place.workspace)});
  if (commands.empty()) return uint64_t{0};
  auto replies = store_.Call(commands);
  if (!replies) return replies.error();
  uint64_t live = 0;
  for (const RedisReply& count : *replies) live += static_cast<uint64_t>(count.integer);
  return live;
}

std::vector<SessionRecord> RedisSessions::LiveSessions() {
  std::lock_guard lock(mu_);
  std::vector<SessionRecord> sessions;
  for (const auto& [id, known] : known_) sessions.push_back(known.record);
  return sessions;
}

}  // namespace airstore::gateway
