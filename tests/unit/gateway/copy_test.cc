// SPDX-License-Identifier: Apache-2.0
//
// A workspace is copied from the embedded store to Redis and back, and is the same afterwards, with
// all there is to an inode; a copy that was broken off goes on; what is in the way is said.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>

#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/bench.h"
#include "tools/gateway/check/store_check.h"
#include "tools/gateway/copy/inode_rows.h"
#include "tools/gateway/copy/workspace_copy.h"
#include "tools/gateway/session_table.h"
#include "tools/gateway/shared/redis_bulletin.h"
#include "tools/gateway/shared/redis_sessions.h"

namespace airstore::gateway {
namespace {

const auto kQuiet = [](const char*, uint64_t, uint64_t) {};
const SessionId kSession = SessionId::From("0123456789abcdef");
constexpr int kFiles = 600;

// Has room for so many blocks.
class Small final : public BlockStore {
 public:
  explicit Small(std::unique_ptr<BlockStore> store) : store_(std::move(store)) {}
  std::string_view kind() const override { return "small"; }
  Result<void> Put(const BlockKey& key, std::string_view header, std::string_view data) override {
    if (room-- <= 0) return Error{ENOSPC, "no room"};
    return store_->Put(key, header, data);
  }
  Result<std::string> Get(const BlockKey& key) override { return store_->Get(key); }
  Result<std::vector<Kept>> Delete(std::span<const BlockKey> keys) override {
    return store_->Delete(keys);
  }
  Result<void> List(int64_t before_ns, const std::function<void(const BlockKey&)>& visit) override {
    return store_->List(before_ns, visit);
  }
  std::atomic<int> room{0};

 private:
  std::unique_ptr<BlockStore> store_;
};

class Copies : public testing::Test {
 protected:
  Copies() : redis_(directory_.path() + "/redis") {}

  Stores Embedded(const std::string& name) {
    const std::string base = directory_.path() + "/" + name;
    auto stores = OpenStores("sqlite://" + base + ".sqlite", "file://" + base + ".blocks");
    EXPECT_TRUE(stores) << stores.error().ToString();
    return std::move(*stores);
  }
  Stores Scaled() {
    auto stores = OpenStores(redis_.url(), "file://" + directory_.path() + "/scaled.blocks");
    EXPECT_TRUE(stores) << stores.error().ToString();
    return std::move(*stores);
  }

