// SPDX-License-Identifier: Apache-2.0
//
// The inodes and blocks that one batch touches, held in memory until the batch commits: a directory
// that gets a thousand entries is read once and written once. Entries, extents and extended
// attributes go straight to the transaction.
//
// Threads: one at a time.
// Ownership: borrows the transaction; inodes it hands out live as long as it does, also removed
// ones.
#pragma once

#include <unordered_map>
#include <vector>

#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class WorkingTree {
 public:
  WorkingTree(MetadataWriter& store, WorkspaceKey ws, int64_t now_ns)
      : store_(store), ws_(ws), now_ns_(now_ns) {}

  MetadataWriter& store() { return store_; }
  WorkspaceKey workspace() const { return ws_; }

  // Null: there is none. Whoever changes it calls MarkChanged().
  Inode* Find(InodeNo ino);
  void MarkChanged(InodeNo ino) { slots_[ino].changed = true; }
  void Add(Inode inode);
  void Remove(InodeNo ino);

  // A block stored for this batch, not yet in the metadata.
  void AddBlock(BlockRecord block);
  // Null: gone, or about to be deleted: must not be referred to.
  const BlockRecord* FindBlock(const BlockId& id);
  void AddReference(const BlockId& id, uint64_t bytes);
  void DropReference(const BlockId& id, uint64_t bytes);

  // For a repair: of a block that has a row.
  void SetReferences(const BlockId& id, uint64_t bytes);

  // Bytes of content that inodes gained; for the workspace's usage.
  void CountBytes(int64_t delta) { byte_delta_ += delta; }
  int64_t byte_delta() const { return byte_delta_; }
  int64_t inode_delta() const { return inode_delta_; }

  // Writes what changed into the transaction.
  void Flush();

 private:
  struct Slot {
    Inode inode;
    bool exists = false;
    bool changed = false;
    bool stored = false;  // there is a row for it
  };
  struct BlockSlot {
    BlockRecord block;
    bool exists = false;
    bool changed = false;
  };
  BlockSlot& LoadBlock(const BlockId& id);

  MetadataWriter& store_;
  const WorkspaceKey ws_;
  const int64_t now_ns_;
  std::unordered_map<InodeNo, Slot> slots_;
  std::unordered_map<BlockId, BlockSlot, Id16Hash> blocks_;
  int64_t byte_delta_ = 0;
  int64_t inode_delta_ = 0;
};

}  // namespace airstore::gateway
