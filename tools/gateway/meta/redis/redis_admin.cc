// SPDX-License-Identifier: Apache-2.0
//
// RedisTransaction: its life, and rows about the tree's users (workspaces, sessions, outcomes,
// leases, tokens, members).
#include <algorithm>

#include "tools/gateway/clock.h"
#include "tools/gateway/meta/redis/redis_row.h"
#include "tools/gateway/meta/redis/redis_transaction.h"

namespace airstore::gateway {
namespace {

constexpr uint64_t kMakingMs = 600'000;  // a workspace that has no name after so long is given up

WorkspaceKey KeyFrom(std::string_view field) {
  return static_cast<WorkspaceKey>(FromBigEndian(field));
}

std::string FieldOf(WorkspaceKey ws) { return BigEndian(static_cast<uint64_t>(ws)); }
std::string FieldOf(std::string_view id) { return std::string(id) + '\0'; }

std::string RowOf(const Workspace& w) {
  return RowWriter()
      .Text(w.id)
      .Text(w.name)
      .Signed(w.created_ns)
      .Number(w.next_inode)
      .Number(w.quota_bytes)
      .Number(w.quota_inodes)
      .Take();
}

std::string RowOf(const SessionRecord& s) {
  return RowWriter()
      .Text(s.principal)
      .Text(s.client)
      .Number(s.last_sequence)
      .Signed(s.seen_ns)
      .Take();
}

std::optional<SessionRecord> SessionFrom(WorkspaceKey ws, std::string_view id,
                                         std::string_view row) {
  RowReader r(row);
  SessionRecord s{SessionId::From(id), ws, r.Text(), r.Text(), r.Number(), r.Signed()};
  return r.ok() ? std::optional(std::move(s)) : std::nullopt;
}

std::string RowOf(const TokenRecord& t) {
  return RowWriter()
      .Text(t.hash)
      .Signed(t.workspace)
      .Text(t.principal)
      .Number(t.read_only ? 1 : 0)
      .Signed(t.created_ns)
      .Signed(t.revoked_ns)
      .Text(t.name)
      .Text(t.member)
      .Signed(t.expires_ns)
      .Take();
}

std::optional<TokenRecord> TokenFrom(std::string_view id, std::string_view row) {
  RowReader r(row);
  TokenRecord t;
  t.id = id;
  t.hash = r.Text();
  t.workspace = r.Signed();
  t.principal = r.Text();
  t.read_only = r.Number() != 0;
  t.created_ns = r.Signed();
  t.revoked_ns = r.Signed();
  t.name = r.Text();
  t.member = r.Text();
  t.expires_ns = r.Signed();
  return r.ok() ? std::optional(std::move(t)) : std::nullopt;
}

std::string RowOf(const MemberRecord& m) {
  return RowWriter()
      .Signed(m.workspace)
      .Text(m.email)
      .Text(m.name)
      .Text(m.role)
      .Signed(m.created_ns)
      .Take();
}

std::optional<MemberRecord> MemberFrom(std::string_view id, std::string_view row) {
  RowReader r(row);
  MemberRecord m{std::string(id), r.Signed(), r.Text(), r.Text(), r.Text(), r.Signed()};
  return r.ok() ? std::optional(std::move(m)) : std::nullopt;
}

// Without the NUL that ends it in a map.
std::string_view IdFrom(std::string_view field) { return field.substr(0, field.size() - 1); }

}  // namespace

RedisTransaction::RedisTransaction(RedisStore& store, std::unique_lock<std::mutex> writer_lock)
    : store_(store),
      keys_(store.keys()),
      writer_lock_(std::move(writer_lock)),
      route_(store.pool_),
      view_(route_, writer_lock_.owns_lock()) {}

Result<void> RedisTransaction::status() const { return view_.Validate(); }

Result<void> RedisTransaction::Commit() {
  // A new workspace is there before it has a name, one that is deleted is nameless first.
  const auto order =
      deleted_.empty() ? RedisView::Order::kDecidesLast : RedisView::Order::kDecidesFirst;
  AIRSTORE_TRY(view_.Commit(SlotOf(keys_.CommonGuard()), order));
  if (announcing_ && *announcing_ < view_.done().size()) {
    announced_ = CursorOf(view_.done()[*announcing_].text);
  }
  if (!behind_.empty()) (void)store_.Call(behind_);
  for (const WorkspaceKey ws : deleted_) Sweep(ws);
  return {};
}

std::optional<Workspace> RedisTransaction::ReadWorkspace(WorkspaceKey ws) {
  const auto row = view_.Get(keys_.WorkspaceGuard(ws), keys_.WorkspaceRow(ws));
  if (!row) return std::nullopt;
  RowReader r(*row);
  Workspace w;
  w.key = ws;
  w.id = r.Text();
  w.name = r.Text();
  w.created_ns = r.Signed();
  w.next_inode = r.Number();
  w.quota_bytes = r.Number();
  w.quota_inodes = r.Number();
  if (!r.ok()) {
    view_.FailDamaged("workspace " + std::to_string(ws));
    return std::nullopt;
  }
  return w;
}

std::optional<Workspace> RedisTransaction::GetWorkspace(WorkspaceKey ws) {
  auto w = ReadWorkspace(ws);
  if (!w) return std::nullopt;
  // Without a guard: every change of content moves it, and who only looks at it is in nobody's way.
  const auto usage = view_.Ask("", {{"HMGET", keys_.Usage(ws), "b", "i"}});
  if (usage.empty() || usage.front().items.size() != 2) return std::nullopt;
  w->used_bytes = strtoull(usage.front().items[0].text.c_str(), nullptr, 10);
  w->inodes = strtoull(usage.front().items[1].text.c_str(), nullptr, 10);
  return w;
}

std::optional<Workspace> RedisTransaction::FindWorkspace(std::string_view name_or_id) {
  auto found = view_.Get(keys_.CommonGuard(), keys_.ByName(name_or_id));
  if (!found) found = view_.Get(keys_.CommonGuard(), keys_.ById(name_or_id));
  if (!found) return std::nullopt;
  return GetWorkspace(KeyFrom(*found));
}

std::vector<WorkspaceKey> RedisTransaction::WorkspaceKeys() {
  std::vector<WorkspaceKey> all;
  for (const auto& [field, name] : view_.List(keys_.CommonGuard(), keys_.Workspaces(), {}, 0)) {
    all.push_back(KeyFrom(field));
  }
  return all;
}

std::vector<Workspace> RedisTransaction::ListWorkspaces() {
  std::vector<Workspace> all;
  for (const WorkspaceKey ws : WorkspaceKeys()) {
    if (auto workspace = GetWorkspace(ws)) all.push_back(std::move(*workspace));
  }
  std::sort(all.begin(), all.end(),
            [](const Workspace& a, const Workspace& b) { return a.name < b.name; });
  return all;
}

WorkspaceKey RedisTransaction::AddWorkspace(const Workspace& workspace) {
  // At once, whatever becomes of the transaction: keys are never used again.
  const auto next = view_.Ask("", {{"INCR", keys_.NextWorkspace()}});
  if (next.empty()) return 0;
  const WorkspaceKey ws = next.front().integer;
  const auto since_ms = static_cast<uint64_t>(WallClockNs() / 1'000'000);
  const std::string making = FieldOf(ws) + BigEndian(since_ms);
  if (view_.Ask("", {{"ZADD", keys_.Dying().key, "0", making}}).empty()) return 0;
  view_.Put(keys_.WorkspaceGuard(ws), keys_.WorkspaceRow(ws), RowOf(workspace));
  AddUsage(ws, static_cast<int64_t>(workspace.used_bytes), static_cast<int64_t>(workspace.inodes));
  const std::string guard = keys_.CommonGuard();
  view_.Put(guard, keys_.Workspaces(), FieldOf(ws), workspace.name);
  view_.Put(guard, keys_.ByName(workspace.name), FieldOf(ws));
  view_.Put(guard, keys_.ById(workspace.id), FieldOf(ws));
  // Whoever takes us for dead meanwhile changes that.
  (void)view_.Find(guard, keys_.Dying(), FieldOf(ws));
  view_.Erase(guard, keys_.Dying(), FieldOf(ws));
  return ws;
}

void RedisTransaction::SetNextInode(WorkspaceKey ws, InodeNo next) {
  auto workspace = ReadWorkspace(ws);
  if (!workspace) return;
  workspace->next_inode = next;
  view_.Put(keys_.WorkspaceGuard(ws), keys_.WorkspaceRow(ws), RowOf(*workspace));
}

void RedisTransaction::SetQuota(WorkspaceKey ws, uint64_t bytes, uint64_t inodes) {
  auto workspace = ReadWorkspace(ws);
  if (!workspace) return;
  workspace->quota_bytes = bytes;
  workspace->quota_inodes = inodes;
  view_.Put(keys_.WorkspaceGuard(ws), keys_.WorkspaceRow(ws), RowOf(*workspace));
}

void RedisTransaction::AddUsage(WorkspaceKey ws, int64_t bytes, int64_t inodes) {
  if (bytes != 0) view_.Do("", {"HINCRBY", keys_.Usage(ws), "b", std::to_string(bytes)});
  if (inodes != 0) view_.Do("", {"HINCRBY", keys_.Usage(ws), "i", std::to_string(inodes)});
}

void RedisTransaction::DeleteWorkspace(WorkspaceKey ws) {
  const auto workspace = ReadWorkspace(ws);
  if (!workspace) return;
  const std::string guard = keys_.CommonGuard();
  view_.Erase(guard, keys_.ByName(workspace->name));
  view_.Erase(guard, keys_.ById(workspace->id));
  view_.Erase(guard, keys_.Workspaces(), FieldOf(ws));
  view_.Put(guard, keys_.Dying(), FieldOf(ws), "");
  for (const MemberRecord& member : ListMembers(ws)) DeleteMember(member.id);
  // Without its row nobody gets into it. Tokens stay: who has one is told that it is gone.
  view_.Erase(keys_.WorkspaceGuard(ws), keys_.WorkspaceRow(ws));
  deleted_.push_back(ws);
}

void RedisTransaction::Sweep(WorkspaceKey ws) {
  const std::string all = keys_.Of(ws, "");
  const std::string block = keys_.Of(ws, "b:");
  const std::string session = keys_.Sessions(ws).key;
  // Whoever deleted it may have died before that was done. Where anything fails, the next round of
  // the collector goes on.
  if (!store_.CallAtOnce(
          {{"UNLINK", keys_.WorkspaceRow(ws)}, {"INCR", keys_.WorkspaceGuard(ws)}})) {
    return;
  }
  bool has_blocks = false;
  const auto done = store_.Scan(all, [&](const std::vector<std::string>& keys) -> Result<void> {
    std::vector<RedisCommand> commands;
    RedisCommand unlink = {"UNLINK"};
    for (const std::string& key : keys) {
      if (key.starts_with(block)) {
        has_blocks = true;
        // As touched in 1970: its time is over. NX: not a second time.
        commands.push_back({"ZADD", keys_.Garbage(ws), "NX", "0", key.substr(block.size())});
        commands.push_back({"SET", key,
                            RowWriter().Number(0).Number(0).Number(0).Signed(0).Number(0).Take(),
                            "XX"});
      } else if (key == session) {
        auto sessions = store_.Call({{"ZRANGEBYLEX", key, "-", "+"}});
        if (!sessions) return sessions.error();
        std::vector<RedisCommand> places;
        for (const RedisReply& member : sessions->front().items) {
          if (member.text.size() < 16) continue;
          const SessionId id = SessionId::From(member.text.substr(0, 16));
          places.push_back({"UNLINK", keys_.WorkspaceOf(id)});
        }
        if (!places.empty()) AIRSTORE_TRY(store_.Call(places));
        unlink.push_back(key);
      } else if (key != keys_.Garbage(ws)) {
        unlink.push_back(key);
      }
    }
    if (unlink.size() > 1) commands.push_back(std::move(unlink));
    if (!commands.empty()) AIRSTORE_TRY(store_.Call(commands));
    return {};
  });
  if (done && !has_blocks) (void)store_.Call({{"ZREM", keys_.Dying().key, FieldOf(ws)}});
}

std::vector<WorkspaceKey> RedisTransaction::SweepDying() {
  // Under the guard of names, which it would have been given under.
  static constexpr const char* kGiveUp = R"(
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], 0, ARGV[2])
redis.call('INCR', KEYS[2])
return 1
)";
  const auto now_ms = static_cast<uint64_t>(WallClockNs() / 1'000'000);
  std::vector<WorkspaceKey> dying;
  for (const auto& [field, since] : view_.List("", keys_.Dying(), {}, 0)) {
    if (!since.empty()) {
      if (now_ms - FromBigEndian(since) < kMakingMs) continue;
      auto given_up = store_.Call(
          {{"EVAL", kGiveUp, "2", keys_.Dying().key, keys_.CommonGuard(), field + since, field}});
      if (!given_up || given_up->front().integer == 0) continue;
    }
    dying.push_back(KeyFrom(field));
    Sweep(dying.back());
  }
  return dying;
}

