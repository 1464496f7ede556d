// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/zones.h"

#include <vector>

namespace airstore::gateway {

InodeNo Zones::OfNames(InodeNo directory) {
  constexpr size_t kDeepest = 4096;
  InodeNo zone = kRootInode;
  std::vector<InodeNo> way;
  for (InodeNo at = directory; at != kRootInode && way.size() < kDeepest;) {
    if (const auto known = known_.find(at); known != known_.end()) {
      zone = known->second;
      break;
    }
    const auto parent = parent_of_(at);
    if (!parent || *parent == 0) break;
    way.push_back(at);
    if (*parent == kRootInode) zone = at;
    at = *parent;
  }
  for (const InodeNo at : way) known_[at] = zone;
  return zone;
}

Zones::ParentOf ParentsIn(MetadataReader& rows, WorkspaceKey ws) {
  return [&rows, ws](InodeNo directory) -> std::optional<InodeNo> {
    const auto inode = rows.GetInode(ws, directory);
    return inode ? std::optional(inode->parent) : std::nullopt;
  };
}

}  // namespace airstore::gateway
