// SPDX-License-Identifier: Apache-2.0
//
// Files that are removed or replaced while their own content is on its way: not when another host
// has changed them meanwhile, and never refused for what was sent from here.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>

#include "tests/unit/broker/log_life.h"

namespace airstore::broker {
namespace {

// Has versions, and answers what it has applied as it did the first time.
class VersionedGateway : public OnceGateway {
 public:
  Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t> leases) override {
    ++calls;
    if (lease_ended && !leases.empty()) co_return Error{EKEYEXPIRED, "the lease has ended"};
    if (silent_from != 0 && batch->front().sequence >= silent_from) co_return Error{EAGAIN, ""};
    if (silent && !applies_when_silent) co_return Error{EAGAIN, "silent"};
    batches.push_back(batch->size());
    std::vector<MutationResult> results;
    for (const Mutation& mutation : *batch) {
      EXPECT_LE(mutation.sequence, results_.size() + 1) << "a gap";
      if (mutation.sequence > results_.size()) {
        applied.emplace(mutation.sequence, mutation);
        results_.push_back(Run(mutation));
      }
      results.push_back(results_[mutation.sequence - 1]);
    }
    if (silent) co_return Error{EAGAIN, "silent"};
    co_return results;
  }

  std::map<uint64_t, uint64_t> version;  // of the content, by inode

 private:
  MutationResult Run(const Mutation& mutation) {
    MutationResult result{.sequence = mutation.sequence};
    if (mutation.if_inode != 0 && mutation.if_content_version != 0 &&
        version[mutation.if_inode] != mutation.if_content_version) {
      result.error = ESTALE;
      return result;
    }
    if (const auto* create = std::get_if<CreateOp>(&mutation.op)) {
      result.content_version = version[create->inode] = 1;
    } else if (const auto* write = std::get_if<WriteOp>(&mutation.op)) {
      result.content_version = ++version[write->inode];
    } else if (const auto* cut = std::get_if<SetattrOp>(&mutation.op)) {
      result.content_version = ++version[cut->inode];
    } else if (const auto* gone = std::get_if<UnlinkOp>(&mutation.op)) {
      version.erase(gone->inode);
    } else if (std::holds_alternative<RenameOp>(mutation.op)) {
      version.erase(mutation.if_inode);
    } else if (const auto* touch = std::get_if<TouchOp>(&mutation.op)) {
      if (version.contains(touch->inode)) result.error = ENOTDIR;
    }
    return result;
  }
  std::vector<MutationResult> results_;
};

Mutation Removal(uint64_t inode, uint64_t version) {
  Mutation mutation;
  mutation.if_inode = inode;
  mutation.if_content_version = version;
  mutation.op = UnlinkOp{
      .parent = 1, .name = "n" + std::to_string(inode), .directory = false, .inode = inode};
  return mutation;
}

Mutation Replacement(uint64_t by, uint64_t inode, uint64_t version) {
  Mutation mutation;
  mutation.if_inode = inode;
  mutation.if_content_version = version;
  RenameOp op;
  op.old_parent = op.new_parent = 1;
  op.old_name = "n" + std::to_string(by);
  op.new_name = "n" + std::to_string(inode);
  mutation.op = op;
  return mutation;
}

class RemovalTest : public testing::Test {
 protected:
  static constexpr uint64_t kFile = 10;
  static constexpr uint64_t kOther = 20;