std::optional<WorkspaceKey> RedisTransaction::PlaceOf(const SessionId& id) {
  if (const auto known = store_.PlaceOf(id)) return known;
  const auto of = view_.Get("", keys_.WorkspaceOf(id));
  if (!of) return std::nullopt;
  store_.NotePlace(id, KeyFrom(*of));
  return KeyFrom(*of);
}

std::optional<SessionRecord> RedisTransaction::GetSession(const SessionId& id) {
  const auto place = PlaceOf(id);
  if (!place) return std::nullopt;
  const WorkspaceKey ws = *place;
  const std::string field(id.view());
  const auto row = view_.Find(keys_.SessionGuard(ws, id), keys_.Sessions(ws), field);
  if (!row) {
    store_.NotePlace(id, std::nullopt);
    return std::nullopt;
  }
  auto session = SessionFrom(ws, field, *row);
  if (!session) view_.FailDamaged("session");
  return session;
}

std::vector<SessionId> RedisTransaction::ListSessionsUnseenSince(int64_t before_ns) {
  std::vector<SessionId> ids;
  for (const WorkspaceKey ws : WorkspaceKeys()) {
    for (const auto& [field, row] : view_.List("", keys_.Sessions(ws), {}, 0)) {
      const auto session = SessionFrom(ws, field, row);
      if (session && session->seen_ns < before_ns) ids.push_back(session->id);
    }
  }
  return ids;
}

