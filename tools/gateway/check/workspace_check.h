// SPDX-License-Identifier: Apache-2.0
//
// WorkspaceCheck: compares the rows of one workspace with each other and with its blocks, and
// mends them.
//
// It runs beside those who use the workspace: rows are read in short transactions, and what looks
// wrong is looked at once more in one, together with all that was changed meanwhile. Only that one
// excludes writers. Those of other gateways it does not: it fails when they change a row that looks
// wrong, and is done again. Every reference and every name that is added or taken away changes the
// row of the block or inode it is for, so what is counted while that stays as it is, is exact. A
// repair is a change like others: leases are recalled first, and hosts that watch are told. What is
// lost with a block becomes a hole.
//
// Threads: one.
// Ownership: borrows the gateway's parts.
#pragma once

#include <chrono>
#include <functional>
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
  static constexpr size_t kAtOnce = 256;  // rows of a transaction

  enum class Bytes { kMissing, kCorrupt, kUnreadable };
  struct Row {
    uint64_t size = 0;
    uint64_t xxh3 = 0;
    uint64_t references = 0;
  };
  // What looked wrong.
  struct Suspects {
    std::unordered_set<InodeNo> inodes;
    std::unordered_map<InodeNo, std::unordered_set<InodeNo>> dangling;  // by directory
    std::unordered_set<BlockId, Id16Hash> rows;
    std::unordered_set<InodeNo> content;  // a block of theirs is bad, or too small
    bool usage = false;
    bool empty() const {
      return inodes.empty() && dangling.empty() && rows.empty() && content.empty() && !usage;
    }
    // Only what looks wrong to both.
    void Keep(const Suspects& other);
  };

  bool is_shared() const { return parts_.changed_elsewhere != nullptr; }
  // ECANCELED: give up. Notes what is changed meanwhile.
  Result<void> Step(const char* phase, uint64_t done, uint64_t total);
  Result<void> NoteChanges();
  Result<void> ReadSome(std::span<const InodeNo> inodes);
  Result<void> ReadInodes();
  Result<void> ReadAllRows();
  Result<void> ReadRows(std::span<const BlockId> ids);
  // What is in unread_, and the rows of the blocks that it uses or used.
  Result<void> ReadChanged();
  Result<void> ReadContent();
  Result<void> LookAtBlock(const BlockId& id);
  Result<void> CatchUp();
  Result<void> Suspect();
  // What others were just changing does not look wrong again and again.
  Result<void> Settle();
  // With a lease recalled when something is to be mended; EBUSY: it is not given back.
  Result<void> Verify();
  Result<void> RepairNow();

  // ---- Of what is certain, in one transaction. `changer` null: nothing is mended.
  int Judge(MetadataReader& rows, Changer* changer);
  Result<void> ReadForJudgement(MetadataReader& rows);
  // The workspace's row, of a moment at which the census holds; nothing: there is none.
  std::optional<Workspace> UsageNow(MetadataReader& rows);
  void JudgeUsage(MetadataReader& rows, Changer* changer);
  void JudgeBlock(MetadataReader& rows, Changer* changer, const BlockId& id);
  void JudgeContent(MetadataReader& rows, Changer* changer, InodeNo ino);
  void JudgeInode(Changer* changer, InodeNo ino);
  void JudgeNames(MetadataReader& rows, Changer* changer, InodeNo directory);
  void JudgeNameless(Changer* changer, InodeNo ino, const Census::Source& source);
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
  Suspects suspects_;
  InodeNo spare_inode_ = 0;
  InodeNo lost_and_found_ = 0;
  std::vector<Damage> damages_;
};

}  // namespace airstore::gateway
