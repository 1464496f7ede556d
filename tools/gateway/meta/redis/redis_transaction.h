// SPDX-License-Identifier: Apache-2.0
//
// A transaction of the Redis engine: rows and tables in terms of a RedisView's values and maps.
// Readers are handed out as MetadataReader, so they cannot write.
//
// Why WATCH and MULTI, and no scripts: ARCHITECTURE.md, "Redis".
//
// Threads: one at a time.
// Ownership: borrows connections from the store until it ends; a writer owns the store's writer
// lock. Without Commit() nothing has reached the server, but for what nobody asks for: that a
// workspace is going to be made, and which workspace a new session belongs to.
#pragma once

#include <memory>
#include <mutex>

#include "tools/gateway/lock_state.h"
#include "tools/gateway/meta/redis/redis_log.h"
#include "tools/gateway/meta/redis/redis_store.h"
#include "tools/gateway/meta/redis/redis_view.h"

namespace airstore::gateway {

// `field`, `value`: of the map of a file's extents.
Extent ExtentFromRow(std::string_view field, std::string_view value);

class RedisTransaction final : public MetadataWriter {
 public:
  explicit RedisTransaction(RedisStore& store, std::unique_lock<std::mutex> writer_lock = {});

  Result<void> status() const override;
  void Expect(WorkspaceKey ws, const ExpectedRows& rows) override;
  Result<void> Commit() override;

  std::optional<Workspace> FindWorkspace(std::string_view name_or_id) override;
  std::optional<Workspace> GetWorkspace(WorkspaceKey ws) override;
  std::vector<Workspace> ListWorkspaces() override;
  std::optional<Inode> GetInode(WorkspaceKey ws, InodeNo ino) override;
  std::optional<InodeNo> GetEntry(WorkspaceKey ws, InodeNo parent, std::string_view name) override;
  std::vector<Entry> ListEntries(WorkspaceKey ws, InodeNo parent, std::string_view after,
                                 size_t limit) override;
  bool HasEntries(WorkspaceKey ws, InodeNo parent) override;
  std::vector<Name> ListNames(WorkspaceKey ws, InodeNo parent, std::string_view after,
                              size_t limit) override;
  std::vector<Extent> ListExtents(WorkspaceKey ws, InodeNo ino, uint64_t start,
                                  uint64_t end) override;
  std::optional<std::string> GetXattr(WorkspaceKey ws, InodeNo ino, std::string_view name) override;
  std::vector<std::string> ListXattrs(WorkspaceKey ws, InodeNo ino) override;
  std::optional<BlockRecord> GetBlock(WorkspaceKey ws, const BlockId& id) override;
  std::vector<BlockKey> ListGarbage(int64_t before_ns, size_t limit) override;
  std::optional<SessionRecord> GetSession(const SessionId& id) override;
  std::vector<SessionId> ListSessionsUnseenSince(int64_t before_ns) override;
  std::vector<RecordedBatch> ListOutcomes(const SessionId& id, uint64_t first,
                                          uint64_t last) override;
  std::vector<InodeNo> ListAllInodes(WorkspaceKey ws) override;
  std::vector<BlockId> ListAllBlocks(WorkspaceKey ws) override;
  std::vector<std::optional<WholeInode>> ReadWhole(WorkspaceKey ws,
                                                   std::span<const InodeNo> inodes) override;
  std::vector<std::optional<BlockRecord>> ReadBlocks(WorkspaceKey ws,
                                                     std::span<const BlockId> ids) override;
  std::vector<std::string> Stamps(WorkspaceKey ws, std::span<const InodeNo> inodes,
                                  std::span<const BlockId> blocks) override;
  std::vector<InodeNo> ListOrphans(WorkspaceKey ws, const SessionId& id) override;
  std::optional<SessionId> GetOrphan(WorkspaceKey ws, InodeNo ino) override;
  std::vector<LeaseRecord> ListLeases(std::optional<WorkspaceKey> ws) override;
  std::vector<InterestRecord> ListInterests(WorkspaceKey ws) override;
  std::optional<TokenRecord> FindToken(std::string_view hash) override;
  std::vector<TokenRecord> ListTokens(std::optional<WorkspaceKey> ws) override;
  std::optional<MemberRecord> GetMember(std::string_view id) override;
  std::vector<MemberRecord> ListMembers(WorkspaceKey ws) override;

