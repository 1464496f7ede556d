// SPDX-License-Identifier: Apache-2.0
//
// Content: overlays against a model of bytes, truncation, holes, block references, damage.
#include <fcntl.h>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "shm/base/fd.h"
#include "tests/unit/gateway/bench.h"
#include "tools/gateway/extents.h"

namespace airstore::gateway {
namespace {

uint64_t LiveBytes(Bench& b, const BlockId& id) {
  return (*b.store->Read())->GetBlock(b.ws, id)->live_bytes;
}

// The sum of references must be what the extents say, for each block.
void ExpectAccountsBalance(Bench& b, const std::vector<InodeNo>& files) {
  std::map<BlockId, uint64_t> live;
  for (const InodeNo ino : files) {
    const auto inode = b.Get(ino);
    if (!inode) continue;
    uint64_t allocated = 0;
    uint64_t last_end = 0;
    for (const Extent& e : (*b.store->Read())->ListExtents(b.ws, ino, 0, kMaxFileBytes)) {
      live[e.block] += e.length;
      allocated += e.length;
      EXPECT_GE(e.offset, last_end) << "extents overlap";
      last_end = e.end();
    }
    EXPECT_LE(last_end, inode->size);
    EXPECT_EQ(inode->allocated, allocated);
  }
  for (const auto& [id, bytes] : live) EXPECT_EQ(LiveBytes(b, id), bytes);
}

TEST(Extents, CarvingSplitsTrimsAndFrees) {
  Extent e{10, 20, BlockId{}, 100};
  const Carving middle = Carve({e}, 15, 18);
  EXPECT_EQ(middle.removed, std::vector<uint64_t>{10});
  EXPECT_EQ(middle.added, (std::vector<Extent>{{10, 5, BlockId{}, 100}, {18, 12, BlockId{}, 108}}));
  EXPECT_EQ(middle.freed, (std::vector<Extent>{{15, 3, BlockId{}, 105}}));
  EXPECT_TRUE(Carve({e}, 30, 40).removed.empty());
  EXPECT_TRUE(Carve({e}, 0, 10).removed.empty());
}

TEST(Content, RandomOverlaysMatchAModel) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  std::string model;
  std::mt19937 random(7);
  for (int step = 0; step < 400; ++step) {
    const uint64_t offset = random() % 3000;
    const uint64_t length = 1 + random() % 500;
    const int kind = static_cast<int>(random() % 10);
    if (kind < 7) {
      const std::string data(length, static_cast<char>('a' + random() % 26));
      if (model.size() < offset + length) model.resize(offset + length, '\0');
      model.replace(offset, length, data);
      ASSERT_EQ(b.Write(file, offset, data), 0);
    } else if (kind == 7) {
      if (model.size() < offset + length) model.resize(offset + length, '\0');
      model.replace(offset, length, std::string(length, '\0'));
      ASSERT_EQ(b.Error(WriteOp{file, {{offset, length, HoleSource{}}}, {}, {}}), 0);
    } else {
      model.resize(offset, '\0');
      SetAttrOp truncate;
      truncate.ino = file;
      truncate.size = offset;
      ASSERT_EQ(b.Error(truncate), 0);
    }
    ASSERT_EQ(b.Read(file), model) << "step " << step;
    const uint64_t from = random() % 3500;
    const FetchOutcome part = b.Fetch(file, from, 300);
    const std::string expected = from < model.size() ? model.substr(from, 300) : "";
    ASSERT_EQ(part.pieces[0].length, expected.size());
    if (!part.pieces[0].data.empty()) {
      ASSERT_EQ(part.pieces[0].data, expected);
    }
  }
  ExpectAccountsBalance(b, {file});
}

TEST(Content, OneWriteMayHoldOverlappingExtentsAndASize) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.Error(WriteOp{file,
                            {{0, 6, std::string_view("aaaaaa")},
                             {2, 2, std::string_view("bb")},
                             {5, 3, std::string_view("ccc")}},
                            7,
                            99}),
            0);
  EXPECT_EQ(b.Read(file), "aabbacc");
  EXPECT_EQ(b.Get(file)->mtime_ns, 99);
  EXPECT_EQ(b.Get(file)->content_version, 2u);
  ExpectAccountsBalance(b, {file});
}

