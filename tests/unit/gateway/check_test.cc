// SPDX-License-Identifier: Apache-2.0
//
// Checks of a store: each kind of damage is planted, found and mended, a second check finds
// nothing, what was intact stays; and who works meanwhile is neither disturbed nor accused.
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/blocks/block_name.h"
#include "tools/gateway/check/store_check.h"
#include "tools/gateway/gateway.h"
#include "tools/gateway/session_table.h"
#include "tools/gateway/shared/redis_bulletin.h"

namespace airstore::gateway {
namespace {

constexpr int64_t kHourNs = 3'600'000'000'000;

class Check : public testing::Test {
 protected:
  explicit Check(CheckParts::Changed elsewhere = nullptr) {
    // On Redis as where there are other gateways.
    if (auto* redis = dynamic_cast<RedisStore*>(b.store.get()); redis != nullptr && !elsewhere) {
      elsewhere = [redis](WorkspaceKey ws, uint64_t* cursor) {
        return ChangedSince(*redis, ws, cursor);
      };
    }
    sessions_ =
        std::make_unique<SessionTable>(*b.store, std::chrono::seconds(60),
                                       [this](WorkspaceKey ws, const SessionId& by, uint64_t id) {
                                         ++recalls;
                                         SessionRecord holder;
                                         holder.id = by;
                                         holder.workspace = ws;
                                         if (gives_back) (void)sessions_->Release(holder, id);
                                       });
    check_ = std::make_unique<StoreCheck>(
        CheckParts{*b.store, *b.blocks, *b.batches, *b.collector, *sessions_,
                   [](WorkspaceKey) -> Result<InodeNo> { return InodeNo{900'000}; },
                   std::move(elsewhere)},
        kHourNs);
  }

  StoreCheck::Answer Run(bool repair, bool content = true, const std::string& workspace = "",
                         StoreCheck* check = nullptr) {
    if (check == nullptr) check = check_.get();
    const auto id = check->Start(StoreCheck::Kind::kCheck, {workspace, repair, content});
    EXPECT_TRUE(id);
    while (true) {
      auto answer = check->Ask(*id, 0);
      EXPECT_TRUE(answer);
      if (answer->state.finished) {
        EXPECT_EQ(answer->state.error, "");
        return std::move(*answer);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  // Finds this one damage, mends it, and then finds nothing.
  Damage Mend(const std::string& kind) {
    const auto found = Run(false);
    EXPECT_EQ(found.damages.size(), 1u);
    if (found.damages.empty()) return {};
    EXPECT_EQ(found.damages[0].kind, kind) << found.damages[0].what;
    EXPECT_FALSE(found.damages[0].repaired);
    EXPECT_EQ(Run(false).damages.size(), 1u) << "looking changes nothing";
    const auto mended = Run(true);
    EXPECT_EQ(mended.damages.size(), 1u);
    if (mended.damages.empty()) return {};
    EXPECT_TRUE(mended.damages[0].repaired) << mended.damages[0].what;
    ExpectClean();
    return mended.damages[0];
  }
  void ExpectClean() {
    for (const Damage& damage : Run(false).damages) {
      ADD_FAILURE() << damage.kind << " " << damage.path << ": " << damage.what;
    }
  }
  template <typename Change>
  void Plant(Change change) {
    auto txn = b.store->Write();
    change(**txn);
    ASSERT_TRUE((*txn)->Commit());
  }
  template <typename Change>
  void PlantInode(InodeNo ino, Change change) {
    Plant([&](MetadataWriter& txn) {
      Inode inode = *txn.GetInode(b.ws, ino);
      change(inode);
      txn.PutInode(b.ws, inode);
    });
  }
  BlockKey BlockOf(InodeNo ino) {
    auto reader = b.store->Read();
    return {b.ws, (*reader)->ListExtents(b.ws, ino, 0, kMaxFileBytes).at(0).block};
  }
  // The file of a block, wherever the store has put it.
  std::string FileOf(const BlockKey& key) {
    const std::string name = ToHex(key.id.view());
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(b.directory.path() + "/blocks")) {
      if (entry.is_regular_file() &&
          entry.path().string().find(name.substr(4)) != std::string::npos) {
        return entry.path().string();
      }
    }
    ADD_FAILURE() << "no file of block " << name;
    return {};
  }

  Bench b;
  int recalls = 0;
  bool gives_back = true;
  std::unique_ptr<SessionTable> sessions_;
  std::unique_ptr<StoreCheck> check_;
};

TEST_F(Check, FindsNothingInAStoreThatIsWell) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  const InodeNo file = b.MakeFile(dir, "file");
  ASSERT_EQ(b.Write(file, 0, "content"), 0);
  ASSERT_EQ(b.Write(file, 3, "more"), 0);
  ASSERT_EQ(b.Error(LinkOp{file, kRootInode, "other name"}), 0);
  ASSERT_EQ(b.Error(SetXattrOp{file, "user.a", "b"}), 0);
  b.Make(kRootInode, "link", S_IFLNK | 0777);
  // An open file without a name.
  ASSERT_EQ(b.Error(CreateOp{0, "", ++b.last_ino, S_IFREG | 0600, 0, 0, 0, ""}), 0);
  ASSERT_EQ(b.Write(b.last_ino, 0, "nameless"), 0);
  const auto answer = Run(false);
  for (const Damage& damage : answer.damages) ADD_FAILURE() << damage.kind << damage.what;
  EXPECT_EQ(answer.state.totals.workspaces, 1u);
  EXPECT_EQ(answer.state.totals.inodes, 5u);
  EXPECT_GT(answer.state.totals.content_bytes, 0u);
  EXPECT_EQ(Run(false, false).state.totals.content_bytes, 0u) << "without reading";
}

TEST_F(Check, AMissingBlockBecomesAHoleAndIsTold) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  const InodeNo file = b.MakeFile(dir, "file");
  ASSERT_EQ(b.Write(file, 0, "kept"), 0);
  const InodeNo other = b.MakeFile(dir, "other");
  ASSERT_EQ(b.Write(other, 0, "kept too"), 0);
  ASSERT_EQ(b.Write(file, 2, "LOST"), 0);
  BlockKey lost;
  {
    auto reader = b.store->Read();
    lost = {b.ws, (*reader)->ListExtents(b.ws, file, 2, 6).back().block};
  }
  ASSERT_EQ(unlink(FileOf(lost).c_str()), 0);
  EXPECT_EQ(b.Fetch(file, 0, 100).error, EIO);
  const auto version = b.Get(file)->content_version;
  EXPECT_EQ(Run(false, false).damages.size(), 1u) << "is found without reading, too";
  const Damage damage = Mend("missing-block");
  EXPECT_EQ(damage.path, "dir/file");
  EXPECT_EQ(damage.ino, file);
  EXPECT_EQ(damage.offset, 2u);
  EXPECT_EQ(damage.lost_bytes, 4u);
  EXPECT_EQ(damage.block, ToHex(lost.id.view()));
  EXPECT_EQ(b.Read(file), std::string("ke\0\0\0\0", 6));
  EXPECT_EQ(b.Read(other), "kept too");
  EXPECT_GT(b.Get(file)->content_version, version) << "caches have to hear of it";
  if (b.EngineTells()) return;
  EXPECT_EQ(b.published.inodes, std::vector<InodeNo>{file});
}

// As when its directory is not mounted: what is only not there now is not to become zeros.
TEST_F(Check, NothingIsMendedWhereNothingIsStored) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "content"), 0);
  const std::string blocks = b.directory.path() + "/blocks";
  std::filesystem::rename(blocks, blocks + ".away");
  std::filesystem::create_directories(blocks + "/tmp");
  const auto id = check_->Start(StoreCheck::Kind::kCheck, {"", true, true});
  ASSERT_TRUE(id);
  auto answer = check_->Ask(*id, 0);
  while (answer && !answer->state.finished) answer = check_->Ask(*id, 0);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->state.error.starts_with("nothing at all is stored")) << answer->state.error;
  EXPECT_TRUE(answer->damages.empty());
  std::filesystem::remove_all(blocks);
  std::filesystem::rename(blocks + ".away", blocks);
  EXPECT_EQ(b.Read(file), "content");
}

