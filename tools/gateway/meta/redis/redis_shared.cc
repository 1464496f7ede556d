// SPDX-License-Identifier: Apache-2.0
//
// RedisTransaction: what several gateways share besides the tree (events, live sessions, locks).
#include <algorithm>

#include "tools/gateway/clock.h"
#include "tools/gateway/meta/redis/redis_row.h"
#include "tools/gateway/meta/redis/redis_transaction.h"

namespace airstore::gateway {
namespace {

void Add(RowWriter& row, const LockSpec& lock) {
  row.Text(lock.owner.session.view())
      .Text(lock.owner.owner)
      .Number(static_cast<uint64_t>(lock.mode))
      .Number(lock.start)
      .Number(lock.end)
      .Number(lock.pid);
}

LockSpec TakeLock(RowReader& r) {
  LockSpec lock;
  const std::string session = r.Text();
  if (session.size() == 16) lock.owner.session = SessionId::From(session);
  lock.owner.owner = r.Text();
  lock.mode = r.Number() == static_cast<uint64_t>(LockMode::kExclusive) ? LockMode::kExclusive
                                                                        : LockMode::kShared;
  lock.start = r.Number();
  lock.end = r.Number();
  lock.pid = r.Number32();
  return lock;
}

std::string RowOf(const std::vector<LockSpec>& locks) {
  RowWriter row;
  row.Number(locks.size());
  for (const LockSpec& lock : locks) Add(row, lock);
  return row.Take();
}

std::string RowOf(const LockWish& wish) {
  RowWriter row;
  row.Number(wish.ino).Number(wish.flock ? 1 : 0).Number(wish.process ? 1 : 0);
  Add(row, wish.lock);
  return row.Take();
}

std::string FieldOf(const LockState::FileKey& key) {
  return BigEndian(key.ino) + (key.flock ? '\1' : '\0');
}
std::string FieldOf(const LockState::WaitKey& key) {
  return std::string(key.first.view()) + BigEndian(key.second);
}

using Rows = std::map<std::string, std::string>;

Rows FileRows(const LockState& state) {
  Rows rows;
  for (const auto& [key, locks] : state.files) rows[FieldOf(key)] = RowOf(locks);
  return rows;
}
Rows WaitRows(const LockState& state) {
  Rows rows;
  for (const auto& [key, wish] : state.waits) rows[FieldOf(key)] = RowOf(wish);
  return rows;
}
Rows SessionRows(const LockState& state) {
  Rows rows;
  for (const SessionId& id : state.expired) rows[std::string(id.view())] = "x";
  for (const SessionId& id : state.known) rows[std::string(id.view())] = "k";
  return rows;
}

}  // namespace

// Under the guard of leases, too: a commit, or a grant, knows all of them.
std::vector<InterestRecord> RedisTransaction::ListInterests(WorkspaceKey ws) {
  std::vector<InterestRecord> interests;
  for (const auto& [field, value] : view_.List(keys_.LeaseGuard(ws), keys_.Interests(ws), {}, 0)) {
    if (field.size() != 24) continue;
    interests.push_back({ws, SessionId::From(std::string_view(field).substr(0, 16)),
                         FromBigEndian(std::string_view(field).substr(16))});
  }
  return interests;
}

void RedisTransaction::PutInterest(const InterestRecord& interest) {
  const WorkspaceKey ws = interest.workspace;
  view_.Put(keys_.LeaseGuard(ws), keys_.Interests(ws),
            std::string(interest.session.view()) + BigEndian(interest.zone), {});
}

void RedisTransaction::DeleteInterest(const InterestRecord& interest) {
  const WorkspaceKey ws = interest.workspace;
  view_.Erase(keys_.LeaseGuard(ws), keys_.Interests(ws),
              std::string(interest.session.view()) + BigEndian(interest.zone));
}

void RedisTransaction::Tell(WorkspaceKey ws, const LoggedEvent& event) {
  bool first = true;
  for (RedisCommand& command : LogCommands(keys_, ws, event)) {
    const size_t place = view_.Do("", std::move(command));
    if (std::exchange(first, false) && event.event.changes) announcing_ = place;
  }
}

void RedisTransaction::Announce(WorkspaceKey ws, const SessionId& by, const ChangeSet& changes) {
  LoggedEvent logged;
  logged.session = by;
  logged.event.changes = std::make_shared<const ChangeSet>(changes);
  Tell(ws, logged);
}

std::vector<SessionId> RedisTransaction::ListLive(WorkspaceKey ws) {
  const auto replies = view_.Ask(keys_.LeaseGuard(ws), {{"SMEMBERS", keys_.Live(ws)}});
  std::vector<SessionId> live;
  if (replies.empty()) return live;
  for (const RedisReply& member : replies.front().items) {
    if (member.text.size() == 16) live.push_back(SessionId::From(member.text));
  }
  return live;
}

void RedisTransaction::PutLive(WorkspaceKey ws, const SessionId& id) {
  // The time of the commit, by the clock of whoever has the workspace.
  static constexpr const char* kHear = R"(
local t = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'GT', t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
)";
  const std::string member(id.view());
  view_.Do(keys_.LeaseGuard(ws), {"SADD", keys_.Live(ws), member});
  view_.Do("", {"EVAL", kHear, "1", keys_.Heard(ws), member});
}