void RedisTransaction::PutSession(const SessionRecord& session) {
  const WorkspaceKey ws = session.workspace;
  const std::string guard = keys_.SessionGuard(ws, session.id);
  const std::string field(session.id.view());
  const bool is_elsewhere = PlaceOf(session.id) != ws;
  // A new one must not come from elsewhere meanwhile.
  const bool fresh = !view_.Find(guard, keys_.Sessions(ws), field);
  if (fresh || is_elsewhere) {
    // At once: where there is a row its place is known. The other way round is nobody's session.
    (void)view_.Ask("", {{"SET", keys_.WorkspaceOf(session.id), FieldOf(ws)}});
    store_.NotePlace(session.id, ws);
  }
  // Places have another hash tag than rows, and may be lost without them. Who did not find it
  // thinks that the session is new, and would have it begin anew with what it has done already.
  if (!fresh && is_elsewhere) view_.Fail({kStoreConflict, "the place of the session was lost"});
  view_.Put(guard, keys_.Sessions(ws), field, RowOf(session));
}

void RedisTransaction::DeleteSession(const SessionId& id) {
  const auto session = GetSession(id);
  if (!session) return;
  const WorkspaceKey ws = session->workspace;
  for (const LeaseRecord& lease : ListLeases(ws)) {
    if (lease.session == id) DeleteLease(lease);
  }
  for (const InterestRecord& interest : ListInterests(ws)) {
    if (interest.session == id) DeleteInterest(interest);
  }
  view_.Do("", {"UNLINK", keys_.Outcomes(ws, id).key});
  view_.Erase(keys_.SessionGuard(ws, id), keys_.Sessions(ws), std::string(id.view()));
  behind_.push_back({"UNLINK", keys_.WorkspaceOf(id)});
  store_.NotePlace(id, std::nullopt);
}