TEST_F(Check, ACorruptBlockIsFoundByItsHash) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "0123456789"), 0);
  const std::string path = FileOf(BlockOf(file));
  {
    std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(-1, std::ios::end);
    bytes.put('X');
  }
  EXPECT_TRUE(Run(false, false).damages.empty()) << "only reading finds it";
  const Damage damage = Mend("corrupt-block");
  EXPECT_EQ(damage.path, "file");
  EXPECT_EQ(damage.lost_bytes, 10u);
  EXPECT_EQ(b.Read(file), std::string(10, '\0'));
  // What is left of it is garbage, and goes.
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kHourNs), 1u);
  EXPECT_EQ(b.StoredBlocks(), 0u);
}

TEST_F(Check, ABlockThatNobodyKnowsOfGoesWhenItIsOld) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "live"), 0);
  const BlockKey orphan{b.ws, BlockId::From("left by a crash!")};
  ASSERT_TRUE(b.blocks->Put(orphan, "x", ContentHash("x")));
  EXPECT_TRUE(Run(true).damages.empty()) << "it may be on its way into a file";
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, FileOf(orphan).c_str(), old, 0), 0);
  EXPECT_EQ(Mend("orphan-block").block, ToHex(orphan.id.view()));
  EXPECT_EQ(b.StoredBlocks(), 1u);
  EXPECT_EQ(b.Read(file), "live");
}

