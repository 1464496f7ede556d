// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/batch.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "shm/base/fault.h"
#include "tools/gateway/clock.h"
#include "tools/gateway/outcome_codec.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {
namespace {

BatchResult Refuse(BatchResult::Refusal refusal, uint64_t last_sequence = 0) {
  BatchResult result;
  result.refusal = refusal;
  result.last_sequence = last_sequence;
  return result;
}

BatchResult StoreFailed(Error error) {
  BatchResult result = Refuse(BatchResult::Refusal::kStore);
  result.error = std::move(error);
  return result;
}

// The recorded outcomes of first..last; what is no longer recorded counts as done.
std::vector<MutationOutcome> Replayed(MetadataReader& store, const SessionId& session,
                                      uint64_t first, uint64_t last) {
  std::vector<MutationOutcome> outcomes(last - first + 1);
  for (size_t i = 0; i < outcomes.size(); ++i) outcomes[i].sequence = first + i;
  for (const RecordedBatch& batch : store.ListOutcomes(session, first, last)) {
    auto decoded = DecodeOutcomes(batch.first, batch.data);
    if (!decoded) continue;
    for (MutationOutcome& outcome : *decoded) {
      if (outcome.sequence >= first && outcome.sequence <= last) {
        outcomes[outcome.sequence - first] = std::move(outcome);
      }
    }
  }
  return outcomes;
}

// Of a zone nobody holds one who is not registered there alone.
BatchResult::Refusal CheckLeases(const std::vector<LeaseRecord>& all, const SessionId& session,
                                 const std::vector<uint64_t>& leases) {
  size_t held = 0;
  for (const LeaseRecord& lease : all) {
    if (lease.session == session) {
      held += static_cast<size_t>(std::count(leases.begin(), leases.end(), lease.id));
    } else if (lease.inode == kRootInode) {
      return BatchResult::Refusal::kHeldByOther;
    }
  }
  return held == leases.size() ? BatchResult::Refusal::kNone : BatchResult::Refusal::kLeaseLost;
}

void Expect(const CreateOp& op, ExpectedRows* rows) {
  rows->inodes.push_back(op.ino);
  if (op.parent == 0) return;
  rows->inodes.push_back(op.parent);
  rows->names.emplace_back(op.parent, op.name);
}
void Expect(const LinkOp& op, ExpectedRows* rows) {
  rows->inodes.insert(rows->inodes.end(), {op.ino, op.parent});
  rows->names.emplace_back(op.parent, op.name);
}
void Expect(const UnlinkOp& op, ExpectedRows* rows) {
  rows->inodes.insert(rows->inodes.end(), {op.ino, op.parent});
  rows->names.emplace_back(op.parent, op.name);
}
void Expect(const RenameOp& op, ExpectedRows* rows) {
  rows->inodes.insert(rows->inodes.end(), {op.old_parent, op.new_parent});
  rows->names.emplace_back(op.old_parent, op.old_name);
  rows->names.emplace_back(op.new_parent, op.new_name);
}
void Expect(const WriteOp& op, ExpectedRows* rows) {
  rows->inodes.push_back(op.ino);
  for (const WriteExtent& extent : op.extents) {
    const auto* block = std::get_if<BlockSource>(&extent.source);
    if (block != nullptr) rows->blocks.push_back(block->id);
  }
}
void Expect(const std::monostate&, ExpectedRows*) {}
template <typename Op>
void Expect(const Op& op, ExpectedRows* rows) {
  rows->inodes.push_back(op.ino);
}

// What is asked for besides is little, or depends on these.
ExpectedRows RowsOf(std::span<const Mutation> mutations) {
  ExpectedRows rows;
  for (const Mutation& mutation : mutations) {
    if (mutation.if_inode != 0) rows.inodes.push_back(mutation.if_inode);
    std::visit([&](const auto& op) { Expect(op, &rows); }, mutation.op);
  }
  return rows;
}

std::vector<MutationOutcome> RunAll(Mutator& mutator, BatchZones& zones,
                                    std::span<const Mutation> mutations, bool read_only) {
  std::vector<MutationOutcome> outcomes;
  outcomes.reserve(mutations.size());
  bool stopped = false;
  for (const Mutation& mutation : mutations) {
    MutationOutcome outcome{mutation.sequence, 0, {}};
    if (stopped) {
      outcome.error = ECANCELED;
    } else if (read_only) {
      outcome.error = EROFS;
    } else {
      outcome.error = CheckMutation(mutation);
      if (outcome.error == 0) {
        zones.Before(mutation);
        outcome.error = mutator.Run(mutation, &outcome.versions);
        if (outcome.error == 0) zones.After(mutation);
      }
    }
    stopped = stopped || (outcome.error != 0 && mutation.stop_on_error);
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

}  // namespace

std::vector<BatchApplier::PackedBlock> BatchApplier::Pack(std::vector<Mutation>& mutations,
                                                          uint64_t last_applied) {
  std::vector<PackedBlock> packed;
  for (Mutation& mutation : mutations) {
    auto* write = std::get_if<WriteOp>(&mutation.op);
    if (write == nullptr || mutation.sequence <= last_applied || CheckMutation(mutation) != 0) {
      continue;
    }
    for (WriteExtent& extent : write->extents) {
      const auto* data = std::get_if<std::string_view>(&extent.source);
      if (data == nullptr) continue;
      if (packed.empty() || packed.back().data.size() + data->size() > kBlockBytes) {
        packed.emplace_back().record.id = RandomBlockId();
      }
      PackedBlock& block = packed.back();
      const BlockSource source{block.record.id, block.data.size()};
      block.data.append(*data);
      extent.source = source;
    }
  }
  const int64_t now_ns = WallClockNs();
  for (PackedBlock& block : packed) {
    block.record.size = block.data.size();
    block.record.xxh3 = ContentHash(block.data);
    block.record.touched_ns = now_ns;
  }
  return packed;
}

Result<void> BatchApplier::Store(WorkspaceKey ws, const std::vector<PackedBlock>& packed) {
  for (const PackedBlock& block : packed) {
    AIRSTORE_TRY(blocks_.Put({ws, block.record.id}, block.data, block.record.xxh3));
  }
  return {};
}

Result<void> BatchApplier::AddBlocks(const std::vector<PackedBlock>& packed, WorkingTree* tree) {
  for (const PackedBlock& block : packed) {
    // A gateway may be stopped for any time between storing and here. That there is no row is read
    // under the guard that a scrub changes.
    if (WallClockNs() - block.record.touched_ns > kMostStoringNs ||
        tree->store().GetBlock(tree->workspace(), block.record.id)) {
      return Error{EAGAIN, "content was stored too long ago: it is to be sent again"};
    }
    tree->AddBlock(block.record);
  }
  return tree->store().status();
}

BatchResult BatchApplier::Apply(const SessionId& session_id, std::vector<Mutation> mutations,
                                bool read_only, const std::vector<uint64_t>& leases) {
  if (mutations.empty()) return {};
  const uint64_t first = mutations.front().sequence;
  for (size_t i = 0; i < mutations.size(); ++i) {
    if (first == 0 || mutations[i].sequence != first + i) {
      return Refuse(BatchResult::Refusal::kUnordered);
    }
  }
  const auto seen = UntilNoConflict([&]() -> Result<std::optional<SessionRecord>> {
    auto reader = store_.Read();
    if (!reader) return reader.error();
    auto session = (*reader)->GetSession(session_id);
    AIRSTORE_TRY((*reader)->status());
    return session;
  });
  if (!seen) return StoreFailed(seen.error());
  if (!*seen) return Refuse(BatchResult::Refusal::kUnknownSession);
  const WorkspaceKey ws = (*seen)->workspace;
  std::vector<PackedBlock> packed;
  if (!read_only) packed = Pack(mutations, (*seen)->last_sequence);
  std::shared_future<Result<void>> stored;
  if (!packed.empty()) {
    stored = std::async(std::launch::async, [&] { return Store(ws, packed); }).share();
    if (blocks_.store().is_remote()) stored.wait();
  }
  for (int attempt = 1;; ++attempt) {
    BatchResult result = ApplyStored(session_id, ws, mutations, packed, stored, read_only, leases);
    if (result.refusal == BatchResult::Refusal::kUnregistered) {
      const auto free = register_(**seen, result.unregistered);
      if (!free) return StoreFailed(free.error());
      if (!*free) return Refuse(BatchResult::Refusal::kHeldByOther);
      if (PauseAfterConflict(attempt)) continue;
      return StoreFailed({EAGAIN, "zones change all the time"});
    }
    if (result.refusal != BatchResult::Refusal::kStore || result.error.code != kStoreConflict ||
        !PauseAfterConflict(attempt)) {
      return result;
    }
  }
}

BatchResult BatchApplier::ApplyStored(const SessionId& session_id, WorkspaceKey ws,
                                      std::span<const Mutation> mutations,
                                      const std::vector<PackedBlock>& packed,
                                      const std::shared_future<Result<void>>& stored,
                                      bool read_only, const std::vector<uint64_t>& leases) {
  const uint64_t first = mutations.front().sequence;
  auto writer = store_.Write();
  if (!writer) return StoreFailed(writer.error());
  MetadataWriter& txn = **writer;
  auto session = txn.GetSession(session_id);
  const auto workspace = txn.GetWorkspace(ws);
  if (auto status = txn.status(); !status) return StoreFailed(status.error());
  if (!session || !workspace) return Refuse(BatchResult::Refusal::kUnknownSession);
  const uint64_t last = mutations.back().sequence;
  if (first > session->last_sequence + 1) {
    return Refuse(BatchResult::Refusal::kSequenceGap, session->last_sequence);
  }

  BatchResult result;
  size_t fresh = 0;  // index of the first mutation that was not applied before
  if (first <= session->last_sequence) {
    const uint64_t known = std::min(last, session->last_sequence);
    result.outcomes = Replayed(txn, session_id, first, known);
    fresh = result.outcomes.size();
  }
  result.last_sequence = std::max(last, session->last_sequence);
  if (fresh == mutations.size()) {
    if (auto status = txn.status(); !status) return StoreFailed(status.error());
    result.replayed = true;
    return result;
  }

  const std::vector<LeaseRecord> all_leases = txn.ListLeases(ws);
  const std::vector<InterestRecord> interests = txn.ListInterests(ws);
  if (const auto refusal = CheckLeases(all_leases, session_id, leases);
      refusal != BatchResult::Refusal::kNone) {
    return Refuse(refusal);
  }

  txn.Expect(ws, RowsOf(mutations.subspan(fresh)));
  WorkingTree tree(txn, ws, WallClockNs());
  if (auto added = AddBlocks(packed, &tree); !added) return StoreFailed(added.error());
  Mutator mutator(tree, session_id, *workspace);
  BatchZones zones(tree);
  auto outcomes = RunAll(mutator, zones, mutations.subspan(fresh), read_only);
  if (register_) {
    result.unregistered = zones.Unregistered(interests, session_id);
    if (!result.unregistered.empty()) {
      if (auto status = txn.status(); !status) return StoreFailed(status.error());
      result.refusal = BatchResult::Refusal::kUnregistered;
      return result;
    }
  }
  for (const InterestRecord& carried : zones.Carried(interests)) txn.PutInterest(carried);
  for (const auto& [from, to] : zones.moves()) {
    for (const LeaseRecord& lease : all_leases) {
      if (lease.session != session_id || (lease.inode != from && lease.inode != to)) continue;
      if (lease.inode == kRootInode) continue;
      txn.DeleteLease(lease);
      result.ended.push_back(lease);
    }
  }
  tree.Flush();
  txn.PutOutcomes(session_id, {outcomes.front().sequence, last, EncodeOutcomes(outcomes)});
  if (last > kOutcomeWindow) txn.ForgetOutcomes(session_id, last - kOutcomeWindow);
  session->last_sequence = last;
  session->seen_ns = WallClockNs();
  txn.PutSession(*session);
  if (stored.valid()) {
    if (auto done = stored.get(); !done) return StoreFailed(done.error());
  }
  if (const int error = Reach(FaultPoint::kGatewayBeforeCommit)) {
    return StoreFailed({error, "commit"});
  }
  const ChangeSet changes = mutator.TakeChanges();
  const std::vector<ChangeSet> told = zones.Split(changes, interests, session_id);
  for (const ChangeSet& some : told) txn.Announce(ws, session_id, some);
  if (auto done = txn.Commit(); !done) return StoreFailed(done.error());
  Reach(FaultPoint::kGatewayAfterCommit);
  tracker_.Note(ws, changes.inodes);
  result.cursor = Published(txn, ws, session_id, told);
  if (!told.empty()) result.only = told.back().only;
  std::move(outcomes.begin(), outcomes.end(), std::back_inserter(result.outcomes));
  return result;
}

void ChangeTracker::Watch(WorkspaceKey ws) {
  const std::lock_guard lock(mu_);
  watched_ = ws;
  inodes_.clear();
}

void ChangeTracker::Stop() {
  const std::lock_guard lock(mu_);
  watched_.reset();
  inodes_.clear();
}

std::unordered_set<InodeNo> ChangeTracker::Take() {
  const std::lock_guard lock(mu_);
  return std::exchange(inodes_, {});
}

void ChangeTracker::Note(WorkspaceKey ws, std::span<const InodeNo> inodes) {
  const std::lock_guard lock(mu_);
  if (watched_ == ws) inodes_.insert(inodes.begin(), inodes.end());
}

int Changer::RunMutation(const Mutation& mutation) {
  if (const int error = CheckMutation(mutation); error != 0) return error;
  std::vector<InodeVersion> versions;
  zones_.Before(mutation);
  const int error = mutator_.Run(mutation, &versions);
  if (error == 0) zones_.After(mutation);
  return error;
}

Result<uint64_t> BatchApplier::Change(WorkspaceKey ws, const SessionId& by, WriteOp content,
                                      const Plan& plan, bool* refused) {
  std::vector<PackedBlock> packed;
  if (!content.extents.empty()) {
    std::vector<Mutation> mutations(1);
    mutations.front().sequence = 1;
    mutations.front().op = std::move(content);
    packed = Pack(mutations, 0);
    content = std::move(std::get<WriteOp>(mutations.front().op));
    AIRSTORE_TRY(Store(ws, packed));
  }
  const WriteOp stored = std::move(content);
  bool unknown = false, planned = false;
  auto changed = UntilNoConflict([&] {
    WriteOp fresh = stored;  // the plan fills in its inode
    return ChangeStored(ws, by, fresh, packed, plan, &unknown, &planned);
  });
  if (refused != nullptr) *refused = planned;
  if (!changed && !unknown) {
    // Nothing refers to them, and there is no row that a collector would find.
    std::vector<BlockKey> keys;
    for (const PackedBlock& block : packed) keys.push_back({ws, block.record.id});
    (void)blocks_.Delete(keys);
  }
  return changed;
}

Result<uint64_t> BatchApplier::ChangeStored(WorkspaceKey ws, const SessionId& by, WriteOp& content,
                                            const std::vector<PackedBlock>& packed,
                                            const Plan& plan, bool* unknown, bool* refused) {
  *refused = true;
  const auto of_store = [refused](Error error) {
    *refused = false;
    return error;
  };
  auto writer = store_.Write();
  if (!writer) return of_store(writer.error());
  MetadataWriter& txn = **writer;
  const auto workspace = txn.GetWorkspace(ws);
  if (auto status = txn.status(); !status) return of_store(status.error());
  if (!workspace) return Error{ESTALE, "the workspace does not exist any more"};
  bool leased = false;
  for (const LeaseRecord& lease : txn.ListLeases(ws)) leased = leased || lease.session != by;
  const std::vector<InterestRecord> interests = txn.ListInterests(ws);
  if (auto status = txn.status(); !status) return of_store(status.error());
  if (leased) {
    return Error{EBUSY, "another host holds a lease"};
  }
  const int64_t now_ns = WallClockNs();
  WorkingTree tree(txn, ws, now_ns);
  if (auto added = AddBlocks(packed, &tree); !added) return of_store(added.error());
  Mutator mutator(tree, by, *workspace);
  BatchZones zones(tree);
  Changer changer(tree, mutator, zones, now_ns);
  const int error = plan(changer, content);
  if (auto status = txn.status(); !status) return of_store(status.error());
  if (error != 0) return Error{error, {}};
  tree.Flush();
  const ChangeSet changes = mutator.TakeChanges();
  if (changes.empty() && !changer.commits_anyway()) return uint64_t{0};
  for (const InterestRecord& carried : zones.Carried(interests)) txn.PutInterest(carried);
  // Callers of v1 have no interests, and repairs know no zones: everybody hears of it.
  std::vector<ChangeSet> told;
  if (!changes.empty()) told.push_back(changes);
  for (const ChangeSet& some : told) txn.Announce(ws, by, some);
  if (auto done = txn.Commit(); !done) {
    *unknown = done.error().code != kStoreConflict;
    return of_store(done.error());
  }
  tracker_.Note(ws, changes.inodes);
  return Published(txn, ws, by, told);
}

// Still inside of the writer: commits are published in their order.
uint64_t BatchApplier::Published(const MetadataWriter& committed, WorkspaceKey ws,
                                 const SessionId& by, const std::vector<ChangeSet>& told) {
  if (committed.announced() != 0) return committed.announced();
  uint64_t cursor = 0;
  for (const ChangeSet& some : told) cursor = publish_(ws, by, some);
  return cursor;
}

Result<bool> BatchApplier::EndSession(const SessionId& session_id) {
  return UntilNoConflict([&]() -> Result<bool> {
    auto writer = store_.Write();
    if (!writer) return writer.error();
    MetadataWriter& txn = **writer;
    const auto session = txn.GetSession(session_id);
    if (!session) {
      AIRSTORE_TRY(txn.status());
      return false;
    }
    WorkingTree tree(txn, session->workspace, WallClockNs());
    Mutator mutator(tree, session_id, Workspace{});
    const auto orphans = txn.ListOrphans(session->workspace, session_id);
    for (const InodeNo ino : orphans) mutator.DropOrphan(ino);
    tree.Flush();
    txn.DeleteSession(session_id);
    ChangeSet changes;
    changes.inodes = orphans;
    if (!orphans.empty()) txn.Announce(session->workspace, session_id, changes);
    AIRSTORE_TRY(txn.Commit());
    tracker_.Note(session->workspace, orphans);
    return true;
  });
}

}  // namespace airstore::gateway
