// SPDX-License-Identifier: Apache-2.0
//
// What tests of the Redis engine have in common: a workspace, and gateways without a wire.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/meta/redis/redis_store.h"

namespace airstore::gateway {

inline SessionId Session(int number) {
  SessionId id;
  id.bytes[0] = static_cast<unsigned char>(number);
  return id;
}

// One of several gateways: a store of its own with what lives above it.
struct OneGateway {
  explicit OneGateway(std::unique_ptr<RedisStore> metadata, const std::string& directory)
      : store(std::move(metadata)),
        block_store(std::move(*DirBlockStore::Open(directory))),
        blocks(*block_store, 1 << 20),
        batches(*store, blocks,
                [](WorkspaceKey, const SessionId&, const ChangeSet&) { return uint64_t{1}; }) {}

  std::unique_ptr<RedisStore> store;
  std::unique_ptr<DirBlockStore> block_store;
  Blocks blocks;
  BatchApplier batches;
};

inline Mutation Create(uint64_t sequence, InodeNo parent, std::string_view name, InodeNo ino) {
  Mutation m;
  m.sequence = sequence;
  m.op = CreateOp{parent, name, ino, S_IFREG | 0644, 0, 0, 0, {}};
  return m;
}

// A workspace with its root and a session for each of `sessions`.
inline WorkspaceKey Make(MetadataStore& store, const std::vector<SessionId>& sessions,
                         const std::string& name = "one") {
  auto txn = std::move(*store.Write());
  Workspace workspace;
  workspace.id = "ws_" + name;
  workspace.name = name;
  workspace.next_inode = 1'000'000;
  workspace.inodes = 1;
  const WorkspaceKey ws = txn->AddWorkspace(workspace);
  Inode root;
  root.ino = kRootInode;
  root.mode = S_IFDIR | 0755;
  root.nlink = 2;
  txn->PutInode(ws, root);
  for (const SessionId& id : sessions) {
    SessionRecord record;
    record.id = id;
    record.workspace = ws;
    txn->PutSession(record);
  }
  EXPECT_TRUE(txn->Commit());
  return ws;
}

}  // namespace airstore::gateway