TEST_F(Check, ABlockWithoutARowThatFilesNeedIsKept) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "live"), 0);
  const BlockKey key = BlockOf(file);
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, FileOf(key).c_str(), old, 0), 0);
  Plant([&](MetadataWriter& txn) { txn.DeleteBlock(b.ws, key.id); });
  Mend("block-row");
  EXPECT_EQ(b.Read(file), "live");
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kHourNs), 0u);
  EXPECT_EQ(*b.collector->Scrub(WallClockNs() + kHourNs, 0), 0u);
}

TEST_F(Check, WrongReferencesNeitherLoseNorKeepABlock) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "0123456789"), 0);
  const BlockKey key = BlockOf(file);
  for (const uint64_t wrong : {0, 3, 4000}) {
    Plant([&](MetadataWriter& txn) {
      BlockRecord block = *txn.GetBlock(b.ws, key.id);
      block.live_bytes = wrong;
      txn.PutBlock(b.ws, block);
    });
    Mend("block-references");
    EXPECT_EQ((*b.store->Read())->GetBlock(b.ws, key.id)->live_bytes, 10u);
  }
  EXPECT_EQ(*b.collector->Collect(WallClockNs() + kHourNs), 0u);
  EXPECT_EQ(b.Read(file), "0123456789");
}

TEST_F(Check, WrongCountsOfAnInode) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  b.MakeDirectory(dir, "sub");
  const InodeNo file = b.MakeFile(dir, "file");
  ASSERT_EQ(b.Write(file, 0, "1234"), 0);
  ASSERT_EQ(b.Error(SetXattrOp{file, "user.a", "b"}), 0);
  const Inode good = *b.Get(file);
  PlantInode(file, [](Inode& inode) { inode.nlink = 5; });
  EXPECT_EQ(Mend("link-count").path, "dir/file");
  PlantInode(file, [](Inode& inode) { inode.nlink = 0; });
  Mend("link-count");
  PlantInode(dir, [](Inode& inode) { inode.nlink = 2; });
  EXPECT_EQ(Mend("link-count").path, "dir");
  EXPECT_EQ(b.Get(dir)->nlink, 3u);
  PlantInode(kRootInode, [](Inode& inode) { inode.nlink = 7; });
  EXPECT_EQ(Mend("link-count").path, ".");
  PlantInode(file, [](Inode& inode) { inode.allocated = 0; });
  Mend("allocated-count");
  PlantInode(file, [](Inode& inode) { inode.xattr_count = 9; });
  Mend("xattr-count");
  Inode mended = *b.Get(file);
  EXPECT_GT(mended.version, good.version);
  mended.version = good.version;
  EXPECT_EQ(mended, good);
}

