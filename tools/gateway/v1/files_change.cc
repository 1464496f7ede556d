// SPDX-License-Identifier: Apache-2.0
//
// Files: changing.
#include <sys/stat.h>

#include "tools/gateway/clock.h"
#include "tools/gateway/v1/files.h"
#include "tools/gateway/v1/paths.h"
#include "tools/gateway/v1/store_failure.h"

namespace airstore::gateway::v1 {
namespace {

using Parts = std::vector<std::string_view>;

constexpr uint32_t kPermissions = 07777;

// The directory that holds the last of `parts`. REQUIRES: !parts.empty()
int FindParent(Changer& tree, const Parts& parts, InodeNo* parent) {
  InodeNo at = kRootInode;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const Inode* inode = tree.Find(at);
    if (inode == nullptr) return EIO;
    if (!S_ISDIR(inode->mode)) return ENOTDIR;
    const auto ino = tree.Lookup(at, parts[i]);
    if (!ino) return ENOENT;
    at = *ino;
  }
  const Inode* inode = tree.Find(at);
  if (inode == nullptr) return EIO;
  if (!S_ISDIR(inode->mode)) return ENOTDIR;
  *parent = at;
  return 0;
}

// 0 in `ino`: there is none.
int FindChild(Changer& tree, const Parts& parts, InodeNo* parent, InodeNo* ino) {
  if (const int error = FindParent(tree, parts, parent); error != 0) return error;
  *ino = tree.Lookup(*parent, parts.back()).value_or(0);
  return *ino != 0 && tree.Find(*ino) == nullptr ? EIO : 0;
}

int FindExisting(Changer& tree, const Parts& parts, InodeNo* ino) {
  InodeNo parent = 0;
  if (parts.empty()) {
    *ino = kRootInode;
    return 0;
  }
  if (const int error = FindChild(tree, parts, &parent, ino); error != 0) return error;
  return *ino == 0 ? ENOENT : 0;
}

// Whatever a v1 caller makes belongs to the owner of the directory: it cannot say whose it is.
CreateOp NewChild(Changer& tree, InodeNo parent, std::string_view name, InodeNo ino,
                  uint32_t mode) {
  CreateOp op;
  op.parent = parent;
  op.name = name;
  op.ino = ino;
  op.mode = mode;
  if (const Inode* owner = tree.Find(parent); owner != nullptr) {
    op.uid = owner->uid;
    op.gid = owner->gid;
  }
  return op;
}

int SetMode(Changer& tree, InodeNo ino, uint32_t mode) {
  SetAttrOp op;
  op.ino = ino;
  op.mode = mode & kPermissions;
  return tree.Run(op);
}

// Leaves first.
int RemoveTree(Changer& tree, InodeNo parent, const std::string& name, InodeNo ino,
               size_t level = 0) {
  if (level > kMaxDepth) return ENAMETOOLONG;
  const Inode* inode = tree.Find(ino);
  if (inode == nullptr) return EIO;
  const bool directory = S_ISDIR(inode->mode);
  while (directory) {
    const auto entries = tree.List(ino, "", 1000);
    if (entries.empty()) break;
    for (const Entry& entry : entries) {
      if (const int error = RemoveTree(tree, ino, entry.name, entry.inode.ino, level + 1);
          error != 0) {
        return error;
      }
    }
  }
  return tree.Run(UnlinkOp{parent, name, directory, ino});
}

// The root folder of a path, when mounts show it without asking and nobody has made it yet.
bool HasReservedRoot(const Parts& parts) { return parts.size() > 1 && IsReserved(parts.front()); }

// `ino`: for it, 0 when none is to be made.
int MakeRoot(Changer& tree, const Parts& parts, InodeNo ino) {
  if (ino == 0 || tree.Lookup(kRootInode, parts.front())) return 0;
  return tree.Run(NewChild(tree, kRootInode, parts.front(), ino, S_IFDIR | uint32_t{0755}));
}

Error Refused() { return Error{EROFS, "the token is read-only"}; }

}  // namespace

Result<uint64_t> Files::Change(const Who& who, WriteOp content, const BatchApplier::Plan& plan) {
  bool refused = false;
  auto changed =
      gateway_.batches().Change(who.workspace, who.presence, std::move(content), plan, &refused);
  if (changed || refused) return changed;
  return OfStore(changed.error());
}

