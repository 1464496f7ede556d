// SPDX-License-Identifier: Apache-2.0
//
// WorkspaceCheck: compares the rows of one workspace with each other and with its blocks, and
// mends them.
//
// It runs beside those who use the workspace: rows are read in short transactions, and what looks
// wrong is looked at once more in one, together with all that was changed meanwhile. Only that one
// excludes writers. A repair is a change like others: leases are recalled first, and hosts that
// watch are told. What is lost with a block becomes a hole.
//
// Writers of other gateways are not excluded. Of each suspect the row is looked at before and after
// what was changed is counted: every name and every reference that comes or goes changes the row of
// the inode or block it is for, so what was counted while that stayed as it was, is exact. Others
// are looked at again. A repair counts anew, and fails when that row changes before it is done.
//
// Threads: one.
// Ownership: borrows the gateway's parts.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tools/gateway/batch.h"
#include "tools/gateway/check/census.h"
#include "tools/gateway/check/damage.h"
#include "tools/gateway/collector.h"
#include "tools/gateway/sessions.h"

namespace airstore::gateway {

struct CheckParts {
  MetadataStore& store;
  Blocks& blocks;
  BatchApplier& batches;
  Collector& collector;
  Sessions& sessions;
  std::function<Result<InodeNo>(WorkspaceKey)> grant;  // an inode number nobody has
  // Inodes that any gateway has changed since `cursor` (0: from now on), which becomes the present.
  // ESTALE: too many to be known. Null: there is no other gateway.
  using Changed = std::function<Result<std::vector<InodeNo>>(WorkspaceKey, uint64_t* cursor)>;
  Changed changed_elsewhere = nullptr;
};

struct CheckOptions {
  std::string workspace;  // empty: all
  bool repair = false;
  bool content = true;  // read all blocks; else only whether they are there
};

class WorkspaceCheck {
 public:
  // Tells how far it is; false: give up (ECANCELED).
  using Going = std::function<bool(const std::string& phase, uint64_t done, uint64_t total)>;
  // Ids of the blocks that are stored.
  using Stored = std::unordered_set<BlockId, Id16Hash>;

  WorkspaceCheck(CheckParts& parts, Workspace workspace, const CheckOptions& options,
                 const Stored& stored, Going going)
      : parts_(parts),
        workspace_(std::move(workspace)),
        options_(options),
        stored_(stored),
        going_(std::move(going)),
        census_(workspace_.key) {}

  Result<void> Run();
  std::vector<Damage>& damages() { return damages_; }
  uint64_t inodes() const { return census_.sources().size(); }
  uint64_t blocks() const { return rows_.size(); }
  uint64_t content_bytes() const { return content_bytes_; }
  // Files need this block, although it has no row.
  bool Needs(const BlockId& id) const { return census_.references(id) != 0; }

 private:
  enum class Bytes { kMissing, kCorrupt, kUnreadable };
  struct Row {
    uint64_t size = 0;
    uint64_t xxh3 = 0;
    uint64_t references = 0;
  };
  // What looks wrong.
  struct Suspect {
    // In the order in which they are mended: counts come first, because what follows changes them
    // as operations do.
    enum class What { kUsage, kBlock, kInode, kContent, kNames, kNameless };
    What what;
    InodeNo ino = 0;
    BlockId block = {};
  };
  using Suspects = std::span<const Suspect>;

  bool is_shared() const { return parts_.changed_elsewhere != nullptr; }
  // ECANCELED: give up. Notes what is changed meanwhile.
  Result<void> Step(const char* phase, uint64_t done, uint64_t total);
  Result<void> NoteChanges();
  Result<void> ReadInodes();
  Result<void> ReadAllRows();
  Result<void> ReadRows(std::span<const BlockId> ids);
  // What is in unread_, and the rows of the blocks that it uses or used.
  Result<void> ReadChanged();
  Result<void> ReadContent();
  Result<void> LookAtBlock(const BlockId& id);
  Result<void> CatchUp();
  Result<void> FindSuspects();
  void SortSuspects();
  // Whether suspects are what they seem, in one transaction.
  Result<void> Verify();
  // The same where others write: leaves those of which that is sure.
  Result<void> Confirm();
  Result<void> ConfirmSome(Suspects some, std::vector<Suspect>* undecided);
  Result<std::vector<std::string>> StampsOf(Suspects some);
  // With leases recalled; EBUSY: one is not given back.
  Result<void> Repair();
  Result<void> Mend(const SessionRecord& presence, Suspects some);
  // kStoreConflict: one of them is changed all the time.
  Result<void> MendInPieces(const SessionRecord& presence, Suspects some);

  // ---- What is certain, into found_. `changer` null: nothing is mended.
  Result<void> JudgeAll(MetadataReader& rows, Changer* changer, Suspects some);
  Result<void> ReadForJudgement(MetadataReader& rows, Suspects some);
  Result<void> Judge(MetadataReader& rows, Changer* changer, const Suspect& suspect);
  // The workspace's row, of a moment at which the census holds; nothing: there is none.
  Result<std::optional<Workspace>> UsageNow(MetadataReader& rows);
  Result<void> JudgeUsage(MetadataReader& rows, Changer* changer);
  void JudgeBlock(MetadataReader& rows, Changer* changer, const BlockId& id);
  void JudgeContent(MetadataReader& rows, Changer* changer, InodeNo ino);
  void JudgeInode(Changer* changer, InodeNo ino);
  Result<void> JudgeNames(MetadataReader& rows, Changer* changer, InodeNo directory);
  void JudgeNameless(Changer* changer, InodeNo ino);
  // Those of its names that stand for one of dangling_.
  std::vector<Name> SuspectNames(MetadataReader& rows, InodeNo directory) const;
  InodeNo LostAndFound(Changer& changer);

  Damage& Add(std::string kind, std::string what, std::string remedy);
  std::string PathOf(MetadataReader& rows, InodeNo ino,
                     const std::unordered_map<InodeNo, InodeNo>& parents) const;
  Result<void> NamePaths();
  bool Continue(const char* phase, uint64_t done, uint64_t total) const {
    return going_(workspace_.name + ": " + phase, done, total);
  }

  CheckParts& parts_;
  const Workspace workspace_;
  const CheckOptions& options_;
  const Stored& stored_;
  const Going going_;
  Census census_;
  std::unordered_set<InodeNo> unread_;  // changed since they were read
  uint64_t cursor_ = 0;                 // of changed_elsewhere
  std::unordered_map<BlockId, Row, Id16Hash> rows_;
  std::unordered_map<BlockId, Bytes, Id16Hash> bad_;
  std::unordered_map<BlockId, BlockRecord, Id16Hash> rebuilt_;  // rows made from the bytes
  uint64_t content_bytes_ = 0;
  std::vector<Suspect> suspects_;
  std::unordered_map<InodeNo, std::unordered_set<InodeNo>> dangling_;  // by directory
  InodeNo spare_inode_ = 0;
  InodeNo lost_and_found_ = 0;
  std::vector<Damage> found_;    // by the judgement that is going on
  std::vector<Damage> damages_;  // that are certain
};

}  // namespace airstore::gateway
