// SPDX-License-Identifier: Apache-2.0
//
// Zones: the parts of a workspace that a session can have to itself, or have cached something of.
// Each directory in the root is one, with all that is below it. The root's zone is the rest: the
// root's names, the attributes of the directories in it, and what has names in several directories,
// of which nobody knows by its number where they are. It concerns every session.
//
// Threads: one at a time.
#pragma once

#include <functional>
#include <optional>
#include <unordered_map>

#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

// What a session has registered that has too many of them: it is told everything, and is in the
// way of all, until it ends.
inline constexpr InodeNo kAllZones = 0;
inline constexpr size_t kMostZones = 256;

class Zones {
 public:
  // Of a directory. Nothing: it is not there.
  using ParentOf = std::function<std::optional<InodeNo>(InodeNo directory)>;
  explicit Zones(ParentOf parent_of) : parent_of_(std::move(parent_of)) {}

  // Of the names in a directory. The root's, when it is nowhere.
  InodeNo OfNames(InodeNo directory);
  // Of an inode's attributes and content.
  InodeNo Of(const Inode& inode) { return inode.parent == 0 ? kRootInode : OfNames(inode.parent); }
  // A directory was moved.
  void Forget() { known_.clear(); }

 private:
  ParentOf parent_of_;
  std::unordered_map<InodeNo, InodeNo> known_;
};

// As a transaction sees them, which must outlive what is answered.
Zones::ParentOf ParentsIn(MetadataReader& rows, WorkspaceKey ws);

}  // namespace airstore::gateway
