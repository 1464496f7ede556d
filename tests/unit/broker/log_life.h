// SPDX-License-Identifier: Apache-2.0
//
// A mutation log and its journal for as long as a broker lives, and a gateway that may be silent.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/mutation_log.h"
#include "tests/unit/broker/run_task.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {

// Applies each number once, as the real one does; what it is asked when silent it may apply, but
// does not answer.
class OnceGateway : public Gateway {
 public:
  Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t> leases) override {
    ++calls;
    EXPECT_LE(batch->size(), most);
    size_t bytes = 0;
    for (const Mutation& mutation : *batch) {
      const auto* create = std::get_if<CreateOp>(&mutation.op);
      if (create != nullptr) bytes += create->symlink_target.size() + create->name.size();
    }
    if (bytes > most_bytes) co_return Error{EAGAIN, "too long for a message"};
    if (batch->size() > most) co_return Error{EIO, "too many"};
    if (silent_from != 0 && batch->front().sequence >= silent_from) co_return Error{EAGAIN, ""};
    if (held_by_other) co_return Error{EBUSY, "another host is giving back its lease"};
    if (lease_ended && !leases.empty()) co_return Error{EKEYEXPIRED, "the lease has ended"};
    batches.push_back(batch->size());
    under.push_back(leases);
    if (forgets && batch->front().sequence > applied.size() + 1) co_return Error{ESTALE, "a gap"};
    if (!silent || applies_when_silent) {
      for (const Mutation& mutation : *batch) {
        EXPECT_LE(mutation.sequence, applied.size() + 1) << "a gap";
        applied.emplace(mutation.sequence, mutation);
      }
    }
    if (silent) co_return Error{EAGAIN, "silent"};
    std::vector<MutationResult> results;
    for (const Mutation& mutation : *batch) {
      int error = std::holds_alternative<WriteOp>(mutation.op) ? std::exchange(write_error, 0) : 0;
      if (std::holds_alternative<RemoveXattrOp>(mutation.op)) error = ENODATA;
      results.push_back(MutationResult{.sequence = mutation.sequence, .error = error});
    }
    co_return results;
  }
  Task<Result<OpenedSession>> Open(const std::string&, const std::array<uint8_t, 16>&,
                                   bool) override {
    co_return OpenedSession{};
  }
  Task<Result<void>> Close() override { co_return Result<void>{}; }
  Task<Result<uint64_t>> KeepAlive() override { co_return uint64_t{0}; }
  Task<Result<AcquiredLease>> AcquireLease(uint64_t) override { co_return AcquiredLease{}; }
  Task<Result<void>> ReleaseLease(uint64_t) override { co_return Result<void>{}; }
  std::unique_ptr<WatchStream> Watch(uint64_t) override { return nullptr; }
  Task<Result<void>> AckWatch(uint64_t) override { co_return Result<void>{}; }
  Task<Result<std::pair<uint64_t, uint64_t>>> AllocateInodes(uint64_t) override {
    co_return Error{EIO, ""};
  }
  Task<Result<std::vector<ResolveResult>>> Resolve(std::vector<ResolveItem>) override {
    co_return Error{EIO, ""};
  }
  Task<Result<Fetched>> Fetch(uint64_t, uint64_t, uint64_t) override { co_return Error{EIO, ""}; }
  Task<Result<void>> PutBlock(const BlockId&, std::string) override { co_return Result<void>{}; }
  Task<Result<LockVerdict>> Lock(LockCall, LockAsk) override { co_return LockVerdict{}; }
  Task<Result<void>> CancelLock(uint64_t) override { co_return Result<void>{}; }
  Task<Result<AssertedLocks>> AssertLocks(std::vector<LockCall>) override {
    co_return AssertedLocks{};
  }
  Task<Result<StatFs>> Statfs() override { co_return StatFs{}; }
  void SetToken(Secret) override {}
  const GatewayCounters& counters() const override { return counters_; }
  std::string state() const override { return "connected"; }

  bool silent = false;
  bool applies_when_silent = false;
  bool forgets = false;  // it may have fewer than it has answered
  int write_error = 0;   // of the next write
  bool lease_ended = false;
  bool held_by_other = false;
  std::vector<std::vector<uint64_t>> under;  // leases, of each batch
  size_t most = SIZE_MAX;                    // mutations of one batch
  size_t most_bytes = SIZE_MAX;
  uint64_t silent_from = 0;  // neither applied nor answered from that number on
  std::vector<size_t> batches;
  int calls = 0;
  std::map<uint64_t, Mutation> applied;  // by sequence

 private:
  GatewayCounters counters_;
};

