// SPDX-License-Identifier: Apache-2.0
//
// The one transactional interface to metadata. It speaks of rows (inodes, entries, extents, ...),
// not of file system operations: those live above it (mutator.h), once for every engine.
//
// Engines: meta/sqlite/ (one file, one gateway), meta/redis/ (a server, any number of gateways).
//
// Failure is sticky: when the engine fails inside a transaction, that call and every later one
// answer "nothing", and status() / Commit() say why. The caller computes on and discards. This
// keeps "there is no such row" apart from "the store is broken" without a check at each row.
//
// Other gateways: where there may be some, a transaction fails with kStoreConflict when another one
// has changed what it was made of: a reader in status(), a writer in Commit(), which then has
// changed nothing. UntilNoConflict() does it again.
//
// Threads: a MetadataStore may be used from any thread; a transaction by one thread at a time.
// Ownership: a transaction must not outlive its store. A writer excludes other writers of this
// process until it is destroyed, also after Commit(), so that what follows a commit can be done in
// commit order.
#pragma once

#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shm/base/result.h"
#include "tools/gateway/types.h"

namespace airstore::gateway {

inline constexpr int kStoreConflict = EDEADLK;

// The recorded outcomes of consecutive sequences, encoded (see outcome_codec.h).
struct RecordedBatch {
  uint64_t first = 0;
  uint64_t last = 0;
  std::string data;
};

// Rows that somebody is going to ask for.
struct ExpectedRows {
  std::vector<std::pair<InodeNo, std::string_view>> names;  // of a directory
  std::vector<InodeNo> inodes;
  std::vector<BlockId> blocks;
};

// An inode with what belongs to it.
struct WholeInode {
  Inode inode;
  std::vector<InodeNo> children;  // of a directory: what its names stand for
  std::vector<Extent> extents;    // of a file, ordered by offset
  uint32_t xattrs = 0;            // that there are
  bool orphan = false;            // a session keeps it; asked only of inodes without a link
};

// A consistent snapshot.
class MetadataReader {
 public:
  virtual ~MetadataReader() = default;
  virtual Result<void> status() const = 0;
  // Where each question is a round trip, asks for all of it at once. Changes no answer.
  virtual void Expect(WorkspaceKey, const ExpectedRows&) {}

  virtual std::optional<Workspace> FindWorkspace(std::string_view name_or_id) = 0;
  virtual std::optional<Workspace> GetWorkspace(WorkspaceKey ws) = 0;
  virtual std::vector<Workspace> ListWorkspaces() = 0;

  virtual std::optional<Inode> GetInode(WorkspaceKey ws, InodeNo ino) = 0;
  virtual std::optional<InodeNo> GetEntry(WorkspaceKey ws, InodeNo parent,
                                          std::string_view name) = 0;
  // At most `limit` entries behind `after`, ordered by name as bytes.
  virtual std::vector<Entry> ListEntries(WorkspaceKey ws, InodeNo parent, std::string_view after,
                                         size_t limit) = 0;
  virtual bool HasEntries(WorkspaceKey ws, InodeNo parent) = 0;
  // As ListEntries, but also names whose inode is missing.
  virtual std::vector<Name> ListNames(WorkspaceKey ws, InodeNo parent, std::string_view after,
                                      size_t limit) = 0;
  // Extents that touch [start, end), ordered by offset.
  virtual std::vector<Extent> ListExtents(WorkspaceKey ws, InodeNo ino, uint64_t start,
                                          uint64_t end) = 0;
  virtual std::optional<std::string> GetXattr(WorkspaceKey ws, InodeNo ino,
                                              std::string_view name) = 0;
  virtual std::vector<std::string> ListXattrs(WorkspaceKey ws, InodeNo ino) = 0;

  virtual std::optional<BlockRecord> GetBlock(WorkspaceKey ws, const BlockId& id) = 0;
  // Blocks without a reference that were touched before `before_ns`.
  virtual std::vector<BlockKey> ListGarbage(int64_t before_ns, size_t limit) = 0;

  virtual std::optional<SessionRecord> GetSession(const SessionId& id) = 0;
  virtual std::vector<SessionId> ListSessionsUnseenSince(int64_t before_ns) = 0;
  // Recorded batches that hold any of first..last, ascending.
  virtual std::vector<RecordedBatch> ListOutcomes(const SessionId& id, uint64_t first,
                                                  uint64_t last) = 0;
  // For a check of all there is, in any order. Not of one moment: what is there all the time is
  // listed, what comes or goes meanwhile may be.
  virtual std::vector<InodeNo> ListAllInodes(WorkspaceKey ws) = 0;
  virtual std::vector<BlockId> ListAllBlocks(WorkspaceKey ws) = 0;

  // For a check, too: each element is of one moment by itself, and unless this is a writer, what
  // others change meanwhile is no conflict.
  virtual std::vector<std::optional<WholeInode>> ReadWhole(WorkspaceKey ws,
                                                           std::span<const InodeNo> inodes);
  virtual std::vector<std::optional<BlockRecord>> ReadBlocks(WorkspaceKey ws,
                                                             std::span<const BlockId> ids);
  // Of each of these, inodes first, a text that is another one after any change of its row: so
  // after any name or reference of it has come or gone.
  virtual std::vector<std::string> Stamps(WorkspaceKey ws, std::span<const InodeNo> inodes,
                                          std::span<const BlockId> blocks);

