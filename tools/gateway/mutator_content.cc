// SPDX-License-Identifier: Apache-2.0
//
// Mutator: content, attributes and extended attributes.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "tools/gateway/extents.h"
#include "tools/gateway/mutator.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {

int Mutator::FindFile(InodeNo ino, Inode** file) {
  *file = tree_.Find(ino);
  if (*file == nullptr) return ENOENT;
  if (S_ISDIR((*file)->mode)) return EISDIR;
  return S_ISREG((*file)->mode) ? 0 : EINVAL;
}

// Makes [start, end) a hole.
void Mutator::Cut(Inode& file, uint64_t start, uint64_t end) {
  if (file.allocated == 0 || start >= end) return;
  MetadataWriter& store = tree_.store();
  const Carving carving =
      Carve(store.ListExtents(tree_.workspace(), file.ino, start, end), start, end);
  for (const uint64_t offset : carving.removed) {
    store.DeleteExtent(tree_.workspace(), file.ino, offset);
  }
  for (const Extent& extent : carving.added) {
    store.PutExtent(tree_.workspace(), file.ino, extent);
  }
  for (const Extent& extent : carving.freed) {
    tree_.DropReference(extent.block, extent.length);
    file.allocated -= std::min(extent.length, file.allocated);
    tree_.CountBytes(-static_cast<int64_t>(extent.length));
  }
}

void Mutator::Resize(Inode& file, uint64_t size) {
  if (size < file.size) Cut(file, size, kMaxFileBytes);
  file.size = size;
}

// What the write adds: its bytes without those that it replaces.
int Mutator::CheckBytes(Inode& file, const WriteOp& op) {
  if (workspace_.quota_bytes == 0) return 0;
  const auto quota = static_cast<int64_t>(workspace_.quota_bytes);
  int64_t after = static_cast<int64_t>(workspace_.used_bytes) + tree_.byte_delta();
  int64_t added = 0;
  for (const WriteExtent& e : op.extents) {
    if (std::holds_alternative<BlockSource>(e.source)) added += static_cast<int64_t>(e.length);
  }
  after += added;
  if (added == 0 || after <= quota) return 0;
  const auto freed = [&](uint64_t start, uint64_t end) {
    if (file.allocated == 0 || start >= end) return;
    const auto touching = tree_.store().ListExtents(tree_.workspace(), file.ino, start, end);
    for (const Extent& part : Carve(touching, start, end).freed) {
      after -= static_cast<int64_t>(part.length);
    }
  };
  uint64_t written_to = 0;
  for (const WriteExtent& e : op.extents) {
    freed(std::max(e.offset, written_to), e.offset + e.length);
    written_to = std::max(written_to, e.offset + e.length);
  }
  if (op.size) freed(std::max(*op.size, written_to), kMaxFileBytes);
  return after > quota ? EDQUOT : 0;
}

int Mutator::Do(const WriteOp& op) {
  Inode* file = nullptr;
  if (const int error = FindFile(op.ino, &file); error != 0) return error;
  for (const WriteExtent& e : op.extents) {
    const auto* source = std::get_if<BlockSource>(&e.source);
    if (source == nullptr) continue;
    const BlockRecord* block = tree_.FindBlock(source->id);
    if (block == nullptr) return EIO;
    if (e.length > block->size || source->offset > block->size - e.length) return EINVAL;
  }
  if (const int error = CheckBytes(*file, op); error != 0) return error;

  for (const WriteExtent& e : op.extents) {
    Cut(*file, e.offset, e.offset + e.length);
    file->size = std::max(file->size, e.offset + e.length);
    const auto* source = std::get_if<BlockSource>(&e.source);
    if (source == nullptr) continue;
    tree_.store().PutExtent(tree_.workspace(), op.ino,
                            {e.offset, e.length, source->id, source->offset});
    tree_.AddReference(source->id, e.length);
    file->allocated += e.length;
    tree_.CountBytes(static_cast<int64_t>(e.length));
  }
  if (op.size) Resize(*file, *op.size);
  file->mtime_ns = op.mtime_ns.value_or(now_ns_);
  file->ctime_ns = now_ns_;
  ++file->content_version;
  Changed(*file);
  return 0;
}

int Mutator::Do(const SetAttrOp& op) {
  Inode* inode = tree_.Find(op.ino);
  if (inode == nullptr) return ENOENT;
  if (op.size) {
    Inode* file = nullptr;
    if (const int error = FindFile(op.ino, &file); error != 0) return error;
  }

  if (op.size) {
    Resize(*inode, *op.size);
    inode->mtime_ns = now_ns_;
    ++inode->content_version;
  }
  if (op.mode) inode->mode = (inode->mode & S_IFMT) | (*op.mode & 07777);
  if (op.uid) inode->uid = *op.uid;
  if (op.gid) inode->gid = *op.gid;
  if (op.atime_ns) inode->atime_ns = *op.atime_ns;
  if (op.mtime_ns) inode->mtime_ns = *op.mtime_ns;
  inode->ctime_ns = op.ctime_ns.value_or(now_ns_);
  Changed(*inode);
  return 0;
}

void Mutator::PutXattr(Inode& inode, std::string_view name, std::string_view value) {
  const bool exists =
      inode.xattr_count > 0 && tree_.store().GetXattr(tree_.workspace(), inode.ino, name);
  tree_.store().PutXattr(tree_.workspace(), inode.ino, name, value);
  if (!exists) ++inode.xattr_count;
}

int Mutator::Do(const SetXattrOp& op) {
  Inode* inode = tree_.Find(op.ino);
  if (inode == nullptr) return ENOENT;
  MetadataWriter& store = tree_.store();
  const bool exists =
      inode->xattr_count > 0 && store.GetXattr(tree_.workspace(), op.ino, op.name).has_value();
  if (exists && op.flags == kXattrCreate) return EEXIST;
  if (!exists && op.flags == kXattrReplace) return ENODATA;
  if (inode->xattr_count > 0) {
    size_t bytes = op.name.size() + op.value.size();
    for (const std::string& name : store.ListXattrs(tree_.workspace(), op.ino)) {
      if (name == op.name) continue;
      bytes += name.size() + store.GetXattr(tree_.workspace(), op.ino, name).value_or("").size();
    }
    if (bytes > kMaxXattrBytes) return ENOSPC;
  }
  if (!exists && inode->xattr_count >= kMaxXattrs) return ENOSPC;

  PutXattr(*inode, op.name, op.value);
  if (op.mode) inode->mode = (inode->mode & S_IFMT) | *op.mode;
  inode->ctime_ns = now_ns_;
  Changed(*inode);
  return 0;
}

int Mutator::Do(const RemoveXattrOp& op) {
  Inode* inode = tree_.Find(op.ino);
  if (inode == nullptr) return ENOENT;
  if (inode->xattr_count == 0 || !tree_.store().GetXattr(tree_.workspace(), op.ino, op.name)) {
    return ENODATA;
  }

  tree_.store().DeleteXattr(tree_.workspace(), op.ino, op.name);
  --inode->xattr_count;
  inode->ctime_ns = now_ns_;
  Changed(*inode);
  return 0;
}

int Mutator::Do(const TouchOp& op) {
  Inode* directory = nullptr;
  if (const int error = FindDirectory(op.ino, &directory); error != 0) return error;
  directory->mtime_ns = directory->ctime_ns = now_ns_;
  Changed(*directory);
  return 0;
}

}  // namespace airstore::gateway