  RemovalTest() { Reset(); }
  void Reset() {
    directory_ = std::make_unique<TempDir>();
    gateway_ = VersionedGateway();
    gateway_.version[kFile] = 7;
    gateway_.version[kOther] = 3;
  }
  std::unique_ptr<Life> First() {
    auto life = std::make_unique<Life>(
        &gateway_, std::move(*SessionJournal::Create(*directory_ / "journal", {})));
    life->may_be_refused = true;
    life->contents.version = 7;
    life->log->OnLeaseLost([] {});
    return life;
  }
  // Goes on with what the first one left. It knows of no version but by the journal.
  std::unique_ptr<Life> Successor() {
    gateway_.silent = false;
    JournalState state;
    auto life = std::make_unique<Life>(
        &gateway_, std::move(*SessionJournal::Open(*directory_ / "journal", {}, &state)));
    life->may_be_refused = true;
    life->log->OnLeaseLost([] {});
    life->log->Restore(state);
    EXPECT_TRUE(life->log->Continue(gateway_.applied.size()));
    return life;
  }
  // Until all of it is answered; the log lives on.
  static void Drain(Life* life) {
    auto run = [](MutationLog* log) -> Task<bool> {
      co_await log->Drain();
      co_return true;
    };
    RunTask(life->loop, run(life->log.get()));
  }
  void Remove(Life* life) { life->log->Append(Removal(kFile, 7), {kFile}, {1}, {}, kFile); }
  // It is forgotten here.
  static void Forget(Life* life) { life->contents.version = 0; }
  bool removed() const { return !gateway_.version.contains(kFile); }

