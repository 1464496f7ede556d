// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/copy/inode_rows.h"

#include <sys/stat.h>

#include <algorithm>

namespace airstore::gateway {
namespace {

constexpr size_t kNamesAtOnce = 4096;

bool IsSame(const Name& a, const Name& b) { return a.name == b.name && a.ino == b.ino; }

}  // namespace

bool operator==(const InodeRows& a, const InodeRows& b) {
  return a.inode == b.inode && a.extents == b.extents && a.xattrs == b.xattrs &&
         std::equal(a.names.begin(), a.names.end(), b.names.begin(), b.names.end(), IsSame);
}

std::optional<InodeRows> ReadInodeRows(MetadataReader& reader, WorkspaceKey ws, InodeNo ino) {
  const auto inode = reader.GetInode(ws, ino);
  if (!inode) return std::nullopt;
  InodeRows rows;
  rows.inode = *inode;
  while (S_ISDIR(inode->mode)) {
    auto page =
        reader.ListNames(ws, ino, rows.names.empty() ? "" : rows.names.back().name, kNamesAtOnce);
    const bool last = page.size() < kNamesAtOnce;
    std::move(page.begin(), page.end(), std::back_inserter(rows.names));
    if (last) break;
  }
  if (S_ISREG(inode->mode)) rows.extents = reader.ListExtents(ws, ino, 0, INT64_MAX);
  if (inode->xattr_count != 0) {
    for (std::string& name : reader.ListXattrs(ws, ino)) {
      auto value = reader.GetXattr(ws, ino, name);
      if (value) rows.xattrs.emplace_back(std::move(name), std::move(*value));
    }
    std::sort(rows.xattrs.begin(), rows.xattrs.end());
  }
  return rows;
}

void WriteInodeRows(MetadataWriter& writer, WorkspaceKey ws, const InodeRows& rows) {
  const InodeNo ino = rows.inode.ino;
  writer.PutInode(ws, rows.inode);
  for (const Name& name : rows.names) writer.PutEntry(ws, ino, name.name, name.ino);
  for (const Extent& extent : rows.extents) writer.PutExtent(ws, ino, extent);
  for (const auto& [name, value] : rows.xattrs) writer.PutXattr(ws, ino, name, value);
}

}  // namespace airstore::gateway
