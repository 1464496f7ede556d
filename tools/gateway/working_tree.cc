// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/working_tree.h"

#include <utility>

namespace airstore::gateway {

Inode* WorkingTree::Find(InodeNo ino) {
  auto [it, added] = slots_.try_emplace(ino);
  Slot& slot = it->second;
  if (added) {
    if (auto inode = store_.GetInode(ws_, ino)) {
      slot = {std::move(*inode), true, false, true};
    }
  }
  return slot.exists ? &slot.inode : nullptr;
}

void WorkingTree::Add(Inode inode) {
  Slot& slot = slots_[inode.ino];
  slot.inode = std::move(inode);
  slot.exists = true;
  slot.changed = true;
  ++inode_delta_;
}

void WorkingTree::Remove(InodeNo ino) {
  Slot& slot = slots_[ino];
  slot.exists = false;
  slot.changed = true;
  --inode_delta_;
}

void WorkingTree::AddBlock(BlockRecord block) {
  const BlockId id = block.id;
  blocks_[id] = {std::move(block), true, true};
}

WorkingTree::BlockSlot& WorkingTree::LoadBlock(const BlockId& id) {
  auto [it, added] = blocks_.try_emplace(id);
  if (added) {
    if (auto block = store_.GetBlock(ws_, id)) it->second = {std::move(*block), true, false};
  }
  return it->second;
}

const BlockRecord* WorkingTree::FindBlock(const BlockId& id) {
  const BlockSlot& slot = LoadBlock(id);
  return slot.exists && !slot.block.deleting ? &slot.block : nullptr;
}

void WorkingTree::AddReference(const BlockId& id, uint64_t bytes) {
  BlockSlot& slot = LoadBlock(id);
  slot.block.live_bytes += bytes;
  slot.changed = true;
}

void WorkingTree::DropReference(const BlockId& id, uint64_t bytes) {
  BlockSlot& slot = LoadBlock(id);
  slot.block.live_bytes -= bytes <= slot.block.live_bytes ? bytes : slot.block.live_bytes;
  // The grace period starts anew: a reader may still hold extents of the snapshot before.
  if (slot.block.live_bytes == 0) slot.block.touched_ns = now_ns_;
  slot.changed = true;
}

void WorkingTree::SetReferences(const BlockId& id, uint64_t bytes) {
  BlockSlot& slot = LoadBlock(id);
  slot.block.live_bytes = bytes;
  slot.block.touched_ns = now_ns_;
  slot.block.deleting = false;
  slot.changed = true;
}

void WorkingTree::Flush() {
  for (auto& [ino, slot] : slots_) {
    if (!slot.changed) continue;
    if (slot.exists) {
      store_.PutInode(ws_, slot.inode);
    } else if (slot.stored) {
      store_.DeleteInode(ws_, ino);
    }
    slot.stored = slot.exists;
    slot.changed = false;
  }
  for (auto& [id, slot] : blocks_) {
    if (slot.exists && slot.changed) store_.PutBlock(ws_, slot.block);
    slot.changed = false;
  }
  if (byte_delta_ != 0 || inode_delta_ != 0) store_.AddUsage(ws_, byte_delta_, inode_delta_);
  byte_delta_ = inode_delta_ = 0;
}

}  // namespace airstore::gateway
