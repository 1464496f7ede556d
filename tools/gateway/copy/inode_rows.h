// SPDX-License-Identifier: Apache-2.0
//
// All that a store has of one inode, as plain values that can be compared and written elsewhere.
//
// Threads: plain functions.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

struct InodeRows {
  Inode inode;
  std::vector<Name> names;  // of a directory, in order
  std::vector<Extent> extents;
  std::vector<std::pair<std::string, std::string>> xattrs;  // by name

  friend bool operator==(const InodeRows& a, const InodeRows& b);
};

// Nothing: there is no such inode.
std::optional<InodeRows> ReadInodeRows(MetadataReader& reader, WorkspaceKey ws, InodeNo ino);
void WriteInodeRows(MetadataWriter& writer, WorkspaceKey ws, const InodeRows& rows);

}  // namespace airstore::gateway