  // Inodes without a name that live as long as the session.
  virtual std::vector<InodeNo> ListOrphans(WorkspaceKey ws, const SessionId& id) = 0;
  // The session that an inode without a name lives as long as.
  virtual std::optional<SessionId> GetOrphan(WorkspaceKey ws, InodeNo ino) = 0;
  virtual std::vector<LeaseRecord> ListLeases(std::optional<WorkspaceKey> ws) = 0;  // by id
  virtual std::vector<InterestRecord> ListInterests(WorkspaceKey ws) = 0;  // by session, zone

  virtual std::optional<TokenRecord> FindToken(std::string_view hash) = 0;
  virtual std::vector<TokenRecord> ListTokens(std::optional<WorkspaceKey> ws) = 0;
  virtual std::optional<MemberRecord> GetMember(std::string_view id) = 0;
  virtual std::vector<MemberRecord> ListMembers(WorkspaceKey ws) = 0;  // oldest first
};

// A transaction; destroyed without Commit() it leaves no trace.
class MetadataWriter : public MetadataReader {
 public:
  // Makes everything durable and visible, or fails and changes nothing.
  virtual Result<void> Commit() = 0;

  // Tells other gateways what is changed, as a part of the commit, where there may be others.
  virtual void Announce(WorkspaceKey, const SessionId& /*by*/, const ChangeSet&) {}
  // Behind Commit(): the cursor of what was announced; 0: nobody was told.
  virtual uint64_t announced() const { return 0; }

  virtual WorkspaceKey AddWorkspace(const Workspace& workspace) = 0;  // chooses the key
  virtual void SetNextInode(WorkspaceKey ws, InodeNo next) = 0;
  virtual void SetQuota(WorkspaceKey ws, uint64_t bytes, uint64_t inodes) = 0;  // 0: none
  virtual void AddUsage(WorkspaceKey ws, int64_t bytes, int64_t inodes) = 0;
  // Everything of it goes; its blocks become garbage at once.
  virtual void DeleteWorkspace(WorkspaceKey ws) = 0;

  virtual void PutInode(WorkspaceKey ws, const Inode& inode) = 0;
  virtual void DeleteInode(WorkspaceKey ws, InodeNo ino) = 0;
  virtual void PutEntry(WorkspaceKey ws, InodeNo parent, std::string_view name, InodeNo ino) = 0;
  virtual void DeleteEntry(WorkspaceKey ws, InodeNo parent, std::string_view name) = 0;
  virtual void PutExtent(WorkspaceKey ws, InodeNo ino, const Extent& extent) = 0;
  virtual void DeleteExtent(WorkspaceKey ws, InodeNo ino, uint64_t offset) = 0;
  virtual void PutXattr(WorkspaceKey ws, InodeNo ino, std::string_view name,
                        std::string_view value) = 0;
  virtual void DeleteXattr(WorkspaceKey ws, InodeNo ino, std::string_view name) = 0;

  virtual void PutBlock(WorkspaceKey ws, const BlockRecord& block) = 0;
  virtual void DeleteBlock(WorkspaceKey ws, const BlockId& id) = 0;

  virtual void PutSession(const SessionRecord& session) = 0;
  virtual void DeleteSession(const SessionId& id) = 0;  // with its outcomes, leases and interests
  virtual void PutOutcomes(const SessionId& id, const RecordedBatch& batch) = 0;
  virtual void ForgetOutcomes(const SessionId& id, uint64_t before) = 0;  // last < before
  virtual void PutOrphan(WorkspaceKey ws, InodeNo ino, const SessionId& id) = 0;
  virtual void DeleteOrphan(WorkspaceKey ws, InodeNo ino) = 0;
  virtual void PutLease(const LeaseRecord& lease) = 0;
  virtual void DeleteLease(const LeaseRecord& lease) = 0;
  virtual void PutInterest(const InterestRecord& interest) = 0;
  virtual void DeleteInterest(const InterestRecord& interest) = 0;

  virtual void PutToken(const TokenRecord& token) = 0;
  virtual bool RevokeToken(std::string_view id, int64_t now_ns) = 0;  // false: no such token
  virtual void PutMember(const MemberRecord& member) = 0;
  virtual void DeleteMember(std::string_view id) = 0;
};

class MetadataStore {
 public:
  virtual ~MetadataStore() = default;
  virtual Result<std::unique_ptr<MetadataReader>> Read() = 0;
  virtual Result<std::unique_ptr<MetadataWriter>> Write() = 0;
  virtual std::string_view kind() const = 0;  // one word
  // What a caller should know of how it keeps its promises; empty: it keeps them all. As it was
  // when the store was opened, and as it is.
  virtual std::string weakness() const { return {}; }
  virtual Result<std::string> WeaknessNow() { return weakness(); }
};

// Pauses before the attempt after `attempt` (1 was the first); false: it was the last one.
bool PauseAfterConflict(int attempt);

// Does `work`, which answers a Result, again for as long as another gateway has been in between.
template <typename Work>
auto UntilNoConflict(const Work& work) -> decltype(work()) {
  for (int attempt = 1;; ++attempt) {
    auto done = work();
    if (done || done.error().code != kStoreConflict || !PauseAfterConflict(attempt)) return done;
  }
}

}  // namespace airstore::gateway
