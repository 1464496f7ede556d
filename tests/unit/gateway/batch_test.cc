// SPDX-License-Identifier: Apache-2.0
//
// Batches: at most once, also over restarts; preconditions; what a failed mutation leaves.
#include <random>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/outcome_codec.h"

namespace airstore::gateway {
namespace {

using Refusal = BatchResult::Refusal;

Mutation MakeCreate(uint64_t sequence, std::string_view name, InodeNo ino) {
  Mutation m;
  m.sequence = sequence;
  m.op = CreateOp{kRootInode, name, ino, S_IFREG | 0644, 0, 0, 0, {}};
  return m;
}

Mutation MakeWrite(uint64_t sequence, InodeNo ino, std::string_view data) {
  Mutation m;
  m.sequence = sequence;
  m.op = WriteOp{ino, {{0, data.size(), data}}, {}, {}};
  return m;
}

TEST(Batch, ARepeatedBatchGetsItsRecordedAnswerAfterARestart) {
  Bench b;
  const std::vector<Mutation> batch = {MakeCreate(1, "a", 10), MakeCreate(2, "a", 11),
                                       MakeWrite(3, 10, "text")};
  const BatchResult first = b.batches->Apply(b.session, batch, false);
  ASSERT_EQ(first.outcomes.size(), 3u);
  EXPECT_EQ(first.outcomes[1].error, EEXIST);
  b.Reopen();
  const BatchResult again = b.batches->Apply(b.session, batch, false);
  EXPECT_EQ(again.outcomes, first.outcomes);
  EXPECT_EQ(b.Get(10)->content_version, 2u);
  EXPECT_EQ(b.StoredBlocks(), 1u) << "a replay stores nothing";
}

TEST(Batch, ABatchMayBeginWithWhatWasApplied) {
  Bench b;
  ASSERT_EQ(b.batches->Apply(b.session, {MakeCreate(1, "a", 10)}, false).outcomes.size(), 1u);
  const BatchResult result =
      b.batches->Apply(b.session, {MakeCreate(1, "a", 10), MakeCreate(2, "b", 11)}, false);
  ASSERT_EQ(result.outcomes.size(), 2u);
  EXPECT_EQ(result.outcomes[0].error, 0);
  EXPECT_EQ(result.outcomes[0].versions.size(), 2u);
  EXPECT_EQ(result.outcomes[1].error, 0);
  EXPECT_EQ((*b.store->Read())->GetSession(b.session)->last_sequence, 2u);
}

TEST(Batch, SequencesHaveNoGaps) {
  Bench b;
  EXPECT_EQ(b.batches->Apply(b.session, {MakeCreate(2, "a", 10)}, false).refusal,
            Refusal::kSequenceGap);
  EXPECT_EQ(b.batches->Apply(b.session, {MakeCreate(0, "a", 10)}, false).refusal,
            Refusal::kUnordered);
  EXPECT_EQ(
      b.batches->Apply(b.session, {MakeCreate(1, "a", 10), MakeCreate(3, "b", 11)}, false).refusal,
      Refusal::kUnordered);
  EXPECT_EQ(b.batches->Apply(SessionId::From("unknown session!"), {MakeCreate(1, "a", 10)}, false)
                .refusal,
            Refusal::kUnknownSession);
  EXPECT_FALSE(b.Find(kRootInode, "a"));
}

TEST(Batch, StopOnErrorCancelsTheRest) {
  Bench b;
  std::vector<Mutation> batch = {MakeCreate(1, "a", 10), MakeCreate(2, "a", 11),
                                 MakeCreate(3, "b", 12)};
  batch[1].stop_on_error = true;
  const BatchResult result = b.batches->Apply(b.session, batch, false);
  EXPECT_EQ(result.outcomes[0].error, 0);
  EXPECT_EQ(result.outcomes[1].error, EEXIST);
  EXPECT_EQ(result.outcomes[2].error, ECANCELED);
  EXPECT_TRUE(b.Find(kRootInode, "a"));
  EXPECT_FALSE(b.Find(kRootInode, "b"));
}

TEST(Batch, PreconditionsCompareContentVersions) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  Mutation write = MakeWrite(++b.sequence, file, "one");
  write.if_inode = file;
  write.if_content_version = 1;
  EXPECT_EQ(b.batches->Apply(b.session, {write}, false).outcomes[0].error, 0);
  write.sequence = ++b.sequence;
  EXPECT_EQ(b.batches->Apply(b.session, {write}, false).outcomes[0].error, ESTALE);
  write.sequence = ++b.sequence;
  write.if_inode = 999;
  EXPECT_EQ(b.batches->Apply(b.session, {write}, false).outcomes[0].error, ESTALE);
}

TEST(Batch, AReadOnlyTokenChangesNothing) {
  Bench b;
  const BatchResult result =
      b.batches->Apply(b.session, {MakeCreate(1, "a", 10), MakeCreate(2, "b", 11)}, true);
  for (const MutationOutcome& outcome : result.outcomes) EXPECT_EQ(outcome.error, EROFS);
  EXPECT_FALSE(b.Find(kRootInode, "a"));
}

TEST(Batch, OutcomesOutsideOfTheWindowAreForgotten) {
  Bench b;
  {
    auto txn = b.store->Write();
    auto session = (*txn)->GetSession(b.session);
    session->last_sequence = 3;
    (*txn)->PutSession(*session);
    (*txn)->PutOutcomes(b.session, {1, 3, "\x11\x00\x11\x00\x11"});
    (*txn)->ForgetOutcomes(b.session, 4);
    ASSERT_TRUE((*txn)->Commit());
  }
  const BatchResult result = b.batches->Apply(b.session, {MakeCreate(2, "a", 10)}, false);
  ASSERT_EQ(result.outcomes.size(), 1u);
  EXPECT_EQ(result.outcomes[0].error, 0);
  EXPECT_TRUE(result.outcomes[0].versions.empty());
  EXPECT_FALSE(b.Find(kRootInode, "a"));
}

TEST(Batch, ManyCreatesAndDeletesInOneBatch) {
  Bench b;
  std::vector<std::string> names;
  std::vector<Mutation> batch;
  for (uint64_t i = 0; i < 300; ++i) names.push_back("n" + std::to_string(i));
  uint64_t sequence = 0;
  for (uint64_t i = 0; i < names.size(); ++i) {
    batch.push_back(MakeCreate(++sequence, names[i], 10 + i));
    batch.push_back(MakeWrite(++sequence, 10 + i, "data"));
    if (i % 2 == 0) continue;
    Mutation unlink;
    unlink.sequence = ++sequence;
    unlink.op = UnlinkOp{kRootInode, names[i], false, 10 + i};
    batch.push_back(unlink);
  }
  const BatchResult result = b.batches->Apply(b.session, batch, false);
  for (const MutationOutcome& outcome : result.outcomes) ASSERT_EQ(outcome.error, 0);
  EXPECT_TRUE(b.Get(10));
  EXPECT_FALSE(b.Get(11));
  EXPECT_EQ((*b.store->Read())->GetWorkspace(b.ws)->inodes, 151u);
  EXPECT_EQ((*b.store->Read())->GetWorkspace(b.ws)->used_bytes, 600u);
}

// Everything of a workspace, to compare before and after.
std::string Dump(Bench& b) {
  std::string all;
  auto reader = b.store->Read();
  for (InodeNo ino = 1; ino < 80; ++ino) {
    const auto inode = (*reader)->GetInode(b.ws, ino);
    if (!inode) continue;
    all += std::to_string(ino) + ":" + std::to_string(inode->version) + "," +
           std::to_string(inode->content_version) + "," + std::to_string(inode->nlink) + "," +
           std::to_string(inode->size) + "," + std::to_string(inode->ctime_ns) + "\n";
    for (const Entry& e : (*reader)->ListEntries(b.ws, ino, "", 1000)) {
      all += "  " + e.name + "=" + std::to_string(e.inode.ino) + "\n";
    }
    for (const Extent& e : (*reader)->ListExtents(b.ws, ino, 0, kMaxFileBytes)) {
      all += "  @" + std::to_string(e.offset) + "+" + std::to_string(e.length) + "\n";
    }
  }
  return all;
}

TEST(Batch, FailedMutationsChangeNothing) {
  Bench b;
  std::mt19937 random(11);
  const std::string names[] = {"a", "b", "c", "d"};
  const auto inode = [&] { return static_cast<InodeNo>(1 + random() % 25); };
  const auto name = [&]() -> std::string_view { return names[random() % 4]; };
  int failures = 0;
  for (int64_t step = 0; step < 1500; ++step) {
    const std::string before = Dump(b);
    int error = 0;
    switch (random() % 6) {
      case 0:
        error = b.Error(CreateOp{inode(), name(), 2 + random() % 60, S_IFREG | 0644, 0, 0, 0, {}},
                        step);
        break;
      case 1:
        error = b.Error(CreateOp{inode(), name(), 2 + random() % 60, S_IFDIR | 0755, 0, 0, 0, {}},
                        step);
        break;
      case 2:
        error = b.Error(UnlinkOp{inode(), name(), random() % 2 == 0, 0}, step);
        break;
      case 3:
        error = b.Error(
            RenameOp{inode(), name(), inode(), name(), static_cast<uint32_t>(random() % 3)}, step);
        break;
      case 4:
        error = b.Error(LinkOp{inode(), inode(), name()}, step);
        break;
      default:
        error = b.Error(WriteOp{inode(),
                                {{random() % 100, 3, std::string_view("xyz")},
                                 {0, 1, BlockSource{BlockId{}, random() % 2}}},
                                {},
                                {}},
                        step);
        break;
    }
    if (error == 0) continue;
    ++failures;
    ASSERT_EQ(Dump(b), before) << "step " << step << " error " << error;
  }
  EXPECT_GT(failures, 300);
  // Directories still count their subdirectories, and every directory hangs where it says.
  auto reader = b.store->Read();
  for (InodeNo ino = 1; ino < 80; ++ino) {
    const auto directory = (*reader)->GetInode(b.ws, ino);
    if (!directory || !S_ISDIR(directory->mode)) continue;
    uint32_t links = 2;
    for (const Entry& e : (*reader)->ListEntries(b.ws, ino, "", 1000)) {
      if (!S_ISDIR(e.inode.mode)) continue;
      ++links;
      EXPECT_EQ(e.inode.parent, ino);
    }
    EXPECT_EQ(directory->nlink, links) << ino;
  }
}

TEST(OutcomeCodec, RoundTripsAndRefusesDamage) {
  const std::vector<MutationOutcome> outcomes = {{7, 0, {{1, 2, 3}, {UINT64_MAX, 1ull << 40, 0}}},
                                                 {8, ENOTEMPTY, {}}};
  const std::string data = EncodeOutcomes(outcomes);
  EXPECT_EQ(DecodeOutcomes(7, data), outcomes);
  EXPECT_FALSE(DecodeOutcomes(7, data.substr(0, data.size() - 1)));
  EXPECT_FALSE(DecodeOutcomes(7, std::string(20, '\xff')));
}

}  // namespace
}  // namespace airstore::gateway