TEST_F(Check, WrongUsage) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "1234"), 0);
  Plant([&](MetadataWriter& txn) { txn.AddUsage(b.ws, 100, -1); });
  Mend("usage");
  const auto workspace = (*b.store->Read())->GetWorkspace(b.ws);
  EXPECT_EQ(workspace->used_bytes, 4u);
  EXPECT_EQ(workspace->inodes, 2u);
}

TEST_F(Check, ANameWithoutAnInodeIsRemoved) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  b.MakeFile(dir, "kept");
  Plant([&](MetadataWriter& txn) { txn.PutEntry(b.ws, dir, "ghost", 12345); });
  EXPECT_EQ(Mend("dangling-name").path, "dir/ghost");
  EXPECT_FALSE(b.Find(dir, "ghost"));
  EXPECT_TRUE(b.Find(dir, "kept"));
  if (b.EngineTells()) return;
  ASSERT_EQ(b.published.names.size(), 1u) << "hosts that watch have to hear of it";
  EXPECT_EQ(b.published.names[0].name, "ghost");
}

TEST_F(Check, WhatHasNoNameGetsOneInLostAndFound) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  const InodeNo file = b.MakeFile(dir, "file");
  ASSERT_EQ(b.Write(file, 0, "mine"), 0);
  const InodeNo tree = b.MakeDirectory(dir, "tree");
  const InodeNo below = b.MakeFile(tree, "below");
  Plant([&](MetadataWriter& txn) {
    txn.DeleteEntry(b.ws, dir, "file");
    txn.DeleteEntry(b.ws, dir, "tree");
  });
  const auto answer = Run(true);
  EXPECT_EQ(answer.damages.size(), 3u) << "two without a name, and dir's links";
  for (const Damage& damage : answer.damages) EXPECT_TRUE(damage.repaired) << damage.what;
  ExpectClean();
  const auto lost_and_found = b.Find(kRootInode, "lost+found");
  ASSERT_TRUE(lost_and_found);
  EXPECT_EQ(b.Find(*lost_and_found, "#" + std::to_string(file)), file);
  EXPECT_EQ(b.Find(*lost_and_found, "#" + std::to_string(tree)), tree);
  EXPECT_EQ(b.Find(tree, "below"), below);
  EXPECT_EQ(b.Read(file), "mine");
  EXPECT_EQ(b.Get(tree)->parent, *lost_and_found);
}

TEST_F(Check, ManyDamagesAtOnceAreMendedInOneGo) {
  for (int i = 0; i < 40; ++i) {
    const InodeNo dir = b.MakeDirectory(kRootInode, "d" + std::to_string(i));
    const InodeNo file = b.MakeFile(dir, "f");
    ASSERT_EQ(b.Write(file, 0, "content " + std::to_string(i)), 0);
    if (i % 4 == 0) {
      ASSERT_EQ(unlink(FileOf(BlockOf(file)).c_str()), 0);
    }
    if (i % 4 == 1) PlantInode(file, [](Inode& inode) { inode.nlink = 3; });
    if (i % 4 == 2) {
      Plant([&](MetadataWriter& txn) { txn.PutEntry(b.ws, dir, "ghost", 5000 + file); });
    }
  }
  Plant([&](MetadataWriter& txn) { txn.AddUsage(b.ws, 5, 5); });
  EXPECT_EQ(Run(true).state.totals.repaired, 31u);
  ExpectClean();
}