std::vector<RecordedBatch> RedisTransaction::ListOutcomes(const SessionId& id, uint64_t first,
                                                          uint64_t last) {
  const auto place = PlaceOf(id);
  if (!place) return {};
  const WorkspaceKey ws = *place;
  const std::string guard = keys_.SessionGuard(ws, id);
  const RedisMap map = keys_.Outcomes(ws, id);
  // Batches do not overlap: besides those that end inside, only the next one can begin there.
  auto rows = view_.List(guard, map, {BigEndian(first), BigEndian(last + 1)}, 0);
  for (auto& next : view_.List(guard, map, {BigEndian(last + 1), ""}, 1)) {
    rows.push_back(std::move(next));
  }
  std::vector<RecordedBatch> batches;
  for (const auto& [field, row] : rows) {
    RowReader r(row);
    RecordedBatch batch{r.Number(), FromBigEndian(field), r.Text()};
    if (r.ok() && batch.first <= last) batches.push_back(std::move(batch));
  }
  return batches;
}

void RedisTransaction::PutOutcomes(const SessionId& id, const RecordedBatch& batch) {
  const auto place = PlaceOf(id);
  if (!place) return;
  const WorkspaceKey ws = *place;
  view_.Put(keys_.SessionGuard(ws, id), keys_.Outcomes(ws, id), BigEndian(batch.last),
            RowWriter().Number(batch.first).Text(batch.data).Take());
}