void RedisTransaction::DeleteLive(WorkspaceKey ws, const SessionId& id) {
  const std::string member(id.view());
  view_.Do(keys_.LeaseGuard(ws), {"SREM", keys_.Live(ws), member});
  view_.Do("", {"ZREM", keys_.Heard(ws), member});
}

std::optional<int64_t> RedisTransaction::HeardMs(WorkspaceKey ws, const SessionId& id) {
  // It is its own guard: every sign of life changes it.
  const std::string heard = keys_.Heard(ws);
  const auto replies = view_.Ask(heard, {{"ZSCORE", heard, std::string(id.view())}});
  if (replies.empty() || replies.front().is_nil()) return std::nullopt;
  return strtoll(replies.front().text.c_str(), nullptr, 10);
}

void RedisTransaction::DeleteWatcher(WorkspaceKey ws, const SessionId& id) {
  view_.Do("", {"HDEL", keys_.Watchers(ws), std::string(id.view())});
}

Result<uint64_t> RedisTransaction::NextLeaseId(WorkspaceKey ws, uint64_t last) {
  // Above those of gateways that took them from their clocks.
  const auto least = std::max(last, static_cast<uint64_t>(WallClockNs() / 1000));
  const std::string count = keys_.LeaseCount(ws);
  const auto replies =
      view_.Ask("", {{"SET", count, std::to_string(least), "NX"}, {"INCR", count}});
  if (replies.size() != 2) return view_.failure();
  return static_cast<uint64_t>(replies[1].integer);
}

LockState RedisTransaction::ReadLocks(WorkspaceKey ws) {
  LockState state;
  const std::string guard = keys_.LockGuard(ws);
  for (const auto& [field, row] : view_.List(guard, keys_.Locks(ws), {}, 0)) {
    if (field.size() != 9) continue;
    auto& locks = state.files[{FromBigEndian(field), field[8] != '\0'}];
    RowReader r(row);
    for (uint64_t i = r.Number(); i > 0 && r.ok(); --i) locks.push_back(TakeLock(r));
    if (!r.ok()) view_.FailDamaged("locks of inode " + std::to_string(FromBigEndian(field)));
  }
  for (const auto& [field, row] : view_.List(guard, keys_.LockWaits(ws), {}, 0)) {
    if (field.size() != 24) continue;
    const LockState::WaitKey key{SessionId::From(std::string_view(field).substr(0, 16)),
                                 FromBigEndian(std::string_view(field).substr(16))};
    RowReader r(row);
    LockWish& wish = state.waits[key];
    wish.ino = r.Number();
    wish.flock = r.Number() != 0;
    wish.process = r.Number() != 0;
    wish.wait = key.second;
    wish.lock = TakeLock(r);
    if (!r.ok()) view_.FailDamaged("wish for a lock");
  }
  for (const auto& [field, row] : view_.List(guard, keys_.LockSessions(ws), {}, 0)) {
    if (field.size() != 16) continue;
    (row == "k" ? state.known : state.expired).insert(SessionId::From(field));
  }
  return state;
}

void RedisTransaction::WriteLocks(WorkspaceKey ws, const LockState& before,
                                  const LockState& after) {
  const std::string guard = keys_.LockGuard(ws);
  const auto write = [&](const RedisMap& map, const Rows& old_rows, const Rows& new_rows) {
    for (const auto& [field, row] : old_rows) {
      if (!new_rows.contains(field)) view_.Erase(guard, map, field);
    }
    for (const auto& [field, row] : new_rows) {
      const auto old_row = old_rows.find(field);
      if (old_row == old_rows.end() || old_row->second != row) view_.Put(guard, map, field, row);
    }
  };
  write(keys_.Locks(ws), FileRows(before), FileRows(after));
  write(keys_.LockWaits(ws), WaitRows(before), WaitRows(after));
  write(keys_.LockSessions(ws), SessionRows(before), SessionRows(after));
}

}  // namespace airstore::gateway