// Where another gateway is at work. On Redis the log tells what that one changes, with the change
// itself; else its tracker does, which hears of it a moment later: nobody else is at work then.
class CheckShared : public Check {
 protected:
  CheckShared()
      : Check([this](WorkspaceKey ws, uint64_t* cursor) -> Result<std::vector<InodeNo>> {
          auto changed = Changed(ws, cursor);
          if (meanwhile && check_->Ask(1, 0)->state.phase.ends_with(when) && looks-- == 0) {
            std::exchange(meanwhile, nullptr)();  // is told the next time
          }
          return changed;
        }) {
    elsewhere.tracker().Watch(b.ws);
  }
  // Redis is shared by stores; elsewhere it is the same one.
  static std::unique_ptr<MetadataStore> OtherStore(const Bench& b) {
    return SharedRedisUrl(b.directory.path()).empty() ? nullptr
                                                      : std::move(*OpenEngine(b.directory.path()));
  }
  Result<std::vector<InodeNo>> Changed(WorkspaceKey ws, uint64_t* cursor) {
    auto* redis = dynamic_cast<RedisStore*>(other_store.get());
    if (redis != nullptr) return ChangedSince(*redis, ws, cursor);
    const auto changed = elsewhere.tracker().Take();
    return std::vector<InodeNo>(changed.begin(), changed.end());
  }
  void Elsewhere(const decltype(Mutation::op)& op) {
    Mutation mutation;
    mutation.sequence = ++b.sequence;
    mutation.op = op;
    const BatchResult result = elsewhere.Apply(b.session, {mutation}, false);
    ASSERT_EQ(result.refusal, BatchResult::Refusal::kNone);
    ASSERT_EQ(result.outcomes.front().error, 0);
  }

  const std::unique_ptr<MetadataStore> other_store = OtherStore(b);
  BatchApplier elsewhere{other_store ? *other_store : *b.store, *b.blocks,
                         [](WorkspaceKey, const SessionId&, const ChangeSet&) { return 1; }};
  // Once, in the first run, in the middle of what it does in the phase `when`, at that look at what
  // others have changed.
  std::function<void()> meanwhile;
  std::string when;
  int looks = 0;
};

TEST_F(CheckShared, WhatChangesWhileItIsJudgedIsLookedAtAgain) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  const InodeNo file = b.MakeFile(kRootInode, "file");
  PlantInode(file, [](Inode& inode) { inode.nlink = 5; });
  when = "looking once more";
  meanwhile = [&] { Elsewhere(LinkOp{file, dir, "other name"}); };
  const auto found = Run(false);
  EXPECT_FALSE(meanwhile) << "nobody was in between";
  ASSERT_EQ(found.damages.size(), 1u);
  EXPECT_EQ(found.damages[0].what, "it counts 6 links; there are 2");
}

TEST_F(CheckShared, WhatChangesWhileItIsMendedIsCountedAnew) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "content"), 0);
  PlantInode(file, [](Inode& inode) { inode.nlink = 5; });
  // Nobody can be in the middle of a transaction of SQLite.
  when = other_store ? "mending" : "looking once more";
  meanwhile = [&] { Elsewhere(LinkOp{file, dir, "other name"}); };
  const auto mended = Run(true);
  EXPECT_FALSE(meanwhile) << "nobody was in between";
  ASSERT_EQ(mended.damages.size(), 1u);
  EXPECT_EQ(mended.damages[0].what, "it counts 6 links; there are 2");
  auto reader = b.store->Read();
  EXPECT_EQ((*reader)->GetInode(b.ws, file)->nlink, 2u);
  ExpectClean();
}

