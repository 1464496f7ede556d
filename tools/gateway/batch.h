// SPDX-License-Identifier: Apache-2.0
//
// Applying a batch of mutations at most once: sequences, recorded outcomes, packing of inline data
// into blocks, and the one transaction around it all.
//
// The packed blocks are written (synced) while the transaction computes; the commit waits for them.
// Where they go far, they go first: nobody waits for a transaction that waits for a network. A
// crash between the two leaves a block without a row, which the collector finds.
//
// Change() is for callers without a session (v1): what is to be done is found out inside of the
// transaction, by names; it happens as a whole or not at all.
//
// Threads: any; batches of all sessions take turns in the store's writer.
// Ownership: borrows the stores. The request's bytes must outlive Apply().
#pragma once

#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "tools/gateway/batch_zones.h"
#include "tools/gateway/blocks.h"
#include "tools/gateway/metadata_store.h"
#include "tools/gateway/mutator.h"

namespace airstore::gateway {

// Outcomes are kept for at least so many sequences back.
inline constexpr uint64_t kOutcomeWindow = 16384;

struct BatchResult {
  // Why the whole call failed and nothing was applied.
  enum class Refusal {
    kNone,
    kUnknownSession,
    kSequenceGap,
    kUnordered,
    kHeldByOther,   // another session holds a lease
    kLeaseLost,     // the session no longer holds a lease that the batch was made under
    kUnregistered,  // it touches zones that the session has to register first
    kStore,
  };
  Refusal refusal = Refusal::kNone;
  Error error{0, {}};  // kStore
  uint64_t last_sequence = 0;
  uint64_t cursor = 0;                // of what was published; 0: nothing that concerns anybody
  std::vector<SessionId> only;        // whom it concerns; empty: everybody
  std::vector<InodeNo> unregistered;  // kUnregistered
  std::vector<LeaseRecord> ended;     // the session's own: their zones are no longer what they were
  bool replayed = false;              // all of it was done before, and published then
  std::vector<MutationOutcome> outcomes;
};

// The inodes that changes of one workspace have touched since it was asked to watch, for a check
// that looks at them one after the other. Threads: any.
class ChangeTracker {
 public:
  void Watch(WorkspaceKey ws);
  void Stop();
  // What there was since Watch(), or since the last call.
  std::unordered_set<InodeNo> Take();
  // By those who change; before they let go of the writer.
  void Note(WorkspaceKey ws, std::span<const InodeNo> inodes);

 private:
  std::mutex mu_;
  std::optional<WorkspaceKey> watched_;  // guarded by mu_
  std::unordered_set<InodeNo> inodes_;   // ditto
};

// The tree as a Change() sees it, its own steps included.
class Changer {
 public:
  Changer(WorkingTree& tree, Mutator& mutator, BatchZones& zones, int64_t now_ns)
      : tree_(tree), mutator_(mutator), zones_(zones), now_ns_(now_ns) {}

  const Inode* Find(InodeNo ino) { return tree_.Find(ino); }
  std::optional<InodeNo> Lookup(InodeNo parent, std::string_view name) {
    return tree_.store().GetEntry(tree_.workspace(), parent, name);
  }
  std::vector<Entry> List(InodeNo parent, std::string_view after, size_t limit) {
    return tree_.store().ListEntries(tree_.workspace(), parent, after, limit);
  }
  // Commits also what watchers need not hear of.
  void CommitAnyway() { commits_anyway_ = true; }
  bool commits_anyway() const { return commits_anyway_; }
  // What it works on, for repairs.
  WorkingTree& tree() { return tree_; }
  Mutator& mutator() { return mutator_; }
  // Checks and does one step, at once; 0 or an errno.
  template <typename Op>
  int Run(const Op& op) {
    Mutation mutation;
    mutation.time_ns = now_ns_;
    mutation.op = op;
    return RunMutation(mutation);
  }

 private:
  int RunMutation(const Mutation& mutation);

  WorkingTree& tree_;
  Mutator& mutator_;
  BatchZones& zones_;
  const int64_t now_ns_;
  bool commits_anyway_ = false;
};

class BatchApplier {
 public:
  // Called behind each commit that changed something, in commit order, unless the store has
  // announced it by itself; answers the cursor.
  using Publish =
      std::function<uint64_t(WorkspaceKey, const SessionId& by, const ChangeSet& changes)>;

  // Registers zones for a session (Sessions::Register). False: another one holds a lease there.
  using Register =
      std::function<Result<bool>(const SessionRecord&, const std::vector<InodeNo>& zones)>;

  BatchApplier(MetadataStore& store, Blocks& blocks, Publish publish)
      : store_(store), blocks_(blocks), publish_(std::move(publish)) {}
  // Before anything is applied. Without it zones are nobody's matter.
  void RegisterWith(Register call) { register_ = std::move(call); }

  // `leases`: those that the batch was made under. Whether leases permit it is checked inside of
  // the transaction, so that no lease is granted or ends in between.
  BatchResult Apply(const SessionId& session, std::vector<Mutation> mutations, bool read_only,
                    const std::vector<uint64_t>& leases = {});

  // Does what `plan` does, unless that answers an errno. `content`: what the plan is going to
  // write, of which it gets the stored form; its inode is for the plan to fill in. EBUSY: a session
  // holds a lease. Answers the cursor of what was published, 0 for nothing. `refused`, unless null:
  // whether an error is the plan's, or says that the workspace or the lease is in the way; others
  // are the store's.
  using Plan = std::function<int(Changer& changer, WriteOp& content)>;
  Result<uint64_t> Change(WorkspaceKey ws, const SessionId& by, WriteOp content, const Plan& plan,
                          bool* refused = nullptr);

  ChangeTracker& tracker() { return tracker_; }

  // Drops the nameless inodes of a session and the session itself. False: there is none.
  Result<bool> EndSession(const SessionId& session);

 private:
  struct PackedBlock {
    BlockRecord record;
    std::string data;
  };
  static std::vector<PackedBlock> Pack(std::vector<Mutation>& mutations, uint64_t last_applied);
  Result<void> Store(WorkspaceKey ws, const std::vector<PackedBlock>& packed);
  // kStore with kStoreConflict: nothing has happened, and it may be done again.
  BatchResult ApplyStored(const SessionId& session_id, WorkspaceKey ws,
                          std::span<const Mutation> mutations,
                          const std::vector<PackedBlock>& packed,
                          const std::shared_future<Result<void>>& stored, bool read_only,
                          const std::vector<uint64_t>& leases);
  // `unknown`: it failed, and may have been done all the same. `refused`: as of Change().
  Result<uint64_t> ChangeStored(WorkspaceKey ws, const SessionId& by, WriteOp& content,
                                const std::vector<PackedBlock>& packed, const Plan& plan,
                                bool* unknown, bool* refused);
  // Takes them into the tree, unless a scrub may have taken them for left by a crash.
  static Result<void> AddBlocks(const std::vector<PackedBlock>& packed, WorkingTree* tree);
  // Tells of a commit what is to be told, to whom; answers the last cursor.
  uint64_t Published(const MetadataWriter& committed, WorkspaceKey ws, const SessionId& by,
                     const std::vector<ChangeSet>& told);

  MetadataStore& store_;
  Blocks& blocks_;
  const Publish publish_;
  Register register_;
  ChangeTracker tracker_;
};

}  // namespace airstore::gateway
