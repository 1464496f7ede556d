// SPDX-License-Identifier: Apache-2.0
#include "broker/xattr_cache.h"

namespace airstore::broker {
namespace {

constexpr size_t kLimitBytes = 16u << 20;
constexpr size_t kEntryBytes = 128;  // about what one takes besides its bytes

}  // namespace

size_t BytesOf(const Xattrs& xattrs) {
  size_t bytes = 0;
  for (const auto& [name, value] : xattrs) bytes += name.size() + value.size();
  return bytes;
}

const Xattrs* XattrCache::Find(uint64_t inode) {
  const auto found = entries_.find(inode);
  if (found == entries_.end()) return nullptr;
  order_.splice(order_.end(), order_, found->second.place);
  return &found->second.xattrs;
}

const Xattrs* XattrCache::Peek(uint64_t inode) const {
  const auto found = entries_.find(inode);
  return found == entries_.end() ? nullptr : &found->second.xattrs;
}

void XattrCache::Put(uint64_t inode, Xattrs xattrs) {
  Drop(inode);
  Entry entry;
  entry.bytes = kEntryBytes + BytesOf(xattrs);
  entry.xattrs = std::move(xattrs);
  entry.place = order_.insert(order_.end(), inode);
  bytes_ += entry.bytes;
  entries_.emplace(inode, std::move(entry));
  if (bytes_ > kLimitBytes) Evict();
}

void XattrCache::Drop(uint64_t inode) {
  const auto found = entries_.find(inode);
  if (found == entries_.end()) return;
  bytes_ -= found->second.bytes;
  order_.erase(found->second.place);
  entries_.erase(found);
}

// Down to half, so that the walk over those that must stay is rare.
void XattrCache::Evict() {
  for (auto at = order_.begin(); at != order_.end() && bytes_ > kLimitBytes / 2;) {
    const uint64_t inode = *at++;
    if (at != order_.end() && !pinned_(inode)) Drop(inode);
  }
}

}  // namespace airstore::broker