Result<InodeNo> Files::NextInode(WorkspaceKey ws) {
  std::lock_guard lock(mu_);
  Reserve& reserve = reserves_[ws];
  if (reserve.next == reserve.end) {
    constexpr uint64_t kCount = 4096;
    auto first = gateway_.GrantInodes(ws, kCount);
    if (!first) return first.error().code == ENOENT ? first.error() : OfStore(first.error());
    reserve = {*first, *first + kCount};
  }
  return reserve.next++;
}

Result<uint64_t> Files::Make(const Who& who, std::string_view path, uint32_t mode, bool exclusive,
                             std::string_view target) {
  if (who.read_only) return Refused();
  auto parts = SplitPath(path);
  if (!parts) return parts.error();
  if (parts->empty()) {
    if (!S_ISDIR(mode)) return Error{EISDIR, {}};
    if (exclusive) return Error{EEXIST, {}};
    return (mode & kPermissions) == 0 ? Result<uint64_t>(uint64_t{0})
                                      : Chmod(who, path, mode, kPermissions);
  }
  auto ino = NextInode(who.workspace);
  if (!ino) return ino.error();
  auto root_ino = HasReservedRoot(*parts) ? NextInode(who.workspace) : Result<InodeNo>(InodeNo{0});
  if (!root_ino) return root_ino.error();
  return Change(who, {}, [&](Changer& tree, WriteOp&) -> int {
    if (const int error = MakeRoot(tree, *parts, *root_ino); error != 0) return error;
    InodeNo parent = 0, there = 0;
    if (const int error = FindChild(tree, *parts, &parent, &there); error != 0) return error;
    if (there != 0) {
      if (exclusive || S_ISLNK(mode)) return EEXIST;
      const uint32_t type = tree.Find(there)->mode & S_IFMT;
      if (type != (mode & S_IFMT)) {
        return S_ISDIR(mode) ? ENOTDIR : (S_ISDIR(type) ? EISDIR : EINVAL);
      }
      return (mode & kPermissions) == 0 ? 0 : SetMode(tree, there, mode);
    }
    uint32_t wanted = mode;
    if ((wanted & kPermissions) == 0) wanted |= S_ISDIR(mode) ? 0755 : 0644;
    CreateOp op = NewChild(tree, parent, parts->back(), *ino, wanted);
    op.symlink_target = target;
    return tree.Run(op);
  });
}

Result<uint64_t> Files::Create(const Who& who, std::string_view path, uint32_t mode,
                               bool exclusive) {
  if ((mode & S_IFMT) != 0 && !S_ISREG(mode)) {
    return Error{EOPNOTSUPP, "v1 creates regular files only"};
  }
  return Make(who, path, S_IFREG | (mode & kPermissions), exclusive, {});
}

Result<uint64_t> Files::Mkdir(const Who& who, std::string_view path, uint32_t mode,
                              bool exclusive) {
  return Make(who, path, S_IFDIR | (mode & kPermissions), exclusive, {});
}

Result<uint64_t> Files::Symlink(const Who& who, std::string_view path, std::string_view target) {
  if (target.empty()) return Error{ENOENT, "the link has no target"};
  return Make(who, path, S_IFLNK | 0777, true, target);
}

Result<uint64_t> Files::Write(const Who& who, std::string_view path, uint64_t offset,
                              std::string_view data) {
  if (who.read_only) return Refused();
  auto parts = SplitPath(path);
  if (!parts) return parts.error();
  if (parts->empty()) return Error{EISDIR, {}};
  auto ino = NextInode(who.workspace);
  if (!ino) return ino.error();
  auto root_ino = HasReservedRoot(*parts) ? NextInode(who.workspace) : Result<InodeNo>(InodeNo{0});
  if (!root_ino) return root_ino.error();
  WriteOp content;
  const uint64_t total = data.size();
  for (uint64_t at = offset; !data.empty();) {
    const std::string_view piece = data.substr(0, kBlockBytes);
    content.extents.push_back({at, piece.size(), piece});
    at += piece.size();
    data.remove_prefix(piece.size());
  }
  if (offset == 0 && (total == 0 || offset_zero_ == OffsetZero::kReplaces)) content.size = total;
  return Change(who, std::move(content), [&](Changer& tree, WriteOp& write) -> int {
    if (const int error = MakeRoot(tree, *parts, *root_ino); error != 0) return error;
    InodeNo parent = 0;
    if (const int error = FindChild(tree, *parts, &parent, &write.ino); error != 0) {
      return error;
    }
    if (write.ino == 0) {
      const CreateOp op = NewChild(tree, parent, parts->back(), *ino, S_IFREG | uint32_t{0644});
      if (const int error = tree.Run(op); error != 0) return error;
      write.ino = *ino;
    }
    return write.extents.empty() && !write.size ? 0 : tree.Run(write);
  });
}

