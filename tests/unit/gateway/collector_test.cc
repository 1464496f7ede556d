// SPDX-License-Identifier: Apache-2.0
//
// Garbage: what nothing refers to goes after its grace period, and nothing else ever does.
#include <atomic>
#include <thread>

#include "tests/unit/gateway/bench.h"

namespace airstore::gateway {
namespace {

constexpr int64_t kLaterNs = 2 * Bench::kGraceNs;

TEST(Collector, DeletesGarbageAfterItsGraceAndNothingLive) {
  Bench b;
  const InodeNo kept = b.MakeFile(kRootInode, "kept");
  const InodeNo gone = b.MakeFile(kRootInode, "gone");
  ASSERT_EQ(b.Write(kept, 0, "kept"), 0);
  ASSERT_EQ(b.Write(gone, 0, "gone"), 0);
  ASSERT_EQ(b.Error(UnlinkOp{kRootInode, "gone", false, 0}), 0);
  EXPECT_EQ(*b.collector->Collect(WallClockNs()), 0u) << "within the grace period";
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kLaterNs), 1u);
  EXPECT_EQ(b.StoredBlocks(), 1u);
  EXPECT_EQ(b.Read(kept), "kept");
}

TEST(Collector, ABlockLivesAsLongAsOneByteOfIt) {
  Bench b;
  const InodeNo f = b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.Write(f, 0, "0123456789"), 0);
  ASSERT_EQ(b.Error(WriteOp{f, {{0, 9, HoleSource{}}}, {}, {}}), 0);
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kLaterNs), 0u);
  EXPECT_EQ(b.Read(f), std::string(9, '\0') + "9");
  ASSERT_EQ(b.Error(WriteOp{f, {}, 0, {}}), 0);
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kLaterNs), 1u);
}

TEST(Collector, AnUploadedBlockWaitsForItsMutation) {
  Bench b;
  const InodeNo f = b.MakeFile(kRootInode, "f");
  const BlockId id = BlockId::From("BLOCKBLOCKBLOCK1");
  ASSERT_TRUE(b.collector->StorePut(b.ws, id, "data", ContentHash("data")));
  ASSERT_TRUE(b.collector->StorePut(b.ws, id, "data", ContentHash("data"))) << "repeating it";
  EXPECT_EQ(b.collector->StorePut(b.ws, id, "else", ContentHash("else")).error().code, EEXIST);
  EXPECT_EQ(*b.collector->Collect(WallClockNs()), 0u);
  EXPECT_EQ(b.Error(WriteOp{f, {{0, 4, BlockSource{id, 0}}}, {}, {}}), 0);
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kLaterNs), 0u);
  EXPECT_EQ(b.Read(f), "data");
}

TEST(Collector, WhatIsBeingCollectedCannotBeReferredTo) {
  Bench b;
  const InodeNo f = b.MakeFile(kRootInode, "f");
  const BlockId id = BlockId::From("BLOCKBLOCKBLOCK1");
  ASSERT_TRUE(b.collector->StorePut(b.ws, id, "data", ContentHash("data")));
  {
    // A crash between marking and deleting.
    auto txn = b.store->Write();
    auto block = (*txn)->GetBlock(b.ws, id);
    block->deleting = true;
    (*txn)->PutBlock(b.ws, *block);
    ASSERT_TRUE((*txn)->Commit());
  }
  EXPECT_EQ(b.Error(WriteOp{f, {{0, 4, BlockSource{id, 0}}}, {}, {}}), EIO);
  EXPECT_EQ(b.collector->StorePut(b.ws, id, "data", ContentHash("data")).error().code, EAGAIN);
  b.Reopen();
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kLaterNs), 1u);
  EXPECT_TRUE(b.collector->StorePut(b.ws, id, "data", ContentHash("data")));
}

TEST(Collector, ScrubDeletesBlocksWithoutARow) {
  Bench b;
  const InodeNo f = b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.Write(f, 0, "live"), 0);
  const BlockKey orphan{b.ws, BlockId::From("left by a crash!")};
  ASSERT_TRUE(b.blocks->Put(orphan, "x", ContentHash("x")));
  EXPECT_EQ(*b.collector->Scrub(WallClockNs(), 3600'000'000'000), 0u) << "too young";
  EXPECT_EQ(*b.collector->Scrub(WallClockNs() + kLaterNs, 0), 1u);
  EXPECT_EQ(b.StoredBlocks(), 1u);
  EXPECT_EQ(b.Read(f), "live");
}

// With no grace at all, a writer that puts, refers and drops races with the collector: each
// reference either works for good or is refused.
TEST(Collector, NeverDeletesWhatARacingWriterRefersTo) {
  Bench b;
  Collector eager(*b.store, *b.blocks, 0);
  std::atomic<bool> stop = false;
  std::thread collecting([&] {
    while (!stop) EXPECT_TRUE(eager.Collect(WallClockNs()));
  });
  int applied = 0;
  for (int i = 0; i < 150; ++i) {
    const std::string name = "f" + std::to_string(i);
    const InodeNo f = b.MakeFile(kRootInode, name);
    const BlockId id = RandomBlockId();
    const std::string data = "data of " + name;
    ASSERT_TRUE(eager.StorePut(b.ws, id, data, ContentHash(data)));
    const int error = b.Error(WriteOp{f, {{0, data.size(), BlockSource{id, 0}}}, {}, {}});
    ASSERT_TRUE(error == 0 || error == EIO);
    if (error == 0) {
      ++applied;
      ASSERT_EQ(b.Read(f), data);
    }
    if (i % 3 == 0) {
      ASSERT_EQ(b.Error(UnlinkOp{kRootInode, name, false, 0}), 0);
    }
  }
  stop = true;
  collecting.join();
  (void)eager.Collect(WallClockNs() + kLaterNs);
  auto reader = b.store->Read();
  for (const Entry& e : (*reader)->ListEntries(b.ws, kRootInode, "", 1000)) {
    if (e.inode.size > 0) {
      EXPECT_EQ(b.Read(e.inode.ino), "data of " + e.name);
    }
  }
  EXPECT_GE(applied, 0);
}

}  // namespace
}  // namespace airstore::gateway
