// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/registry.h"

#include <xxhash.h>

#include <cerrno>

#include "broker/virtual/inode.h"

namespace airstore::broker {

uint64_t VirtualInode(std::string_view path) {
  return kVirtualInodes | (XXH3_64bits(path.data(), path.size()) & (kVirtualInodes - 1));
}

Task<Result<void>> VirtualNode::Make(std::string, bool) { co_return Error{EROFS, "read-only"}; }

void VirtualRegistry::Register(std::string prefix, std::shared_ptr<VirtualNode> node) {
  Place place{prefix, std::move(node), false};
  places_.emplace(std::move(prefix), std::move(place));
}

VirtualRegistry::Place* VirtualRegistry::Find(std::string_view path, std::string* rest) {
  const size_t slash = path.find('/');
  const auto found = places_.find(path.substr(0, slash));
  if (found == places_.end() || !found->second.node ||
      found->second.node->kind() == VirtualNode::Kind::kWritable) {
    return nullptr;
  }
  *rest = slash == std::string_view::npos ? "" : std::string(path.substr(slash + 1));
  return &found->second;
}

}  // namespace airstore::broker