Result<uint64_t> Files::Delete(const Who& who, std::string_view path, bool recursive) {
  if (who.read_only) return Refused();
  auto parts = SplitPath(path);
  if (!parts) return parts.error();
  if (parts->empty()) return Error{EPERM, "cannot delete the root"};
  if (parts->size() == 1 && IsReserved(parts->front())) {
    return Error{EPERM, "cannot delete reserved folder"};
  }
  return Change(who, {}, [&](Changer& tree, WriteOp&) -> int {
    InodeNo parent = 0, ino = 0;
    if (const int error = FindChild(tree, *parts, &parent, &ino); error != 0) return error;
    if (ino == 0) return ENOENT;
    if (recursive) return RemoveTree(tree, parent, std::string(parts->back()), ino);
    return tree.Run(UnlinkOp{parent, parts->back(), S_ISDIR(tree.Find(ino)->mode), ino});
  });
}

Result<uint64_t> Files::Rename(const Who& who, std::string_view from, std::string_view to) {
  if (who.read_only) return Refused();
  auto old_parts = SplitPath(from);
  if (!old_parts) return old_parts.error();
  auto new_parts = SplitPath(to);
  if (!new_parts) return new_parts.error();
  if (old_parts->empty() || new_parts->empty()) return Error{EINVAL, "the root has no other name"};
  if (old_parts->size() == 1 && IsReserved(old_parts->front())) {
    return Error{EPERM, "cannot rename reserved folder"};
  }
  return Change(who, {}, [&](Changer& tree, WriteOp&) -> int {
    RenameOp op;
    if (const int error = FindParent(tree, *old_parts, &op.old_parent); error != 0) return error;
    if (const int error = FindParent(tree, *new_parts, &op.new_parent); error != 0) return error;
    op.old_name = old_parts->back();
    op.new_name = new_parts->back();
    return tree.Run(op);
  });
}

Result<uint64_t> Files::Truncate(const Who& who, std::string_view path, uint64_t size) {
  if (who.read_only) return Refused();
  auto parts = SplitPath(path);
  if (!parts) return parts.error();
  return Change(who, {}, [&](Changer& tree, WriteOp&) -> int {
    SetAttrOp op;
    if (const int error = FindExisting(tree, *parts, &op.ino); error != 0) return error;
    op.size = size;
    return tree.Run(op);
  });
}

Result<uint64_t> Files::Touch(const Who& who, std::string_view path) {
  if (who.read_only) return Refused();
  auto parts = SplitPath(path);
  if (!parts) return parts.error();
  return Change(who, {}, [&](Changer& tree, WriteOp&) -> int {
    SetAttrOp op;
    if (const int error = FindExisting(tree, *parts, &op.ino); error != 0) return error;
    op.mtime_ns = WallClockNs();
    return tree.Run(op);
  });
}

Result<uint64_t> Files::Chmod(const Who& who, std::string_view path, uint32_t mode, uint32_t mask) {
  if (who.read_only) return Refused();
  auto parts = SplitPath(path);
  if (!parts) return parts.error();
  return Change(who, {}, [&](Changer& tree, WriteOp&) -> int {
    InodeNo ino = 0;
    if (const int error = FindExisting(tree, *parts, &ino); error != 0) return error;
    const Inode* inode = tree.Find(ino);
    return inode == nullptr ? EIO : SetMode(tree, ino, (inode->mode & ~mask) | (mode & mask));
  });
}

}  // namespace airstore::gateway::v1