TEST(Content, GrowingLeavesAHole) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  SetAttrOp grow;
  grow.ino = file;
  grow.size = kMaxFileBytes;
  ASSERT_EQ(b.Error(grow), 0);
  const FetchOutcome outcome = b.Fetch(file, kMaxFileBytes - 10, 100);
  EXPECT_EQ(outcome.pieces[0].length, 10u);
  EXPECT_TRUE(outcome.pieces[0].data.empty());
  EXPECT_EQ(b.Get(file)->allocated, 0u);
}

TEST(Content, AWriteRefersToStoredBlocks) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  const BlockId id = BlockId::From("BLOCKBLOCKBLOCK1");
  ASSERT_TRUE(b.collector->StorePut(b.ws, id, "0123456789", ContentHash("0123456789")));
  EXPECT_EQ(b.Error(WriteOp{file, {{100, 4, BlockSource{id, 3}}}, {}, {}}), 0);
  EXPECT_EQ(b.Read(file), std::string(100, '\0') + "3456");
  EXPECT_EQ(LiveBytes(b, id), 4u);
  EXPECT_EQ(b.Error(WriteOp{file, {{0, 4, BlockSource{id, 7}}}, {}, {}}), EINVAL);
  const BlockId unknown = BlockId::From("nothing is here!");
  EXPECT_EQ(b.Error(WriteOp{file, {{0, 4, BlockSource{unknown, 0}}}, {}, {}}), EIO);
  EXPECT_EQ(b.Read(file), std::string(100, '\0') + "3456");
  ExpectAccountsBalance(b, {file});
}

TEST(Content, WritesAreForRegularFilesWithinTheLimit) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  const InodeNo fifo = b.Make(kRootInode, "p", S_IFIFO | 0600);
  EXPECT_EQ(b.Write(kRootInode, 0, "x"), EISDIR);
  EXPECT_EQ(b.Write(fifo, 0, "x"), EINVAL);
  EXPECT_EQ(b.Write(999, 0, "x"), ENOENT);
  EXPECT_EQ(b.Write(file, kMaxFileBytes, "x"), EFBIG);
  EXPECT_EQ(b.Write(file, UINT64_MAX, "x"), EFBIG);
  EXPECT_EQ(b.Error(WriteOp{file, {{0, 5, std::string_view("x")}}, {}, {}}), EINVAL);
  EXPECT_EQ(b.Error(WriteOp{file, {{0, 5, {}}}, {}, {}}), EINVAL);
}

TEST(Content, OneBatchPacksItsDataIntoOneBlock) {
  Bench b;
  std::vector<Mutation> batch;
  for (uint64_t i = 0; i < 20; ++i) {
    const InodeNo file = b.MakeFile(kRootInode, "f" + std::to_string(i));
    Mutation write;
    write.sequence = 21 + i;
    write.op = WriteOp{file, {{0, 5, std::string_view("hello")}}, {}, {}};
    batch.push_back(write);
  }
  const BatchResult result = b.batches->Apply(b.session, batch, false);
  ASSERT_EQ(result.outcomes.size(), 20u);
  EXPECT_EQ(b.StoredBlocks(), 1u);
  EXPECT_EQ(b.Read(5), "hello");
}

TEST(Content, ADamagedBlockIsAnErrorNotData) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.Write(file, 0, "precious"), 0);
  BlockKey key;
  ASSERT_TRUE(b.block_store->List(INT64_MAX, [&](const BlockKey& k) { key = k; }));
  {
    const UniqueFd fd(open(b.block_store->PathOf(key).c_str(), O_WRONLY));
    ASSERT_EQ(pwrite(fd.get(), "X", 1, Blocks::kHeaderBytes + 3), 1);
  }
  EXPECT_EQ(b.Fetch(file, 0, 8).error, EIO);
  ASSERT_EQ(truncate(b.block_store->PathOf(key).c_str(), 5), 0);
  EXPECT_EQ(b.Fetch(file, 0, 8).error, EIO);
  ASSERT_TRUE(b.block_store->Delete({&key, 1}));
  EXPECT_EQ(b.Fetch(file, 0, 8).error, EIO);
  // Attributes stay readable: only the content is not inlined.
  auto reader = b.store->Read();
  Resolver resolver(**reader, *b.blocks, b.ws);
  ResolvedEntry entry;
  EXPECT_EQ(resolver.Lookup(kRootInode, "f", 100, &entry), 0);
  EXPECT_FALSE(entry.inlined);
}