void RedisTransaction::ForgetOutcomes(const SessionId& id, uint64_t before) {
  const auto place = PlaceOf(id);
  if (!place) return;
  view_.Do("", {"ZREMRANGEBYLEX", keys_.Outcomes(*place, id).key, "-", "(" + BigEndian(before)});
}

std::vector<InodeNo> RedisTransaction::ListOrphans(WorkspaceKey ws, const SessionId& id) {
  std::vector<InodeNo> inodes;
  for (const auto& [field, session] : view_.List(keys_.OrphanGuard(ws), keys_.Orphans(ws), {}, 0)) {
    if (session == id.view()) inodes.push_back(FromBigEndian(field));
  }
  return inodes;
}

std::optional<SessionId> RedisTransaction::GetOrphan(WorkspaceKey ws, InodeNo ino) {
  const auto session = view_.Find(keys_.OrphanGuard(ws), keys_.Orphans(ws), BigEndian(ino));
  if (!session || session->size() != sizeof(SessionId)) return std::nullopt;
  return SessionId::From(*session);
}

void RedisTransaction::PutOrphan(WorkspaceKey ws, InodeNo ino, const SessionId& id) {
  view_.Put(keys_.OrphanGuard(ws), keys_.Orphans(ws), BigEndian(ino), std::string(id.view()));
}

void RedisTransaction::DeleteOrphan(WorkspaceKey ws, InodeNo ino) {
  view_.Erase(keys_.OrphanGuard(ws), keys_.Orphans(ws), BigEndian(ino));
}

std::vector<LeaseRecord> RedisTransaction::ListLeases(std::optional<WorkspaceKey> of) {
  std::vector<LeaseRecord> leases;
  for (const WorkspaceKey ws : of ? std::vector<WorkspaceKey>{*of} : WorkspaceKeys()) {
    for (const auto& [field, value] : view_.List(keys_.LeaseGuard(ws), keys_.Leases(ws), {}, 0)) {
      if (value.size() != 24) continue;
      leases.push_back({FromBigEndian(field), ws, FromBigEndian(value),
                        SessionId::From(std::string_view(value).substr(8))});
    }
  }
  std::sort(leases.begin(), leases.end(),
            [](const LeaseRecord& a, const LeaseRecord& b) { return a.id < b.id; });
  return leases;
}

void RedisTransaction::PutLease(const LeaseRecord& lease) {
  view_.Put(keys_.LeaseGuard(lease.workspace), keys_.Leases(lease.workspace), BigEndian(lease.id),
            BigEndian(lease.inode) + std::string(lease.session.view()));
}