  std::unique_ptr<TempDir> directory_;
  VersionedGateway gateway_;
};

// The content is ahead in the same batch.
TEST_F(RemovalTest, OwnContentAheadIsNoConflict) {
  for (const bool leased : {false, true}) {
    for (const bool ended : {false, true}) {
      SCOPED_TRACE(std::to_string(leased) + std::to_string(ended));
      TempDir directory;
      VersionedGateway gateway;
      gateway.version[kFile] = 7;
      gateway.version[kOther] = 3;
      gateway.lease_ended = ended;
      Life life(&gateway, std::move(*SessionJournal::Create(directory / "journal", {})));
      life.contents.version = 7;
      life.log->OnLeaseLost([] {});
      life.log->SetLease(leased ? 5 : 0);
      life.log->Append(Cut(kFile), {kFile}, {});
      life.log->AppendContent(kFile);
      life.log->Append(Replacement(kOther, kFile, 7), {kOther, kFile}, {1}, {}, kFile);
      life.contents.version = 0;
      life.log->Start();
      life.DrainAndStop();
      EXPECT_FALSE(gateway.version.contains(kFile));
    }
  }
}

// Under the lease nobody comes in between, so it need not be waited for what is ahead.
TEST_F(RemovalTest, UnderTheLeaseABatchIsNotCut) {
  auto life = First();
  life->log->SetLease(5);
  life->log->AppendContent(kFile);
  Remove(life.get());
  life->log->Start();
  life->DrainAndStop();
  EXPECT_TRUE(removed());
  EXPECT_EQ(gateway_.batches, std::vector<size_t>{2});
}

TEST_F(RemovalTest, OfAFileWhoseContentIsRefusedItIsRefusedToo) {
  for (const bool cut : {false, true}) {
    for (const bool leased : {false, true}) {
      SCOPED_TRACE(std::to_string(cut) + std::to_string(leased));
      TempDir directory;
      VersionedGateway gateway;
      gateway.version[kFile] = 8;  // another host's
      gateway.lease_ended = leased;
      Life life(&gateway, std::move(*SessionJournal::Create(directory / "journal", {})));
      life.may_be_refused = true;
      life.contents.version = 7;
      life.log->OnLeaseLost([] {});
      life.log->SetLease(leased ? 5 : 0);
      if (cut) {
        life.log->Append(Cut(kFile), {kFile}, {});
      } else {
        life.log->AppendContent(kFile);
      }
      life.log->Append(Removal(kFile, 7), {kFile}, {1}, {}, kFile);
      life.contents.version = 0;
      life.log->Start();
      life.DrainAndStop();
      EXPECT_EQ(gateway.version[kFile], 8u);
      EXPECT_EQ(life.refused,
                (std::vector<std::pair<uint64_t, int>>{{kFile, ESTALE}, {kFile, ESTALE}}));
    }
  }
}

// A lease that is got back says nothing about what was done before.
TEST_F(RemovalTest, UnderALeaseThatWasGotBackItMustMatch) {
  gateway_.version[kFile] = 8;
  auto life = First();
  life->log->Append(Cut(kFile), {kFile}, {});
  Remove(life.get());
  Forget(life.get());
  life->log->SetLease(5);
  life->log->Start();
  life->DrainAndStop();
  EXPECT_EQ(gateway_.version[kFile], 8u);
  EXPECT_EQ(life->refused.size(), 2u);
}

// Its content was answered when it was not sent yet, and a file may be removed of which the gateway
// did not know.
TEST_F(RemovalTest, WhatIsAnsweredMeanwhileIsWhatItIsMadeOn) {
  auto life = First();
  life->log->SetLease(5);
  gateway_.version.erase(11);
  gateway_.silent = gateway_.applies_when_silent = true;
  life->log->AppendContent(kFile);
  life->log->Append(Creation(11), {11}, {1});
  life->log->Start();
  life->RunUntilAsked(gateway_, 1);
  Remove(life.get());
  life->log->Append(Removal(11, 0), {11}, {1}, {}, 11);
  Forget(life.get());
  EXPECT_EQ(gateway_.version[kFile], 8u);
  gateway_.silent = false;
  life->DrainAndStop();
  EXPECT_TRUE(life->refused.empty());
  EXPECT_FALSE(gateway_.version.contains(kFile));
  EXPECT_FALSE(gateway_.version.contains(11));
  EXPECT_EQ(gateway_.applied[3].if_content_version, 8u);
  EXPECT_EQ(gateway_.applied[4].if_content_version, 1u);
}

// The first broker dies when the gateway has its content, and before it has heard of that, or
// later.
TEST_F(RemovalTest, ASuccessorKnowsWhatItIsMadeOn) {
  for (const bool heard : {false, true}) {
    for (const bool changed : {false, true}) {
      SCOPED_TRACE(std::to_string(heard) + std::to_string(changed));
      Reset();
      {
        auto life = First();
        AttachedRecord attached;
        attached.inode = kFile;
        attached.file = 1;
        attached.dirty = true;
        ASSERT_TRUE(life->journal->Append(attached));
        gateway_.silent = gateway_.applies_when_silent = true;
        life->log->AppendContent(kFile);
        life->log->Start();
        life->RunUntilAsked(gateway_, 1);
        Remove(life.get());
        life->journal->Append(DetachedRecord{kFile});
        Forget(life.get());
        if (heard) {
          gateway_.silent = false;
          // Until it is about to be removed.
          gateway_.silent_from = 2;
          life->RunUntilAsked(gateway_, 3);
        }
      }
      gateway_.silent_from = 0;
      EXPECT_EQ(gateway_.version[kFile], 8u);
      if (changed) gateway_.version[kFile] = 9;
      auto life = Successor();
      life->log->Start();
      life->DrainAndStop();
      EXPECT_EQ(removed(), !changed);
      EXPECT_EQ(std::count_if(life->refused.begin(), life->refused.end(),
                              [](const auto& one) { return one.second == ESTALE; }),
                changed ? 1 : 0);
    }
  }
}

// Content that never arrived does not count, and is not sent any more.
TEST_F(RemovalTest, ASuccessorRemovesWhatNothingCameOf) {
  for (const bool changed : {false, true}) {
    SCOPED_TRACE(changed);
    Reset();
    {
      auto life = First();
      life->log->SetLease(5);
      gateway_.silent = true;
      life->log->AppendContent(kFile);
      Remove(life.get());
      life->log->Start();
      life->RunUntilAsked(gateway_, 1);
    }
    if (changed) gateway_.version[kFile] = 8;
    auto life = Successor();
    life->log->Start();
    life->DrainAndStop();
    EXPECT_EQ(removed(), !changed);
  }
}

// Both have numbers, and only the cut was applied.
TEST_F(RemovalTest, ASuccessorWaitsForTheAnswerToWhatIsAhead) {
  {
    auto life = First();
    life->log->SetLease(5);
    gateway_.silent = true;
    life->log->Append(Cut(kFile), {kFile}, {});
    Remove(life.get());
    life->log->Start();
    life->RunUntilAsked(gateway_, 1);
  }
  auto life = Successor();
  life->log->Start();
  life->DrainAndStop();
  EXPECT_TRUE(life->refused.empty());
  EXPECT_TRUE(removed());
}

}  // namespace
}  // namespace airstore::broker