  WorkspaceKey AddWorkspace(const Workspace& workspace) override;
  void SetNextInode(WorkspaceKey ws, InodeNo next) override;
  void SetQuota(WorkspaceKey ws, uint64_t bytes, uint64_t inodes) override;
  void AddUsage(WorkspaceKey ws, int64_t bytes, int64_t inodes) override;
  void DeleteWorkspace(WorkspaceKey ws) override;
  void PutInode(WorkspaceKey ws, const Inode& inode) override;
  void DeleteInode(WorkspaceKey ws, InodeNo ino) override;
  void PutEntry(WorkspaceKey ws, InodeNo parent, std::string_view name, InodeNo ino) override;
  void DeleteEntry(WorkspaceKey ws, InodeNo parent, std::string_view name) override;
  void PutExtent(WorkspaceKey ws, InodeNo ino, const Extent& extent) override;
  void DeleteExtent(WorkspaceKey ws, InodeNo ino, uint64_t offset) override;
  void PutXattr(WorkspaceKey ws, InodeNo ino, std::string_view name,
                std::string_view value) override;
  void DeleteXattr(WorkspaceKey ws, InodeNo ino, std::string_view name) override;
  void PutBlock(WorkspaceKey ws, const BlockRecord& block) override;
  void DeleteBlock(WorkspaceKey ws, const BlockId& id) override;
  void PutSession(const SessionRecord& session) override;
  void DeleteSession(const SessionId& id) override;
  void PutOutcomes(const SessionId& id, const RecordedBatch& batch) override;
  void ForgetOutcomes(const SessionId& id, uint64_t before) override;
  void PutOrphan(WorkspaceKey ws, InodeNo ino, const SessionId& id) override;
  void DeleteOrphan(WorkspaceKey ws, InodeNo ino) override;
  void PutLease(const LeaseRecord& lease) override;
  void DeleteLease(const LeaseRecord& lease) override;
  void PutInterest(const InterestRecord& interest) override;
  void DeleteInterest(const InterestRecord& interest) override;
  void PutToken(const TokenRecord& token) override;
  bool RevokeToken(std::string_view id, int64_t now_ns) override;
  void PutMember(const MemberRecord& member) override;
  void DeleteMember(std::string_view id) override;

  void Announce(WorkspaceKey ws, const SessionId& by, const ChangeSet& changes) override;
  uint64_t announced() const override { return announced_; }

  // ---- What several gateways share (redis_shared.cc).
  // Into the log, with the commit.
  void Tell(WorkspaceKey ws, const LoggedEvent& event);
  // Of sessions that live; they come and go under the guard of leases.
  std::vector<SessionId> ListLive(WorkspaceKey ws);
  void PutLive(WorkspaceKey ws, const SessionId& id);
  void DeleteLive(WorkspaceKey ws, const SessionId& id);
  // When the session was heard of, by the clock of the workspace's server; nothing: it does not
  // live. Writers only: a sign of life overtakes them.
  std::optional<int64_t> HeardMs(WorkspaceKey ws, const SessionId& id);
  // It is not waited for any more.
  void DeleteWatcher(WorkspaceKey ws, const SessionId& id);
  // Greater than all before it, whatever becomes of the transaction.
  Result<uint64_t> NextLeaseId(WorkspaceKey ws, uint64_t last);
  LockState ReadLocks(WorkspaceKey ws);
  // What is different from what was read.
  void WriteLocks(WorkspaceKey ws, const LockState& before, const LockState& after);

 private:
  std::optional<Workspace> ReadWorkspace(WorkspaceKey ws);
  std::vector<WorkspaceKey> WorkspaceKeys();
  std::vector<TokenRecord> AllTokens();
  // What comes behind `prefix` in the keys that begin with it.
  std::vector<std::string> KeysBehind(const std::string& prefix);
  std::optional<Inode> InodeFrom(InodeNo ino, std::string_view row);
  std::optional<BlockRecord> BlockFrom(const BlockId& id, std::string_view row);
  std::optional<WholeInode> WholeFrom(InodeNo ino, const std::vector<RedisReply>& rows);
  void PutGarbage(WorkspaceKey ws, const BlockRecord& block);
  // Removes what is left of a deleted workspace, but for the rows of its blocks, which become
  // garbage. At any time, by any gateway, and again when one has died meanwhile.
  void Sweep(WorkspaceKey ws);
  // Of workspaces that are being deleted, or were never finished.
  std::vector<WorkspaceKey> SweepDying();
  // Which workspace the session belongs to.
  std::optional<WorkspaceKey> PlaceOf(const SessionId& id);

  RedisStore& store_;
  const RedisKeys& keys_;
  std::unique_lock<std::mutex> writer_lock_;  // writers only
  RedisRoute route_;
  mutable RedisView view_;
  std::vector<WorkspaceKey> deleted_;  // swept behind the commit
  std::vector<RedisCommand> behind_;   // done behind the commit, by whoever gets there
  std::optional<size_t> announcing_;   // place of the log's command
  uint64_t announced_ = 0;
};

}  // namespace airstore::gateway
