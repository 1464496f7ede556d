// SPDX-License-Identifier: Apache-2.0
//
// A transaction of the SQLite engine: every row operation of MetadataReader and MetadataWriter as
// one or two prepared statements. Readers are handed out as MetadataReader, so they cannot write.
//
// Threads: one at a time.
// Ownership: a reader owns its connection until it gives it back to the store; a writer owns the
// store's writer lock. Rolled back by destruction unless committed.
#pragma once

#include <memory>
#include <mutex>

#include "tools/gateway/meta/sqlite/sqlite_store.h"

namespace airstore::gateway {

class SqliteTransaction final : public MetadataWriter {
 public:
  SqliteTransaction(SqliteStore& store, std::unique_ptr<SqliteDb> reader);
  SqliteTransaction(SqliteStore& store, std::unique_lock<std::mutex> writer_lock);
  ~SqliteTransaction() override;
  Result<void> Begin();

  Result<void> status() const override;
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

 private:
  SqliteStore& store_;
  std::unique_ptr<SqliteDb> reader_;          // readers only
  std::unique_lock<std::mutex> writer_lock_;  // writers only
  SqliteDb& db_;
  bool open_ = false;
};

}  // namespace airstore::gateway
