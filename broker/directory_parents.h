// SPDX-License-Identifier: Apache-2.0
//
// DirectoryParents: where each directory of the table hangs. A directory stays in the table as long
// as one below it does, so the way up to the root is always known.
//
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace airstore::broker {

class DirectoryParents {
 public:
  void Set(uint64_t directory, uint64_t parent) {
    uint64_t& slot = parents_[directory];
    if (slot == parent) return;
    if (slot != 0) Leave(slot);
    slot = parent;
    ++children_[parent];
  }
  void Erase(uint64_t directory) {
    const auto found = parents_.find(directory);
    if (found == parents_.end()) return;
    Leave(found->second);
    parents_.erase(found);
  }
  // 0: not known.
  uint64_t ParentOf(uint64_t directory) const {
    const auto found = parents_.find(directory);
    return found == parents_.end() ? 0 : found->second;
  }
  // A directory of the table hangs in it.
  bool HasChildren(uint64_t directory) const { return children_.contains(directory); }

 private:
  void Leave(uint64_t parent) {
    const auto count = children_.find(parent);
    if (--count->second == 0) children_.erase(count);
  }

  std::unordered_map<uint64_t, uint64_t> parents_;
  std::unordered_map<uint64_t, uint32_t> children_;  // directories, by parent
};

}  // namespace airstore::broker
