// SPDX-License-Identifier: Apache-2.0
//
// Garbage: what nothing refers to goes after its grace period, and nothing else ever does.
#include <atomic>
#include <future>
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

// A store that does not let some blocks go.
class KeepingStore final : public BlockStore {
 public:
  explicit KeepingStore(BlockStore& below) : below_(below) {}
  std::string_view kind() const override { return "keeping"; }
  Result<void> Put(const BlockKey& key, std::string_view header, std::string_view data) override {
    return below_.Put(key, header, data);
  }
  Result<std::string> Get(const BlockKey& key) override { return below_.Get(key); }
  Result<std::vector<Kept>> Delete(std::span<const BlockKey> keys) override {
    std::vector<Kept> kept;
    for (const BlockKey& key : keys) {
      if (held.contains(key)) {
        kept.push_back({key, {EACCES, "held"}});
      } else if (auto done = below_.Delete({&key, 1}); !done) {
        return done.error();
      }
    }
    return kept;
  }
  Result<void> List(int64_t before_ns, const std::function<void(const BlockKey&)>& visit) override {
    return below_.List(before_ns, visit);
  }

  std::unordered_set<BlockKey, BlockKeyHash> held;

 private:
  BlockStore& below_;
};

TEST(Collector, ABlockThatCannotBeDeletedKeepsNoOther) {
  Bench b;
  KeepingStore store(*b.block_store);
  Blocks blocks(store, 1 << 20);
  Collector collector(*b.store, blocks, Bench::kGraceNs);
  // More than a round of them, the oldest ones.
  constexpr int kHeld = 300, kFree = 5;
  {
    auto txn = b.store->Write();
    for (int i = 0; i < kHeld + kFree; ++i) {
      const BlockKey key{b.ws, RandomBlockId()};
      (*txn)->PutBlock(b.ws, {key.id, 1, ContentHash("x"), 0, 1000 + i, false});
      if (i < kHeld) {
        store.held.insert(key);
      } else {
        ASSERT_TRUE(b.blocks->Put(key, "x", ContentHash("x")));
      }
    }
    ASSERT_TRUE((*txn)->Commit());
  }
  uint64_t bytes = 0;
  auto collected = collector.Collect(WallClockNs(), &bytes);
  ASSERT_TRUE(collected) << collected.error().ToString();
  EXPECT_EQ(*collected, size_t{kFree});
  EXPECT_EQ(bytes, uint64_t{kFree});
  EXPECT_EQ(b.StoredBlocks(), 0u);
  store.held.clear();
  EXPECT_EQ(*collector.Collect(WallClockNs() + kLaterNs), size_t{kHeld})
      << "they are not forgotten";
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

class Broken final : public BlockStore {
 public:
  std::string_view kind() const override { return "broken"; }
  Result<void> Put(const BlockKey&, std::string_view, std::string_view) override { return kError; }
  Result<std::string> Get(const BlockKey&) override { return kError; }
  Result<std::vector<Kept>> Delete(std::span<const BlockKey>) override { return kError; }
  Result<void> List(int64_t, const std::function<void(const BlockKey&)>&) override { return {}; }

 private:
  const Error kError{EIO, "broken"};
};

// Whoever has marked it has died, or could not delete it: minutes later it is another one's.
TEST(Collector, WhatWasLeftMarkedIsCollectedSoon) {
  Bench b;
  constexpr int64_t kMinuteNs = 60ll * 1'000'000'000, kHourNs = 60 * kMinuteNs;
  const BlockId id = BlockId::From("BLOCKBLOCKBLOCK1");
  ASSERT_TRUE(b.collector->StorePut(b.ws, id, "data", ContentHash("data")));
  const int64_t later = WallClockNs() + 2 * kHourNs;
  Broken broken;
  Blocks broken_blocks(broken, 0);
  Collector dying(*b.store, broken_blocks, kHourNs);
  EXPECT_FALSE(dying.Collect(later));
  Collector next(*b.store, *b.blocks, kHourNs);
  EXPECT_EQ(*next.Collect(later + kMinuteNs), 0u);
  EXPECT_EQ(*next.Collect(later + 6 * kMinuteNs), 1u);
  EXPECT_EQ(b.StoredBlocks(), 0u);
}

// Of another gateway, which is slow, or is stopped, in the middle of what it does.
class HeldUp final : public BlockStore {
 public:
  explicit HeldUp(BlockStore& store) : store_(store) {}
  std::string_view kind() const override { return "held up"; }
  bool is_remote() const override { return true; }
  Result<void> Put(const BlockKey& key, std::string_view header, std::string_view data) override {
    AIRSTORE_TRY(store_.Put(key, header, data));
    if (stored) stored(key);
    return {};
  }
  Result<std::string> Get(const BlockKey& key) override { return store_.Get(key); }
  Result<std::vector<Kept>> Delete(std::span<const BlockKey> keys) override {
    reached.set_value();
    go_on.get_future().wait();
    return store_.Delete(keys);
  }
  Result<void> List(int64_t before_ns, const std::function<void(const BlockKey&)>& visit) override {
    return store_.List(before_ns, visit);
  }

  std::promise<void> reached, go_on;
  std::function<void(const BlockKey&)> stored;

 private:
  BlockStore& store_;
};

TEST(Collector, WhatAnotherGatewayIsDeletingIsNotStoredUnderItsHands) {
  for (const bool scrub : {false, true}) {
    SCOPED_TRACE(scrub ? "scrub" : "collection");
    Bench b;
    const InodeNo f = b.MakeFile(kRootInode, "f");
    const BlockId id = BlockId::From("BLOCKBLOCKBLOCK1");
    const auto put = [&] { return b.collector->StorePut(b.ws, id, "data", ContentHash("data")); };
    if (scrub) {
      ASSERT_TRUE(b.blocks->Put({b.ws, id}, "data", ContentHash("data")));
    } else {
      ASSERT_TRUE(put());
    }
    HeldUp slow(*b.block_store);
    Blocks slow_blocks(slow, 1 << 20);
    Collector elsewhere(*b.store, slow_blocks, 3600ll * 1'000'000'000);
    const int64_t later = WallClockNs() + 2 * 3600ll * 1'000'000'000;
    auto collecting = std::async(std::launch::async, [&] {
      return scrub ? elsewhere.Scrub(later, 0) : elsewhere.Collect(later);
    });
    slow.reached.get_future().wait();
    Collector here(*b.store, *b.blocks, 3600ll * 1'000'000'000);
    EXPECT_EQ(*here.Collect(later), 0u) << "it is for the one that has begun";
    EXPECT_EQ(*here.Collect(later + 200'000'000'000), 0u);
    EXPECT_EQ(put().error().code, EAGAIN) << "a broker tries again";
    slow.go_on.set_value();
    EXPECT_EQ(*collecting.get(), 1u);
    ASSERT_TRUE(put());
    EXPECT_EQ(b.Error(WriteOp{f, {{0, 4, BlockSource{id, 0}}}, {}, {}}), 0);
    EXPECT_EQ(b.Read(f), "data");
  }
}

// A deletion that takes longer than the mark is good for: what it takes is somebody's again.
TEST(Collector, TheRowOfWhatIsStoredAgainStays) {
  Bench b;
  const InodeNo f = b.MakeFile(kRootInode, "f");
  const BlockId id = BlockId::From("BLOCKBLOCKBLOCK1");
  const auto put = [&] { return b.collector->StorePut(b.ws, id, "data", ContentHash("data")); };
  ASSERT_TRUE(put());
  HeldUp slow(*b.block_store);
  Blocks slow_blocks(slow, 1 << 20);
  Collector elsewhere(*b.store, slow_blocks, Bench::kGraceNs);
  const int64_t later = WallClockNs() + kLaterNs;
  auto collecting = std::async(std::launch::async, [&] { return elsewhere.Collect(later); });
  slow.reached.get_future().wait();
  EXPECT_EQ(*b.collector->Collect(later + 45'000'000'000), 0u) << "a store elsewhere may be slow";
  EXPECT_EQ(*b.collector->Collect(later + 300'000'000'000), 1u);
  ASSERT_TRUE(put());
  ASSERT_EQ(b.Error(WriteOp{f, {{0, 4, BlockSource{id, 0}}}, {}, {}}), 0);
  slow.go_on.set_value();
  ASSERT_TRUE(collecting.get());
  const auto row = (*b.store->Read())->GetBlock(b.ws, id);
  ASSERT_TRUE(row);
  EXPECT_EQ(row->live_bytes, 4u);
  EXPECT_EQ(b.StoredBlocks(), 0u) << "which a check tells";
}

TEST(Collector, WhatAScrubTakesBeforeItIsCommittedIsStoredAgain) {
  Bench b;
  const InodeNo f = b.MakeFile(kRootInode, "f");
  HeldUp slow(*b.block_store);
  slow.stored = [&](const BlockKey& key) {
    auto txn = b.store->Write();
    (*txn)->PutBlock(key.workspace, BlockRecord{key.id, 0, 0, 0, WallClockNs(), true});
    ASSERT_TRUE((*txn)->Commit());
    slow.stored = nullptr;
  };
  Blocks slow_blocks(slow, 1 << 20);
  BatchApplier batches(*b.store, slow_blocks,
                       [](WorkspaceKey, const SessionId&, const ChangeSet&) { return 1; });
  Mutation write;
  write.sequence = ++b.sequence;
  write.op = WriteOp{f, {{0, 4, std::string_view("data")}}, {}, {}};
  EXPECT_EQ(batches.Apply(b.session, {write}, false).refusal, BatchResult::Refusal::kStore);
  const auto again = batches.Apply(b.session, {write}, false);
  ASSERT_EQ(again.refusal, BatchResult::Refusal::kNone);
  EXPECT_EQ(again.outcomes[0].error, 0);
  EXPECT_EQ(b.Read(f), "data");
}

TEST(Collector, NothingIsStoredForAWorkspaceThatIsGone) {
  Bench b;
  {
    auto txn = b.store->Write();
    (*txn)->DeleteWorkspace(b.ws);
    ASSERT_TRUE((*txn)->Commit());
  }
  const BlockId id = BlockId::From("BLOCKBLOCKBLOCK1");
  EXPECT_EQ(b.collector->StorePut(b.ws, id, "data", ContentHash("data")).error().code, ESTALE);
  EXPECT_EQ(*b.collector->Scrub(WallClockNs() + kLaterNs, 0), 1u);
  EXPECT_EQ(b.StoredBlocks(), 0u);
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