  // Some of each kind.
  static void Fill(Stores& stores) {
    Blocks blocks(*stores.blocks, 1 << 20);
    BatchApplier batches(*stores.metadata, blocks,
                         [](WorkspaceKey, const SessionId&, const ChangeSet&) { return 1; });
    {
      auto txn = std::move(*stores.metadata->Write());
      Workspace workspace;
      workspace.id = "ws_1";
      workspace.name = "work";
      workspace.next_inode = 1'000'000;
      workspace.inodes = 1;
      workspace.quota_inodes = 5000;
      const WorkspaceKey ws = txn->AddWorkspace(workspace);
      Inode root;
      root.ino = kRootInode;
      root.mode = S_IFDIR | 0755;
      root.nlink = 2;
      txn->PutInode(ws, root);
      SessionRecord session;
      session.id = kSession;
      session.workspace = ws;
      txn->PutSession(session);
      TokenRecord token;
      token.id = "tok_1";
      token.hash = std::string(32, 'h');
      token.workspace = ws;
      token.principal = "alice";
      txn->PutToken(token);
      txn->PutMember({"member", ws, "a@example.org", "Alice", "owner", 5});
      ASSERT_TRUE(txn->Commit());
    }
    uint64_t sequence = 0;
    std::vector<Mutation> batch;
    const auto add = [&](auto op) {
      Mutation mutation;
      mutation.sequence = ++sequence;
      mutation.time_ns = 1'000'000'000 + static_cast<int64_t>(sequence) * 1001;
      mutation.op = std::move(op);
      batch.push_back(std::move(mutation));
    };
    const auto send = [&] {
      const auto done = batches.Apply(kSession, batch, false);
      ASSERT_EQ(done.refusal, BatchResult::Refusal::kNone) << done.error.ToString();
      for (const MutationOutcome& outcome : done.outcomes) ASSERT_EQ(outcome.error, 0);
      batch.clear();
    };
    std::vector<std::string> names;
    for (int i = 0; i < kFiles; ++i) names.push_back("file" + std::to_string(i));
    add(CreateOp{kRootInode, "dir", 2, S_IFDIR | 0750, 5, 6, 0, {}});
    for (int i = 0; i < kFiles; ++i) {
      const auto ino = static_cast<InodeNo>(100 + i);
      add(CreateOp{2, names[static_cast<size_t>(i)], ino, S_IFREG | 0640, 1, 2, 0, {}});
      if (i % 200 == 199) send();  // each has a block of its own
      add(WriteOp{ino,
                  {{0, names[static_cast<size_t>(i)].size(),
                    std::string_view(names[static_cast<size_t>(i)])}},
                  {},
                  {}});
    }
    send();
    const std::string large(3 << 20, 'x'), other(3 << 20, 'y');
    add(CreateOp{2, "large", 10, S_IFREG | 0600, 0, 0, 0, {}});
    add(WriteOp{10, {{0, large.size(), std::string_view(large)}}, {}, {}});
    add(WriteOp{
        10, {{64 << 20, other.size(), std::string_view(other)}}, {}, {}});  // a hole before it
    add(WriteOp{10, {{1000, 5000, HoleSource{}}}, {}, {}});
    add(LinkOp{10, kRootInode, "again"});
    add(CreateOp{kRootInode, "link", 11, S_IFLNK | 0777, 0, 0, 0, "dir/large"});
    add(CreateOp{kRootInode, "fifo", 12, S_IFIFO | 0600, 0, 0, 0, {}});
    add(SetXattrOp{10, "user.name", "value", 0});
    add(SetXattrOp{2, "user.of the directory", std::string_view("\0\1", 2), 0});
    send();
    // A file whose last name is gone, and that somebody has open.
    auto txn = std::move(*stores.metadata->Write());
    const WorkspaceKey ws = txn->FindWorkspace("work")->key;
    Inode open;
    open.ino = 13;
    open.mode = S_IFREG | 0600;
    txn->PutInode(ws, open);
    txn->PutOrphan(ws, 13, kSession);
    txn->AddUsage(ws, 0, 1);
    ASSERT_TRUE(txn->Commit());
  }