void RedisTransaction::DeleteLease(const LeaseRecord& lease) {
  view_.Erase(keys_.LeaseGuard(lease.workspace), keys_.Leases(lease.workspace),
              BigEndian(lease.id));
}

std::optional<TokenRecord> RedisTransaction::FindToken(std::string_view hash) {
  const std::string guard = keys_.CommonGuard();
  const auto id = view_.Get(guard, keys_.ByHash(hash));
  if (!id) return std::nullopt;
  const auto row = view_.Find(guard, keys_.Tokens(), FieldOf(*id));
  if (!row) return std::nullopt;
  auto token = TokenFrom(*id, *row);
  if (!token) {
    view_.FailDamaged("token");
    return std::nullopt;
  }
  if (const auto workspace = ReadWorkspace(token->workspace)) {
    token->workspace_name = workspace->name;
  }
  return token;
}

std::vector<TokenRecord> RedisTransaction::AllTokens() {
  std::vector<TokenRecord> tokens;
  for (const auto& [field, row] : view_.List(keys_.CommonGuard(), keys_.Tokens(), {}, 0)) {
    if (auto token = TokenFrom(IdFrom(field), row)) tokens.push_back(std::move(*token));
  }
  return tokens;
}

std::vector<TokenRecord> RedisTransaction::ListTokens(std::optional<WorkspaceKey> ws) {
  std::vector<TokenRecord> tokens;
  std::map<WorkspaceKey, std::optional<Workspace>> workspaces;
  for (TokenRecord& token : AllTokens()) {
    if (ws && token.workspace != *ws) continue;
    auto [it, added] = workspaces.try_emplace(token.workspace);
    if (added) it->second = ReadWorkspace(token.workspace);
    if (!it->second) continue;  // gone
    token.workspace_name = it->second->name;
    tokens.push_back(std::move(token));
  }
  std::sort(tokens.begin(), tokens.end(), [](const TokenRecord& a, const TokenRecord& b) {
    return std::tie(a.created_ns, a.id) < std::tie(b.created_ns, b.id);
  });
  return tokens;
}

void RedisTransaction::PutToken(const TokenRecord& token) {
  view_.Put(keys_.CommonGuard(), keys_.Tokens(), FieldOf(token.id), RowOf(token));
  view_.Put(keys_.CommonGuard(), keys_.ByHash(token.hash), token.id);
}

bool RedisTransaction::RevokeToken(std::string_view id, int64_t now_ns) {
  const auto row = view_.Find(keys_.CommonGuard(), keys_.Tokens(), FieldOf(id));
  if (!row) return false;
  auto token = TokenFrom(id, *row);
  if (!token) return false;
  if (token->revoked_ns == 0) token->revoked_ns = now_ns;
  view_.Put(keys_.CommonGuard(), keys_.Tokens(), FieldOf(id), RowOf(*token));
  return true;
}

std::optional<MemberRecord> RedisTransaction::GetMember(std::string_view id) {
  const auto row = view_.Find(keys_.CommonGuard(), keys_.Members(), FieldOf(id));
  if (!row) return std::nullopt;
  return MemberFrom(id, *row);
}

std::vector<MemberRecord> RedisTransaction::ListMembers(WorkspaceKey ws) {
  std::vector<MemberRecord> members;
  for (const auto& [field, row] : view_.List(keys_.CommonGuard(), keys_.Members(), {}, 0)) {
    auto member = MemberFrom(IdFrom(field), row);
    if (member && member->workspace == ws) members.push_back(std::move(*member));
  }
  std::sort(members.begin(), members.end(), [](const MemberRecord& a, const MemberRecord& b) {
    return std::tie(a.created_ns, a.id) < std::tie(b.created_ns, b.id);
  });
  return members;
}

void RedisTransaction::PutMember(const MemberRecord& member) {
  view_.Put(keys_.CommonGuard(), keys_.Members(), FieldOf(member.id), RowOf(member));
}

void RedisTransaction::DeleteMember(std::string_view id) {
  view_.Erase(keys_.CommonGuard(), keys_.Members(), FieldOf(id));
}

}  // namespace airstore::gateway
