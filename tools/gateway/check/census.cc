// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/check/census.h"

#include <sys/stat.h>

#include <algorithm>

namespace airstore::gateway {
namespace {

std::vector<Census::Use> UsesOf(const std::vector<Extent>& extents) {
  std::vector<Census::Use> all;
  for (const Extent& e : extents) all.push_back({e.block, e.length, e.block_offset + e.length});
  std::sort(all.begin(), all.end(),
            [](const auto& one, const auto& other) { return one.block < other.block; });
  std::vector<Census::Use> uses;
  for (const Census::Use& use : all) {
    if (uses.empty() || uses.back().block != use.block) {
      uses.push_back(use);
    } else {
      uses.back().bytes += use.bytes;
      uses.back().end = std::max(uses.back().end, use.end);
    }
  }
  return uses;
}

Census::Source SourceOf(WholeInode whole) {
  Census::Source source;
  source.mode = whole.inode.mode;
  source.nlink = whole.inode.nlink;
  source.parent = whole.inode.parent;
  source.allocated = whole.inode.allocated;
  source.xattr_count = whole.inode.xattr_count;
  source.xattrs = whole.xattrs;
  source.orphan = whole.orphan;
  source.children = std::move(whole.children);
  source.uses = UsesOf(whole.extents);
  for (const Census::Use& use : source.uses) source.bytes += use.bytes;
  return source;
}

}  // namespace

Result<void> Census::Read(MetadataStore& store, std::span<const InodeNo> inodes) {
  // In a cluster rows may be on their way from one server to another.
  return UntilNoConflict([&]() -> Result<void> {
    auto reader = store.Read();
    if (!reader) return reader.error();
    return Read(**reader, inodes);
  });
}

Result<void> Census::Read(MetadataReader& reader, std::span<const InodeNo> inodes) {
  auto read = reader.ReadWhole(ws_, inodes);
  AIRSTORE_TRY(reader.status());
  for (size_t i = 0; i < inodes.size(); ++i) {
    Replace(inodes[i], read[i] ? std::optional(SourceOf(std::move(*read[i]))) : std::nullopt);
  }
  return {};
}

void Census::Count(const Source& source, bool add) {
  for (const InodeNo child : source.children) {
    uint32_t& names = names_[child];
    names += add ? 1u : -1u;
    if (names == 0) names_.erase(child);
  }
  for (const Use& use : source.uses) {
    uint64_t& bytes = references_[use.block];
    bytes += add ? use.bytes : -use.bytes;
    if (bytes == 0) references_.erase(use.block);
  }
  bytes_ += add ? source.bytes : -source.bytes;
}

void Census::Replace(InodeNo ino, std::optional<Source> source) {
  if (const auto old = sources_.find(ino); old != sources_.end()) {
    Count(old->second, false);
    sources_.erase(old);
  }
  if (!source) return;
  Count(*source, true);
  sources_.emplace(ino, std::move(*source));
}

const Census::Source* Census::Find(InodeNo ino) const {
  const auto found = sources_.find(ino);
  return found == sources_.end() ? nullptr : &found->second;
}

uint32_t Census::names(InodeNo ino) const {
  const auto found = names_.find(ino);
  return found == names_.end() ? 0 : found->second;
}

uint64_t Census::references(const BlockId& block) const {
  const auto found = references_.find(block);
  return found == references_.end() ? 0 : found->second;
}

uint32_t Census::Subdirectories(const Source& directory) const {
  return static_cast<uint32_t>(
      std::count_if(directory.children.begin(), directory.children.end(), [this](InodeNo child) {
        const Source* source = Find(child);
        return source != nullptr && S_ISDIR(source->mode);
      }));
}

uint32_t Census::Links(InodeNo ino, const Source& source) const {
  return S_ISDIR(source.mode) ? 2 + Subdirectories(source) : names(ino);
}

std::unordered_map<InodeNo, InodeNo> Census::ParentsOf(
    const std::unordered_set<InodeNo>& inodes) const {
  std::unordered_map<InodeNo, InodeNo> parents;
  if (inodes.empty()) return parents;
  for (const auto& [ino, source] : sources_) {
    for (const InodeNo child : source.children) {
      if (inodes.contains(child)) parents.emplace(child, ino);
    }
  }
  return parents;
}

}  // namespace airstore::gateway