// A store that does not answer for a while, and then says so.
class AwayStore final : public BlockStore {
 public:
  std::string_view kind() const override { return "away"; }
  Result<void> Put(const BlockKey&, std::string_view, std::string_view) override { return {}; }
  Result<std::string> Get(const BlockKey&) override {
    ++asked;
    std::this_thread::sleep_for(pause);
    return Error{ETIMEDOUT, "away"};
  }
  Result<std::vector<Kept>> Delete(std::span<const BlockKey>) override {
    return std::vector<Kept>();
  }
  Result<void> List(int64_t, const std::function<void(const BlockKey&)>&) override { return {}; }

  std::atomic<int> asked{0};
  std::chrono::milliseconds pause{100};
};

TEST(Content, AListingDoesNotWaitForContentThatCannotBeHad) {
  Bench b;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(b.Write(b.MakeFile(kRootInode, "f" + std::to_string(i)), 0, "data"), 0);
  }
  AwayStore away;
  Blocks blocks(away, 1 << 20);
  auto reader = b.store->Read();
  Resolver resolver(**reader, blocks, b.ws);
  Listed listed;
  EXPECT_EQ(resolver.List({kRootInode, "", 0, 4096, 1 << 20}, &listed), 0);
  EXPECT_EQ(listed.entries.size(), 20u);
  EXPECT_TRUE(listed.end);
  for (const ResolvedEntry& entry : listed.entries) EXPECT_FALSE(entry.inlined);
  ResolvedEntry entry;
  EXPECT_EQ(resolver.Lookup(kRootInode, "f1", 4096, &entry), 0);
  EXPECT_EQ(away.asked, 1) << "the others of the call would not be there either";
}

TEST(Content, AStoreThatIsAwayIsNoDamage) {
  Bench b;
  const InodeNo file = b.MakeFile(kRootInode, "f");
  ASSERT_EQ(b.Write(file, 0, "data"), 0);
  AwayStore away;
  Blocks blocks(away, 1 << 20);
  const auto fetched = FetchContent(*b.store, blocks, b.ws, file, {{0, 4}});
  ASSERT_FALSE(fetched) << "to be asked for again: " << fetched->error;
  EXPECT_EQ(fetched.error().code, ETIMEDOUT);
}

TEST(Blocks, GatewaysMayShareADirectory) {
  TempDirectory directory;
  const std::string root = directory.path() + "/blocks", data(100'000, 'd');
  auto one = std::move(*DirBlockStore::Open(root));
  const auto key = [](int writer, int i) {
    return BlockKey{static_cast<WorkspaceKey>(writer + 1),
                    BlockId::From(std::to_string(1'000'000'000'000'000 + i))};
  };
  const auto put = [&](DirBlockStore& store, int writer) {
    for (int i = 0; i < 40; ++i) {
      const auto done = store.Put(key(writer, i), std::to_string(writer), data);
      EXPECT_TRUE(done) << done.error().ToString();
    }
  };
  std::thread writing([&] { put(*one, 0); });
  // Others come, write too, and go.
  for (int writer = 1; writer < 4; ++writer) {
    auto other = std::move(*DirBlockStore::Open(root));
    put(*other, writer);
  }
  writing.join();
  for (int writer = 0; writer < 4; ++writer) {
    for (int i = 0; i < 40; ++i) {
      const auto got = one->Get(key(writer, i));
      ASSERT_TRUE(got) << got.error().ToString();
      EXPECT_TRUE(*got == std::to_string(writer) + data) << writer << " " << i;
    }
  }
  // What is left from a crash goes when it is old.
  for (const char* name : {"old", "new"}) std::ofstream(root + "/tmp/" + name) << "half";
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, (root + "/tmp/old").c_str(), old, 0), 0);
  (void)DirBlockStore::Open(root);
  EXPECT_FALSE(std::filesystem::exists(root + "/tmp/old"));
  EXPECT_TRUE(std::filesystem::exists(root + "/tmp/new"));
}

TEST(Blocks, TheCacheKeepsWithinItsSize) {
  Bench b;
  Blocks small(*b.block_store, 1000);
  for (char c = 'a'; c < 'k'; ++c) {
    const std::string data(400, c);
    const BlockKey key{b.ws, BlockId::From(std::string(16, c))};
    ASSERT_TRUE(small.Put(key, data, ContentHash(data)));
  }
  for (int round = 0; round < 2; ++round) {
    for (char c = 'a'; c < 'k'; ++c) {
      auto data = small.Get({b.ws, BlockId::From(std::string(16, c))});
      ASSERT_TRUE(data);
      EXPECT_EQ((*data)->substr(Blocks::kHeaderBytes), std::string(400, c));
    }
  }
}

}  // namespace
}  // namespace airstore::gateway
