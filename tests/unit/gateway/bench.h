// SPDX-License-Identifier: Apache-2.0
//
// What gateway tests work on: a temporary directory, and a metadata engine with a block store and
// everything that lives above engines, without sockets. Reopen() is what a restart does.
//
// Threads: one.
// Ownership: owns the stores; the directory goes with the bench.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "tools/gateway/batch.h"
#include "tools/gateway/blocks/file/dir_block_store.h"
#include "tools/gateway/clock.h"
#include "tools/gateway/collector.h"
#include "tools/gateway/content.h"
#include "tools/gateway/resolver.h"
#include "tools/gateway/sessions.h"

namespace airstore::gateway {

class TempDirectory {
 public:
  TempDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "gateway-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Opens a metadata engine at a directory; tests of semantics run for each.
using EngineFactory = Result<std::unique_ptr<MetadataStore>> (*)(const std::string& directory);

// The engine that AIRSTORE_TEST_ENGINE names ("redis"; else SQLite): the same tests hold for all.
Result<std::unique_ptr<MetadataStore>> OpenEngine(const std::string& directory);

// Of a Redis that several gateways may use, with a prefix for the directory; empty: another engine
// is to be tested.
std::string SharedRedisUrl(const std::string& directory);

// Those who expire when nobody is heard of any more. A gateway looks again and again: one that has
// not looked for long takes that for its own silence.
inline std::vector<SessionRecord> ExpireAll(Sessions& sessions) {
  const SteadyTime start = SteadyNow();
  for (auto at = std::chrono::seconds(0); at < 10 * sessions.lifetime();
       at += std::chrono::seconds(4)) {
    auto expired = sessions.Expire(start + at);
    EXPECT_TRUE(expired) << expired.error().ToString();
    if (!expired || !expired->empty()) return expired ? *expired : std::vector<SessionRecord>();
  }
  return {};
}

class Bench {
 public:
  // The engine tells by itself what has changed (Redis, in its log), and `published` stays empty.
  static bool EngineTells() { return getenv("AIRSTORE_TEST_ENGINE") != nullptr; }

  explicit Bench(EngineFactory engine = OpenEngine) : engine_(engine) {
    Reopen();
    auto txn = store->Write();
    Workspace workspace;
    workspace.id = "ws_1";
    workspace.name = "one";
    workspace.next_inode = 1'000'000;
    workspace.inodes = 1;
    ws = (*txn)->AddWorkspace(workspace);
    Inode root;
    root.ino = kRootInode;
    root.mode = S_IFDIR | 0755;
    root.nlink = 2;
    (*txn)->PutInode(ws, root);
    SessionRecord record;
    record.id = session;
    record.workspace = ws;
    record.principal = "tester";
    (*txn)->PutSession(record);
    EXPECT_TRUE((*txn)->Commit());
  }

  void Reopen() {
    collector.reset();
    batches.reset();
    blocks.reset();
    block_store.reset();
    store.reset();
    auto opened = engine_(directory.path());
    EXPECT_TRUE(opened) << opened.error().ToString();
    store = std::move(*opened);
    auto dir = DirBlockStore::Open(directory.path() + "/blocks");
    EXPECT_TRUE(dir);
    block_store = std::move(*dir);
    blocks = std::make_unique<Blocks>(*block_store, 64 << 20);
    batches = std::make_unique<BatchApplier>(
        *store, *blocks, [this](WorkspaceKey, const SessionId&, const ChangeSet& set) {
          published = set;
          return ++cursor;
        });
    collector = std::make_unique<Collector>(*store, *blocks, kGraceNs);
  }

  // One mutation as a batch of its own.
  template <typename Op>
  MutationOutcome Run(const Op& op, int64_t time_ns = 1000) {
    Mutation mutation;
    mutation.sequence = ++sequence;
    mutation.time_ns = time_ns;
    mutation.op = op;
    const BatchResult result = batches->Apply(session, {mutation}, false);
    EXPECT_EQ(result.refusal, BatchResult::Refusal::kNone) << result.error.ToString();
    return result.outcomes.empty() ? MutationOutcome{0, -1, {}} : result.outcomes.front();
  }
  template <typename Op>
  int Error(const Op& op, int64_t time_ns = 1000) {
    return Run(op, time_ns).error;
  }

  InodeNo Make(InodeNo parent, std::string_view name, uint32_t mode) {
    const InodeNo ino = ++last_ino;
    EXPECT_EQ(Error(CreateOp{parent, name, ino, mode, 0, 0, 0, S_ISLNK(mode) ? "to" : ""}), 0)
        << name;
    return ino;
  }
  InodeNo MakeFile(InodeNo parent, std::string_view name) {
    return Make(parent, name, S_IFREG | 0644);
  }
  InodeNo MakeDirectory(InodeNo parent, std::string_view name) {
    return Make(parent, name, S_IFDIR | 0755);
  }
  int Write(InodeNo ino, uint64_t offset, std::string_view data) {
    return Error(WriteOp{ino, {{offset, data.size(), data}}, {}, {}});
  }

  std::optional<Inode> Get(InodeNo ino) { return (*store->Read())->GetInode(ws, ino); }
  std::optional<InodeNo> Find(InodeNo parent, std::string_view name) {
    return (*store->Read())->GetEntry(ws, parent, name);
  }
  FetchOutcome Fetch(InodeNo ino, uint64_t offset, uint64_t length) {
    auto outcome = FetchContent(*store, *blocks, ws, ino, {{offset, length}});
    EXPECT_TRUE(outcome);
    return std::move(*outcome);
  }
  // Whole content, holes as zeros.
  std::string Read(InodeNo ino) {
    FetchOutcome outcome = Fetch(ino, 0, 8 << 20);
    if (outcome.error != 0) return "error " + std::to_string(outcome.error);
    FetchedPiece& piece = outcome.pieces.front();
    return piece.data.empty() ? std::string(piece.length, '\0') : std::move(piece.data);
  }
  size_t StoredBlocks() {
    size_t count = 0;
    EXPECT_TRUE(block_store->List(INT64_MAX, [&](const BlockKey&) { ++count; }));
    return count;
  }

  static constexpr int64_t kGraceNs = 1'000'000'000;

  TempDirectory directory;
  SessionId session = SessionId::From("0123456789abcdef");
  WorkspaceKey ws = 0;
  uint64_t sequence = 0;
  InodeNo last_ino = 1;
  ChangeSet published;
  uint64_t cursor = 0;
  std::unique_ptr<MetadataStore> store;
  std::unique_ptr<DirBlockStore> block_store;
  std::unique_ptr<Blocks> blocks;
  std::unique_ptr<BatchApplier> batches;
  std::unique_ptr<Collector> collector;

 private:
  const EngineFactory engine_;
};

}  // namespace airstore::gateway
