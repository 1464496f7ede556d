// SPDX-License-Identifier: Apache-2.0
//
// XattrCache: extended attributes of inodes that have some, all of an inode together. That an inode
// has none is in its record, where frontends see it.
//
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <unordered_map>

#include "broker/gateway.h"

namespace airstore::broker {

inline constexpr size_t kMaxXattrs = 1024;          // of one inode
inline constexpr size_t kMaxXattrBytes = 1u << 20;  // of one inode, names and values

size_t BytesOf(const Xattrs& xattrs);

class XattrCache {
 public:
  // `pinned`: says of an inode that what is here of it is nowhere else.
  explicit XattrCache(std::function<bool(uint64_t inode)> pinned) : pinned_(std::move(pinned)) {}

  // nullptr: not known. Valid until the next change of the cache.
  const Xattrs* Find(uint64_t inode);
  const Xattrs* Peek(uint64_t inode) const;  // leaves the order of use alone
  void Put(uint64_t inode, Xattrs xattrs);
  void Drop(uint64_t inode);

 private:
  struct Entry {
    Xattrs xattrs;
    size_t bytes = 0;
    std::list<uint64_t>::iterator place;
  };
  void Evict();

  std::function<bool(uint64_t)> pinned_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::list<uint64_t> order_;  // least recently used first
  size_t bytes_ = 0;
};

}  // namespace airstore::broker