class OneByte : public ContentSource {
 public:
  Task<Mutation> BuildWrite(uint64_t inode) override {
    Mutation mutation;
    WriteOp op;
    op.inode = inode;
    op.size = 1;
    op.extents.push_back(WriteExtent{.offset = 0, .length = 1, .source = std::string("x")});
    if (build_error != 0) op = WriteOp{.inode = inode, .extents = {}, .size = {}, .mtime_ns = {}};
    mutation.op = std::move(op);
    if (parts > 0) --parts;
    if (on_build) on_build();
    co_return mutation;
  }
  bool HasMore(uint64_t) const override { return parts > 0; }
  int BuildError(uint64_t) const override { return build_error; }
  void ForgetParts(uint64_t) override { parts = 0; }
  bool BuildsOnPending(uint64_t) const override { return builds_on_pending; }
  Settled ContentSettled(uint64_t inode, int error) override {
    if (error == 0 && parts > 0) return Settled::kMore;
    settled.push_back(inode);
    return error == EIO ? Settled::kSendAgain : Settled::kForGood;
  }
  uint64_t ContentVersion(uint64_t) const override { return version; }
  bool MustMatch(uint64_t) const override { return must_match; }
  void ContentApplied(uint64_t, uint64_t, bool) override {}
  std::vector<uint64_t> settled;
  uint64_t version = 0;
  bool must_match = false;
  bool builds_on_pending = false;
  int build_error = 0;
  int parts = 0;  // still to be built; 0: content comes as a whole
  std::function<void()> on_build;
};

inline Mutation Creation(uint64_t inode) {
  Mutation mutation;
  CreateOp op;
  op.parent = 1;
  op.name = "n" + std::to_string(inode);
  op.inode = inode;
  mutation.op = std::move(op);
  return mutation;
}

inline Mutation Cut(uint64_t inode) {
  SetattrOp op;
  op.inode = inode;
  op.size = 0;
  Mutation mutation;
  mutation.op = op;
  return mutation;
}

// One life of a broker.
struct Life {
  explicit Life(OnceGateway* gateway, std::unique_ptr<SessionJournal> kept)
      : tasks(loop.get_executor()), journal(std::move(kept)) {
    log = std::make_unique<MutationLog>(
        loop.get_executor(), &tasks, gateway, journal.get(), &contents,
        [this](const Mutation&, const std::vector<uint64_t>& subjects, int error) {
          if (!may_be_refused) ADD_FAILURE() << "refused: " << error;
          refused.emplace_back(subjects.empty() ? 0 : subjects.back(), error);
        },
        []() -> Task<Result<uint64_t>> { co_return uint64_t{0}; });
  }
  // Until the gateway was asked that often.
  void RunUntilAsked(const OnceGateway& gateway, int calls) {
    while (gateway.calls < calls) loop.run_one();
  }
  void DrainAndStop() {
    auto run = [](MutationLog* all) -> Task<bool> {
      co_await all->Drain();
      co_await all->Stop();
      co_return true;
    };
    RunTask(loop, run(log.get()));
  }

  boost::asio::io_context loop{1};
  Tasks tasks;
  std::unique_ptr<SessionJournal> journal;
  OneByte contents;
  std::unique_ptr<MutationLog> log;
  bool may_be_refused = false;
  std::vector<std::pair<uint64_t, int>> refused;  // the last subject, errno
};

class MutationLogTest : public testing::Test {
 protected:
  std::unique_ptr<SessionJournal> NewJournal() {
    return std::move(*SessionJournal::Create(directory_ / "journal", {}));
  }
  std::unique_ptr<SessionJournal> OldJournal(JournalState* state) {
    return std::move(*SessionJournal::Open(directory_ / "journal", {}, state));
  }
  TempDir directory_;
  OnceGateway gateway_;
};

}  // namespace airstore::broker