  static std::vector<InodeRows> All(Stores& stores, WorkspaceKey* of = nullptr) {
    auto reader = std::move(*stores.metadata->Read());
    const auto workspace = reader->FindWorkspace("work");
    EXPECT_TRUE(workspace);
    if (!workspace) return {};
    if (of != nullptr) *of = workspace->key;
    auto inodes = reader->ListAllInodes(workspace->key);
    std::sort(inodes.begin(), inodes.end());
    std::vector<InodeRows> all;
    for (const InodeNo ino : inodes) {
      if (ino != 13) all.push_back(std::move(*ReadInodeRows(*reader, workspace->key, ino)));
    }
    return all;
  }
  // By what fsck looks at: counts, references, usage, and every block's hash.
  static void ExpectClean(Stores& stores) {
    Blocks blocks(*stores.blocks, 1 << 20);
    BatchApplier batches(*stores.metadata, blocks,
                         [](WorkspaceKey, const SessionId&, const ChangeSet&) { return 1; });
    Collector collector(*stores.metadata, blocks, 0);
    SessionTable sessions(*stores.metadata, std::chrono::seconds(60), {});
    CheckParts parts{
        *stores.metadata, blocks,
        batches,          collector,
        sessions,         [](WorkspaceKey) -> Result<InodeNo> { return InodeNo{900'000}; }};
    if (stores.redis != nullptr) {
      parts.changed_elsewhere = [&](WorkspaceKey ws, uint64_t* cursor) {
        return ChangedSince(*stores.redis, ws, cursor);
      };
    }
    StoreCheck check(std::move(parts), 0);
    const auto id = check.Start(StoreCheck::Kind::kCheck, {"", false, true});
    ASSERT_TRUE(id);
    auto answer = check.Ask(*id, 0);
    while (answer && !answer->state.finished) answer = check.Ask(*id, 0);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->state.error, "");
    for (const Damage& damage : answer->damages) {
      ADD_FAILURE() << damage.kind << " " << damage.path << ": " << damage.what;
    }
    EXPECT_EQ(answer->state.totals.inodes, static_cast<uint64_t>(kFiles) + 5);
  }

  TempDirectory directory_;
  e2e::RedisServer redis_;
};

TEST_F(Copies, FromTheEmbeddedStoreToRedisAndBackAllIsTheSame) {
  Stores source = Embedded("source"), scaled = Scaled();
  ASSERT_NO_FATAL_FAILURE(Fill(source));
  const auto there = CopyWorkspace(source, scaled, "work", "", kQuiet);
  ASSERT_TRUE(there) << there.error().ToString();
  EXPECT_EQ(there->inodes, static_cast<uint64_t>(kFiles) + 5);
  EXPECT_EQ(there->there_already, 0u);
  const std::vector<InodeRows> before = All(source);
  WorkspaceKey ws = 0;
  EXPECT_TRUE(All(scaled, &ws) == before);
  ExpectClean(scaled);
  {
    auto reader = std::move(*scaled.metadata->Read());
    EXPECT_EQ(reader->FindToken(std::string(32, 'h'))->principal, "alice");
    EXPECT_EQ(reader->ListMembers(ws).size(), 1u);
    const auto workspace = reader->GetWorkspace(ws);
    EXPECT_EQ(workspace->id, "ws_1");
    EXPECT_EQ(workspace->quota_inodes, 5000u);
    EXPECT_EQ(workspace->next_inode, 1'000'000u);
    EXPECT_FALSE(reader->GetInode(ws, 13)) << "nobody has it open there";
  }
  EXPECT_EQ(CopyWorkspace(source, scaled, "work", "", kQuiet).error().code, EEXIST);
  EXPECT_EQ(CopyWorkspace(source, scaled, "work", "elsewhere", kQuiet).error().code, EEXIST);
  EXPECT_EQ(CopyWorkspace(source, scaled, "nothing", "", kQuiet).error().code, ENOENT);

  Stores back = Embedded("back");
  {
    RedisSessions sessions(*scaled.redis, std::chrono::seconds(60), {});
    SessionRecord session;
    session.id = kSession;
    session.workspace = ws;
    ASSERT_TRUE(sessions.Remember(session));
    EXPECT_EQ(CopyWorkspace(scaled, back, "work", "", kQuiet).error().code, EBUSY);
    ASSERT_TRUE(sessions.Forget(session));
  }
  const auto again = CopyWorkspace(scaled, back, "work", "", kQuiet);
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_TRUE(All(back) == before);
  ExpectClean(back);
}

TEST_F(Copies, OneThatWasBrokenOffGoesOnAndIsWhole) {
  Stores source = Embedded("source"), scaled = Scaled();
  ASSERT_NO_FATAL_FAILURE(Fill(source));
  auto small = std::make_unique<Small>(std::move(scaled.blocks));
  Small& room = *small;
  scaled.blocks = std::move(small);
  int failed = 0;
  uint64_t before = 0;
  while (true) {
    room.room = 4;
    const auto copied = CopyWorkspace(source, scaled, "work", "", kQuiet);
    if (copied) {
      before = copied->there_already;
      break;
    }
    ASSERT_EQ(copied.error().code, ENOSPC) << copied.error().ToString();
    ASSERT_LT(++failed, 20);
    auto reader = std::move(*scaled.metadata->Read());
    const auto workspace = reader->FindWorkspace("work");
    ASSERT_TRUE(workspace);
    EXPECT_FALSE(reader->GetInode(workspace->key, kRootInode)) << "nobody can open half a copy";
  }
  EXPECT_GT(failed, 0);
  EXPECT_GT(before, 0u);
  EXPECT_TRUE(All(scaled) == All(source));
  ExpectClean(scaled);
}

}  // namespace
}  // namespace airstore::gateway