TEST_F(CheckShared, FindsAndMendsAndSeesWhatOthersDo) {
  const InodeNo dir = b.MakeDirectory(kRootInode, "dir");
  const InodeNo file = b.MakeFile(dir, "file");
  ASSERT_EQ(b.Write(file, 0, "1234"), 0);
  PlantInode(file, [](Inode& inode) { inode.nlink = 5; });
  EXPECT_EQ(Mend("link-count").path, "dir/file");
  // Where nothing at all is stored nothing is mended.
  ASSERT_EQ(b.Write(b.MakeFile(dir, "other"), 0, "kept"), 0);
  ASSERT_EQ(unlink(FileOf(BlockOf(file)).c_str()), 0);
  EXPECT_EQ(Mend("missing-block").lost_bytes, 4u);
  if (!other_store) return;  // nobody is told of a change with the change itself

  std::atomic<bool> done = false;
  std::thread checking([&] {
    while (!done) {
      const auto id = check_->Start(StoreCheck::Kind::kCheck, {"", true, true});
      ASSERT_TRUE(id);
      auto answer = check_->Ask(*id, 0);
      for (; answer && !answer->state.finished; answer = check_->Ask(*id, 0)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      EXPECT_EQ(answer->state.error, "");
      for (const Damage& damage : answer->damages) {
        ADD_FAILURE() << damage.kind << " " << damage.path << ": " << damage.what;
      }
    }
  });
  for (int i = 0; i < 60; ++i) {
    const std::string name = "f" + std::to_string(i);
    const InodeNo ino = ++b.last_ino;
    Elsewhere(CreateOp{dir, name, ino, S_IFREG | 0644, 0, 0, 0, ""});
    Elsewhere(LinkOp{ino, kRootInode, name});
    Elsewhere(UnlinkOp{dir, name, false, 0});
  }
  done = true;
  checking.join();
  ExpectClean();
}

// Usage has no row that would be somebody else's by then: both would add what is missing.
TEST_F(CheckShared, TwoThatMendUsageMendItOnce) {
  if (!other_store) GTEST_SKIP() << "there is one gateway only";
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "content"), 0);
  Plant([&](MetadataWriter& txn) { txn.AddUsage(b.ws, 100, 3); });
  Collector collector(*other_store, *b.blocks, Bench::kGraceNs);
  StoreCheck other(
      CheckParts{*other_store, *b.blocks, elsewhere, collector, *sessions_,
                 [](WorkspaceKey) -> Result<InodeNo> { return InodeNo{900'001}; },
                 [this](WorkspaceKey ws, uint64_t* cursor) { return Changed(ws, cursor); }},
      kHourNs);
  // Behind the first one's look at the usage.
  when = "mending";
  looks = 1;
  meanwhile = [&] { EXPECT_EQ(Run(true, true, "", &other).state.totals.repaired, 1u); };
  (void)Run(true);
  EXPECT_FALSE(meanwhile) << "nobody was in between";
  ExpectClean();
}

TEST_F(Check, ARepairWaitsForTheLease) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  SessionRecord holder;
  holder.id = b.session;
  holder.workspace = b.ws;
  ASSERT_TRUE(sessions_->Remember(holder));
  const auto lease = sessions_->Acquire(holder, kRootInode, true);
  ASSERT_TRUE(lease && lease->lease);
  PlantInode(file, [](Inode& inode) { inode.nlink = 3; });
  EXPECT_EQ(Run(false).damages.size(), 1u);
  EXPECT_EQ(recalls, 0) << "looking asks nobody for anything";
  EXPECT_TRUE(Run(true).damages.at(0).repaired);
  EXPECT_GE(recalls, 1);
  ExpectClean();
}

// In a gateway that collects meanwhile: what a host holds that is gone ends, and the repair begins.
TEST(CheckOfGateway, ARepairOutlivesAHolderThatIsSilent) {
  TempDirectory directory;
  GatewayOptions options;
  options.data_dir = directory.path() + "/data";
  options.gc_grace = std::chrono::seconds(1);
  options.session_lifetime = std::chrono::seconds(2);
  auto gateway = Gateway::Open(options);
  ASSERT_TRUE(gateway) << gateway.error().ToString();
  const auto workspace = (*gateway)->CreateWorkspace("one", {});
  ASSERT_TRUE(workspace);
  SessionRecord holder;
  holder.id = SessionId::From("0123456789abcdef");
  holder.workspace = workspace->key;
  {
    auto txn = (*gateway)->store().Write();
    Inode root = *(*txn)->GetInode(workspace->key, kRootInode);
    root.nlink = 7;
    (*txn)->PutInode(workspace->key, root);
    (*txn)->PutSession(holder);
    ASSERT_TRUE((*txn)->Commit());
  }
  ASSERT_TRUE((*gateway)->sessions().Remember(holder));
  const auto lease = (*gateway)->sessions().Acquire(holder, kRootInode, true);
  ASSERT_TRUE(lease && lease->lease);
  const auto id = (*gateway)->check().Start(StoreCheck::Kind::kCheck, {"", true, true});
  ASSERT_TRUE(id);
  auto answer = (*gateway)->check().Ask(*id, 0);
  for (; answer && !answer->state.finished; answer = (*gateway)->check().Ask(*id, 0)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->state.error, "");
  EXPECT_EQ(answer->state.totals.repaired, 1u);
}

