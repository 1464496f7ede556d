// SPDX-License-Identifier: Apache-2.0
//
// From inodes to paths, for messages. Everything else goes by inode number.
#include <boost/asio/post.hpp>

#include "broker/tree.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kEntriesAtOnce = 1u << 14;  // then others get their turn

}  // namespace

Task<std::unordered_map<uint64_t, std::string>> Tree::PathsOf(std::unordered_set<uint64_t> inodes) {
  std::unordered_map<uint64_t, std::pair<uint64_t, std::string>> names;  // (parent, name)
  const uint32_t capacity = inodes_->meta().reader().view().geometry().dentry_capacity;
  uint32_t left = inodes_->meta().dentry_count();
  for (uint32_t i = 1; i < capacity && left > 0 && !inodes.empty(); ++i) {
    if (i % kEntriesAtOnce == 0) {
      co_await boost::asio::post(executor_, boost::asio::use_awaitable);
    }
    const shm::DentryRecord entry = inodes_->meta().Dentry(i);
    if (entry.parent == 0) continue;
    --left;
    if (entry.inode == 0) continue;
    const bool directory = inodes_->directories().ParentOf(entry.inode) != 0;
    if (!directory && !inodes.contains(entry.inode)) continue;
    names[entry.inode] = {entry.parent, inodes_->meta().DentryName(i)};
  }
  std::unordered_map<uint64_t, std::string> paths;
  for (const uint64_t inode : inodes) {
    std::string path;
    uint64_t at = inode;
    for (size_t depth = 0; at != shm::kRootInode && depth < kDeepest; ++depth) {
      const auto named = names.find(at);
      if (named == names.end()) break;
      path.insert(0, "/" + named->second.second);
      at = named->second.first;
    }
    if (at == shm::kRootInode) paths[inode] = path.empty() ? "/" : path;
  }
  co_return paths;
}

std::string Tree::DirectoryPath(uint64_t directory) const {
  std::string path;
  uint64_t at = directory;
  for (size_t depth = 0; at != shm::kRootInode && depth < kDeepest; ++depth) {
    const uint64_t up = inodes_->directories().ParentOf(at);
    const auto parent = inodes_->Get(up);
    uint32_t entry = parent ? parent->dir_first : shm::kNoIndex;
    while (entry != shm::kNoIndex && inodes_->meta().Dentry(entry).inode != at) {
      entry = inodes_->meta().Dentry(entry).dir_next;
    }
    if (entry == shm::kNoIndex) return "inode " + std::to_string(at) + path;
    path.insert(0, "/" + inodes_->meta().DentryName(entry));
    at = up;
  }
  return path;
}

}  // namespace airstore::broker
