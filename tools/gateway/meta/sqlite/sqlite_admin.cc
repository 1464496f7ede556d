// SPDX-License-Identifier: Apache-2.0
//
// SqliteTransaction: rows about the tree's users (workspaces, sessions, outcomes, leases, tokens).
#include "tools/gateway/meta/sqlite/sqlite_transaction.h"

namespace airstore::gateway {
namespace {

#define AIRSTORE_WORKSPACE_SELECT                                                                \
  "SELECT key, id, name, created_ns, next_inode, used_bytes, inodes, quota_bytes, quota_inodes " \
  "FROM workspaces "
// `join`: also of workspaces that are gone, or not.
#define AIRSTORE_TOKEN_SELECT(join)                                                           \
  "SELECT t.id, t.hash, t.ws, w.name, t.principal, t.read_only, t.created_ns, t.revoked_ns, " \
  "t.name, t.member, t.expires_ns FROM tokens t " join " workspaces w ON w.key=t.ws "

Workspace WorkspaceFrom(const Query& q) {
  return {q.Int(0),  q.String(1), q.String(2), q.Int(3), q.Uint(4),
          q.Uint(5), q.Uint(6),   q.Uint(7),   q.Uint(8)};
}

TokenRecord TokenFrom(const Query& q) {
  return {q.String(0), q.String(1), q.Int(2),    q.String(3), q.String(4), q.Int(5) != 0,
          q.Int(6),    q.Int(7),    q.String(8), q.String(9), q.Int(10)};
}

}  // namespace

std::optional<Workspace> SqliteTransaction::FindWorkspace(std::string_view name_or_id) {
  {
    Query q(db_, AIRSTORE_WORKSPACE_SELECT "WHERE name=?1", name_or_id);
    if (q.Step()) return WorkspaceFrom(q);
  }
  Query q(db_, AIRSTORE_WORKSPACE_SELECT "WHERE id=?1", name_or_id);
  if (q.Step()) return WorkspaceFrom(q);
  return std::nullopt;
}

std::optional<Workspace> SqliteTransaction::GetWorkspace(WorkspaceKey ws) {
  Query q(db_, AIRSTORE_WORKSPACE_SELECT "WHERE key=?1", ws);
  if (!q.Step()) return std::nullopt;
  return WorkspaceFrom(q);
}

std::vector<Workspace> SqliteTransaction::ListWorkspaces() {
  std::vector<Workspace> all;
  Query q(db_, AIRSTORE_WORKSPACE_SELECT "ORDER BY name");
  while (q.Step()) all.push_back(WorkspaceFrom(q));
  return all;
}

WorkspaceKey SqliteTransaction::AddWorkspace(const Workspace& w) {
  Query(db_,
        "INSERT INTO workspaces(id, name, created_ns, next_inode, used_bytes, inodes, quota_bytes, "
        "quota_inodes) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
        w.id, w.name, w.created_ns, w.next_inode, w.used_bytes, w.inodes, w.quota_bytes,
        w.quota_inodes)
      .Run();
  return db_.last_row_id();
}

void SqliteTransaction::SetNextInode(WorkspaceKey ws, InodeNo next) {
  Query(db_, "UPDATE workspaces SET next_inode=?2 WHERE key=?1", ws, next).Run();
}

void SqliteTransaction::SetQuota(WorkspaceKey ws, uint64_t bytes, uint64_t inodes) {
  Query(db_, "UPDATE workspaces SET quota_bytes=?2, quota_inodes=?3 WHERE key=?1", ws, bytes,
        inodes)
      .Run();
}

void SqliteTransaction::AddUsage(WorkspaceKey ws, int64_t bytes, int64_t inodes) {
  Query(db_, "UPDATE workspaces SET used_bytes=used_bytes+?2, inodes=inodes+?3 WHERE key=?1", ws,
        bytes, inodes)
      .Run();
}

void SqliteTransaction::DeleteWorkspace(WorkspaceKey ws) {
  Query(db_, "DELETE FROM inodes WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM entries WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM extents WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM xattrs WHERE ws=?1", ws).Run();
  Query(db_, "UPDATE blocks SET live_bytes=0, touched_ns=0 WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM outcomes WHERE session IN (SELECT id FROM sessions WHERE ws=?1)", ws)
      .Run();
  Query(db_, "DELETE FROM sessions WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM orphans WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM leases WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM interests WHERE ws=?1", ws).Run();
  Query(db_, "DELETE FROM members WHERE ws=?1", ws).Run();
  // Tokens stay: who has one is told that its workspace is gone. Keys are never used again.
  Query(db_, "DELETE FROM workspaces WHERE key=?1", ws).Run();
}

std::optional<SessionRecord> SqliteTransaction::GetSession(const SessionId& id) {
  Query q(db_, "SELECT ws, principal, client, last_sequence, seen_ns FROM sessions WHERE id=?1",
          id);
  if (!q.Step()) return std::nullopt;
  return SessionRecord{id, q.Int(0), q.String(1), q.String(2), q.Uint(3), q.Int(4)};
}

std::vector<SessionId> SqliteTransaction::ListSessionsUnseenSince(int64_t before_ns) {
  std::vector<SessionId> ids;
  Query q(db_, "SELECT id FROM sessions WHERE seen_ns<?1", before_ns);
  while (q.Step()) ids.push_back(q.Id16<SessionId>(0));
  return ids;
}

void SqliteTransaction::PutSession(const SessionRecord& s) {
  Query(db_, "INSERT OR REPLACE INTO sessions VALUES(?1,?2,?3,?4,?5,?6)", s.id, s.workspace,
        s.principal, s.client, s.last_sequence, s.seen_ns)
      .Run();
}

void SqliteTransaction::DeleteSession(const SessionId& id) {
  Query(db_, "DELETE FROM outcomes WHERE session=?1", id).Run();
  Query(db_, "DELETE FROM leases WHERE session=?1", id).Run();
  if (const auto session = GetSession(id)) {
    Query(db_, "DELETE FROM interests WHERE ws=?1 AND session=?2", session->workspace, id).Run();
  }
  Query(db_, "DELETE FROM sessions WHERE id=?1", id).Run();
}

std::vector<RecordedBatch> SqliteTransaction::ListOutcomes(const SessionId& id, uint64_t first,
                                                           uint64_t last) {
  std::vector<RecordedBatch> batches;
  Query q(db_,
          "SELECT first, last, data FROM outcomes WHERE session=?1 AND last>=?2 AND first<=?3 "
          "ORDER BY last",
          id, first, last);
  while (q.Step()) batches.push_back({q.Uint(0), q.Uint(1), q.String(2)});
  return batches;
}

void SqliteTransaction::PutOutcomes(const SessionId& id, const RecordedBatch& b) {
  Query(db_, "INSERT OR REPLACE INTO outcomes VALUES(?1,?2,?3,?4)", id, b.last, b.first, b.data)
      .Run();
}

void SqliteTransaction::ForgetOutcomes(const SessionId& id, uint64_t before) {
  Query(db_, "DELETE FROM outcomes WHERE session=?1 AND last<?2", id, before).Run();
}

std::vector<InodeNo> SqliteTransaction::ListOrphans(WorkspaceKey ws, const SessionId& id) {
  std::vector<InodeNo> inodes;
  Query q(db_, "SELECT ino FROM orphans WHERE session=?1 AND ws=?2", id, ws);
  while (q.Step()) inodes.push_back(q.Uint(0));
  return inodes;
}

std::optional<SessionId> SqliteTransaction::GetOrphan(WorkspaceKey ws, InodeNo ino) {
  Query q(db_, "SELECT session FROM orphans WHERE ws=?1 AND ino=?2", ws, ino);
  if (!q.Step()) return std::nullopt;
  return q.Id16<SessionId>(0);
}

void SqliteTransaction::PutOrphan(WorkspaceKey ws, InodeNo ino, const SessionId& id) {
  Query(db_, "INSERT OR REPLACE INTO orphans VALUES(?1,?2,?3)", ws, ino, id).Run();
}

void SqliteTransaction::DeleteOrphan(WorkspaceKey ws, InodeNo ino) {
  Query(db_, "DELETE FROM orphans WHERE ws=?1 AND ino=?2", ws, ino).Run();
}

std::vector<LeaseRecord> SqliteTransaction::ListLeases(std::optional<WorkspaceKey> ws) {
  std::vector<LeaseRecord> leases;
  Query q(db_, "SELECT id, ws, ino, session FROM leases WHERE ?1=0 OR ws=?1 ORDER BY id",
          ws.value_or(0));
  while (q.Step()) leases.push_back({q.Uint(0), q.Int(1), q.Uint(2), q.Id16<SessionId>(3)});
  return leases;
}

void SqliteTransaction::PutLease(const LeaseRecord& l) {
  Query(db_, "INSERT OR REPLACE INTO leases VALUES(?1,?2,?3,?4)", l.id, l.workspace, l.inode,
        l.session)
      .Run();
}

void SqliteTransaction::DeleteLease(const LeaseRecord& lease) {
  Query(db_, "DELETE FROM leases WHERE id=?1", lease.id).Run();
}

std::vector<InterestRecord> SqliteTransaction::ListInterests(WorkspaceKey ws) {
  std::vector<InterestRecord> interests;
  Query q(db_, "SELECT session, zone FROM interests WHERE ws=?1 ORDER BY session, zone", ws);
  while (q.Step()) interests.push_back({ws, q.Id16<SessionId>(0), q.Uint(1)});
  return interests;
}

void SqliteTransaction::PutInterest(const InterestRecord& i) {
  Query(db_, "INSERT OR REPLACE INTO interests VALUES(?1,?2,?3)", i.workspace, i.session, i.zone)
      .Run();
}

void SqliteTransaction::DeleteInterest(const InterestRecord& i) {
  Query(db_, "DELETE FROM interests WHERE ws=?1 AND session=?2 AND zone=?3", i.workspace, i.session,
        i.zone)
      .Run();
}

std::optional<TokenRecord> SqliteTransaction::FindToken(std::string_view hash) {
  Query q(db_, AIRSTORE_TOKEN_SELECT("LEFT JOIN") "WHERE t.hash=?1", hash);
  if (!q.Step()) return std::nullopt;
  return TokenFrom(q);
}

std::vector<TokenRecord> SqliteTransaction::ListTokens(std::optional<WorkspaceKey> ws) {
  std::vector<TokenRecord> tokens;
  Query q(db_, AIRSTORE_TOKEN_SELECT("JOIN") "WHERE ?1=0 OR t.ws=?1 ORDER BY t.created_ns, t.id",
          ws.value_or(0));
  while (q.Step()) tokens.push_back(TokenFrom(q));
  return tokens;
}

void SqliteTransaction::PutToken(const TokenRecord& t) {
  Query(db_, "INSERT OR REPLACE INTO tokens VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)", t.id, t.hash,
        t.workspace, t.principal, t.read_only, t.created_ns, t.revoked_ns, t.name, t.member,
        t.expires_ns)
      .Run();
}

namespace {

#define AIRSTORE_MEMBER_SELECT "SELECT id, ws, email, name, role, created_ns FROM members "

MemberRecord MemberFrom(const Query& q) {
  return {q.String(0), q.Int(1), q.String(2), q.String(3), q.String(4), q.Int(5)};
}

}  // namespace

std::optional<MemberRecord> SqliteTransaction::GetMember(std::string_view id) {
  Query q(db_, AIRSTORE_MEMBER_SELECT "WHERE id=?1", id);
  if (!q.Step()) return std::nullopt;
  return MemberFrom(q);
}

std::vector<MemberRecord> SqliteTransaction::ListMembers(WorkspaceKey ws) {
  std::vector<MemberRecord> members;
  Query q(db_, AIRSTORE_MEMBER_SELECT "WHERE ws=?1 ORDER BY created_ns, id", ws);
  while (q.Step()) members.push_back(MemberFrom(q));
  return members;
}

void SqliteTransaction::PutMember(const MemberRecord& m) {
  Query(db_, "INSERT OR REPLACE INTO members VALUES(?1,?2,?3,?4,?5,?6)", m.id, m.workspace, m.email,
        m.name, m.role, m.created_ns)
      .Run();
}

void SqliteTransaction::DeleteMember(std::string_view id) {
  Query(db_, "DELETE FROM members WHERE id=?1", id).Run();
}

bool SqliteTransaction::RevokeToken(std::string_view id, int64_t now_ns) {
  {
    Query q(db_, "SELECT 1 FROM tokens WHERE id=?1", id);
    if (!q.Step()) return false;
  }
  Query(db_, "UPDATE tokens SET revoked_ns=?2 WHERE id=?1 AND revoked_ns=0", id, now_ns).Run();
  return true;
}

}  // namespace airstore::gateway