TEST_F(Check, OneAtATimeAndGivenUpOnRequest) {
  EXPECT_EQ(check_->Start(StoreCheck::Kind::kCheck, {"nobody's", false, true}).error().code,
            ENOENT);
  const auto id = check_->Start(StoreCheck::Kind::kCheck, {"one", false, true});
  ASSERT_TRUE(id);
  EXPECT_EQ(check_->Ask(*id + 1, 0).error().code, ESTALE);
  check_->Cancel(*id);
  while (!check_->Ask(*id, 0)->state.finished) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(check_->Start(StoreCheck::Kind::kCheck, {"one", false, true}));
}

TEST_F(Check, Collects) {
  const InodeNo file = b.MakeFile(kRootInode, "file");
  ASSERT_EQ(b.Write(file, 0, "old"), 0);
  ASSERT_EQ(b.Write(file, 0, "new"), 0);
  std::this_thread::sleep_for(std::chrono::nanoseconds(Bench::kGraceNs + 100'000'000));
  const auto id = check_->Start(StoreCheck::Kind::kCollect, {});
  ASSERT_TRUE(id);
  while (!check_->Ask(*id, 0)->state.finished) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(check_->Ask(*id, 0)->state.totals.removed_blocks, 1u);
  EXPECT_EQ(check_->Ask(*id, 0)->state.totals.removed_bytes, 3u);
  EXPECT_EQ(b.Read(file), "new");
}

// Checks with repairs, one after the other, while a program makes, writes, links, moves and
// removes: nothing of it is taken for damage, and nothing of it is damaged.
TEST_F(Check, DoesNotAccuseOrHarmWhoWorksMeanwhile) {
  const InodeNo a = b.MakeDirectory(kRootInode, "a");
  const InodeNo c = b.MakeDirectory(kRootInode, "c");
  std::atomic<bool> done = false;
  std::thread checking([&] {
    while (!done) {
      for (const Damage& damage : Run(true).damages) {
        ADD_FAILURE() << damage.kind << " " << damage.path << ": " << damage.what;
      }
    }
  });
  std::unordered_map<std::string, std::string> expected;  // in c
  for (int i = 0; i < 90; ++i) {
    const std::string name = "f" + std::to_string(i);
    const InodeNo f = b.MakeFile(a, name);
    const std::string data = "data of " + name;
    ASSERT_EQ(b.Write(f, 0, data), 0);
    ASSERT_EQ(b.Error(LinkOp{f, c, name}), 0);
    ASSERT_EQ(b.Error(UnlinkOp{a, name, false, 0}), 0);
    if (i % 3 == 0) {
      ASSERT_EQ(b.Error(UnlinkOp{c, name, false, 0}), 0);
    } else {
      expected[name] = data;
    }
    if (i % 5 == 0) {
      const InodeNo sub = b.MakeDirectory(a, "sub" + name);
      ASSERT_EQ(b.Error(RenameOp{a, "sub" + name, c, "sub" + name}), 0);
      (void)sub;
    }
  }
  done = true;
  checking.join();
  for (const auto& [name, data] : expected) EXPECT_EQ(b.Read(*b.Find(c, name)), data);
  ExpectClean();
}

}  // namespace
}  // namespace airstore::gateway
