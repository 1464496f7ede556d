// SPDX-License-Identifier: Apache-2.0
//
// Census: who refers to what in one workspace, counted from the rows themselves, so that it can be
// compared with the counts that rows keep of each other (links, references of blocks, usage).
//
// Rows are read in many short transactions, while others change them. Who keeps it up to date reads
// each inode that was changed since once more (ChangeTracker); what is counted then is exact.
// It takes about 200 bytes of memory for each inode.
//
// Threads: one at a time.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class Census {
 public:
  struct Use {
    BlockId block;
    uint64_t bytes = 0;  // of all extents of the inode in that block
    uint64_t end = 0;    // the farthest byte of the block that one reaches
  };
  struct Source {
    uint32_t mode = 0;
    uint32_t nlink = 0;
    InodeNo parent = 0;
    uint64_t allocated = 0;  // as the row says
    uint32_t xattr_count = 0;
    uint64_t bytes = 0;   // of its extents
    uint32_t xattrs = 0;  // that there are
    bool orphan = false;  // a session keeps it; asked only of inodes without a link
    std::vector<InodeNo> children;
    std::vector<Use> uses;
  };

  explicit Census(WorkspaceKey ws) : ws_(ws) {}

  // Counts these inodes as they are now, each by itself; those that are gone are counted no more.
  // On failure nothing has changed.
  Result<void> Read(MetadataStore& store, std::span<const InodeNo> inodes);
  Result<void> Read(MetadataReader& reader, std::span<const InodeNo> inodes);

  const std::unordered_map<InodeNo, Source>& sources() const { return sources_; }
  const Source* Find(InodeNo ino) const;
  uint32_t names(InodeNo ino) const;
  uint64_t references(const BlockId& block) const;
  const std::unordered_map<BlockId, uint64_t, Id16Hash>& blocks() const { return references_; }
  uint64_t bytes() const { return bytes_; }  // of all extents
  // Of a directory: those of its children that are directories.
  uint32_t Subdirectories(const Source& directory) const;
  // What its row should say.
  uint32_t Links(InodeNo ino, const Source& source) const;
  // A directory that has a name for it, for each of these; nothing for those that have none.
  std::unordered_map<InodeNo, InodeNo> ParentsOf(const std::unordered_set<InodeNo>& inodes) const;

 private:
  void Count(const Source& source, bool add);
  void Replace(InodeNo ino, std::optional<Source> source);

  const WorkspaceKey ws_;
  std::unordered_map<InodeNo, Source> sources_;
  std::unordered_map<InodeNo, uint32_t> names_;
  std::unordered_map<BlockId, uint64_t, Id16Hash> references_;
  uint64_t bytes_ = 0;
};

}  // namespace airstore::gateway
