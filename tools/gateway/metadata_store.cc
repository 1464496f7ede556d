// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/metadata_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

namespace airstore::gateway {

std::vector<std::optional<WholeInode>> MetadataReader::ReadWhole(WorkspaceKey ws,
                                                                 std::span<const InodeNo> inodes) {
  constexpr size_t kNamesAtOnce = 1000;
  std::vector<std::optional<WholeInode>> read;
  read.reserve(inodes.size());
  for (const InodeNo ino : inodes) {
    auto inode = GetInode(ws, ino);
    auto& whole = read.emplace_back();
    if (!inode) continue;
    whole.emplace().inode = std::move(*inode);
    whole->xattrs = static_cast<uint32_t>(ListXattrs(ws, ino).size());
    if (whole->inode.nlink == 0) whole->orphan = GetOrphan(ws, ino).has_value();
    if (S_ISREG(whole->inode.mode)) whole->extents = ListExtents(ws, ino, 0, kMaxFileBytes);
    if (!S_ISDIR(whole->inode.mode)) continue;
    for (std::string after;;) {
      const auto names = ListNames(ws, ino, after, kNamesAtOnce);
      for (const Name& name : names) whole->children.push_back(name.ino);
      if (names.size() < kNamesAtOnce) break;
      after = names.back().name;
    }
  }
  return read;
}

std::vector<std::optional<BlockRecord>> MetadataReader::ReadBlocks(WorkspaceKey ws,
                                                                   std::span<const BlockId> ids) {
  std::vector<std::optional<BlockRecord>> read;
  read.reserve(ids.size());
  for (const BlockId& id : ids) read.push_back(GetBlock(ws, id));
  return read;
}

std::vector<std::string> MetadataReader::Stamps(WorkspaceKey ws, std::span<const InodeNo> inodes,
                                                std::span<const BlockId> blocks) {
  std::vector<std::string> stamps;
  for (const InodeNo ino : inodes) {
    const auto inode = GetInode(ws, ino);
    stamps.push_back(inode ? std::to_string(inode->version) : "");
  }
  for (const BlockId& id : blocks) {
    const auto block = GetBlock(ws, id);
    stamps.push_back(block ? std::to_string(block->live_bytes) : "");
  }
  return stamps;
}

bool PauseAfterConflict(int attempt) {
  constexpr int kMostAttempts = 100;
  if (attempt >= kMostAttempts) return false;
  // Random, so that two gateways do not go on meeting; the first time, at once.
  static thread_local std::minstd_rand random{std::random_device{}()};
  const int most_us = std::min(attempt - 1, 20) * 1000;
  std::this_thread::sleep_for(
      std::chrono::microseconds(std::uniform_int_distribution<int>(0, most_us)(random)));
  return true;
}

}  // namespace airstore::gateway
