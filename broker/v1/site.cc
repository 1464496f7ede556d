// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/site.h"

#include <sys/stat.h>
#include <xxhash.h>

namespace airstore::broker::v1 {

uint64_t Site::VersionOf(uint64_t inode, const Info& info) const {
  const Left* left = state->LeftOf(inode);
  if (left != nullptr && left->size == info.size && left->mtime_s == info.mtime_s) {
    return left->version;
  }
  const uint64_t told[2] = {info.size, static_cast<uint64_t>(info.mtime_s)};
  // Versions are compared for being the same only.
  return XXH3_64bits(told, sizeof told) | 1;
}

int64_t Site::ModifiedNs(uint64_t inode, const Info& info) const {
  constexpr int64_t kSecond = 1'000'000'000;
  const Left* left = state->LeftOf(inode);
  if (left != nullptr && left->size == info.size && left->mtime_s == info.mtime_s) {
    return left->mtime_ns;
  }
  return info.mtime_s != 0 ? info.mtime_s * kSecond : opened_ns;
}

void Site::Retouched(uint64_t inode, const Info& before, const Info& after,
                     std::optional<int64_t> mtime_ns) {
  if (inode == 0) return;
  const Left left{.size = after.size,
                  .mtime_s = after.mtime_s,
                  .mtime_ns = mtime_ns.value_or(ModifiedNs(inode, before)),
                  .version = VersionOf(inode, before)};
  state->Leave(inode, left);
  seen[inode] = after;
}

Attr Site::Describe(uint64_t inode, const Info& info, std::string target) {
  Attr attr;
  attr.inode = inode;
  attr.generation = 1;
  attr.mode = info.mode;
  attr.uid = uid;
  attr.gid = gid;
  attr.nlink = 1;
  attr.size = info.size;
  attr.mtime_ns = ModifiedNs(inode, info);
  attr.version = attr.content_version = VersionOf(inode, info);
  switch (info.mode & S_IFMT) {
    case S_IFDIR:
      attr.nlink = 2;
      attr.size = 0;
      break;
    case S_IFLNK:
      attr.size = target.size();
      attr.symlink_target = std::move(target);
      break;
    default:
      attr.allocated_bytes = info.size;
      seen[inode] = info;
  }
  attr.atime_ns = attr.ctime_ns = attr.btime_ns = attr.mtime_ns;
  aging.NoteInode(inode);
  return attr;
}

std::optional<std::string> Site::MovedPath(const std::string& path) const {
  if (!renaming || path.rfind(renaming->first + "/", 0) != 0) return std::nullopt;
  return renaming->second + path.substr(renaming->first.size());
}

std::optional<std::string> Site::PathOf(uint64_t parent, const std::string& name) const {
  const auto directory = state->paths().PathOf(parent);
  if (!directory) return std::nullopt;
  return JoinPath(*directory, name);
}

}  // namespace airstore::broker::v1
