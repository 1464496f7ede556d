// SPDX-License-Identifier: Apache-2.0
//
// Mutator: dispatch, and everything about names. Content and attributes are in mutator_content.cc.
#include "tools/gateway/mutator.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace airstore::gateway {
namespace {

constexpr uint32_t kMaxLinks = 0x7fffffff;

bool IsDirectory(const Inode& inode) { return S_ISDIR(inode.mode); }

}  // namespace

int Mutator::Run(const Mutation& mutation, std::vector<InodeVersion>* versions) {
  now_ns_ = mutation.time_ns;
  touched_.clear();
  if (mutation.if_inode != 0 && mutation.if_content_version != 0) {
    const Inode* inode = tree_.Find(mutation.if_inode);
    if (inode == nullptr || inode->content_version != mutation.if_content_version) return ESTALE;
  }
  const int error = std::visit([this](const auto& op) { return Do(op); }, mutation.op);
  if (error == 0) {
    for (const Inode* inode : touched_) {
      versions->push_back({inode->ino, inode->version, inode->content_version});
    }
  }
  return error;
}

ChangeSet Mutator::TakeChanges() {
  auto& inodes = changes_.inodes;
  std::sort(inodes.begin(), inodes.end());
  inodes.erase(std::unique(inodes.begin(), inodes.end()), inodes.end());
  return std::move(changes_);
}

int Mutator::FindDirectory(InodeNo ino, Inode** directory) {
  *directory = tree_.Find(ino);
  if (*directory == nullptr) return ENOENT;
  return IsDirectory(**directory) ? 0 : ENOTDIR;
}

bool Mutator::IsWithin(InodeNo directory, InodeNo ancestor) {
  while (directory != 0) {
    if (directory == ancestor) return true;
    const Inode* inode = tree_.Find(directory);
    if (inode == nullptr || directory == kRootInode) return false;
    directory = inode->parent;
  }
  return false;
}

void Mutator::Changed(Inode& inode) {
  tree_.MarkChanged(inode.ino);
  if (std::find(touched_.begin(), touched_.end(), &inode) != touched_.end()) return;
  ++inode.version;
  touched_.push_back(&inode);
  changes_.inodes.push_back(inode.ino);
}

void Mutator::NameChanged(Inode& parent, std::string_view name) {
  parent.mtime_ns = parent.ctime_ns = now_ns_;
  Changed(parent);
  changes_.names.push_back({parent.ino, std::string(name)});
}

int Mutator::CheckInodes(uint64_t more) const {
  if (workspace_.quota_inodes == 0) return 0;
  const int64_t now = static_cast<int64_t>(workspace_.inodes) + tree_.inode_delta();
  return now + static_cast<int64_t>(more) > static_cast<int64_t>(workspace_.quota_inodes) ? EDQUOT
                                                                                          : 0;
}

int Mutator::CheckNewInode(InodeNo ino) {
  if (ino >= workspace_.next_inode) return EINVAL;
  if (tree_.Find(ino) != nullptr) return EEXIST;
  return CheckInodes(1);
}

void Mutator::Add(Inode inode, InodeNo parent, std::string_view name) {
  const InodeNo ino = inode.ino;
  inode.atime_ns = inode.mtime_ns = inode.ctime_ns = inode.btime_ns = now_ns_;
  inode.version = 0;  // Changed() makes it 1
  inode.content_version = 1;
  if (parent != 0) tree_.store().PutEntry(tree_.workspace(), parent, name, ino);
  tree_.Add(std::move(inode));
  Changed(*tree_.Find(ino));
}

int Mutator::Do(const CreateOp& op) {
  Inode* parent = nullptr;
  if (op.parent != 0) {
    if (const int error = FindDirectory(op.parent, &parent); error != 0) return error;
    if (tree_.store().GetEntry(tree_.workspace(), op.parent, op.name)) return EEXIST;
    if (S_ISDIR(op.mode) && parent->nlink >= kMaxLinks) return EMLINK;
  }
  if (const int error = CheckNewInode(op.ino); error != 0) return error;

  Inode inode;
  inode.ino = op.ino;
  inode.mode = op.mode;
  inode.uid = op.uid;
  inode.gid = op.gid;
  inode.rdev = op.rdev;
  inode.nlink = S_ISDIR(op.mode) ? 2 : 1;
  inode.symlink_target = op.symlink_target;
  inode.size = op.symlink_target.size();
  for (const Xattr& xattr : op.xattrs) PutXattr(inode, xattr.name, xattr.value);
  if (parent == nullptr) {
    inode.nlink = 0;
    tree_.store().PutOrphan(tree_.workspace(), op.ino, session_);
  } else {
    inode.parent = op.parent;
    if (S_ISDIR(op.mode)) ++parent->nlink;
    NameChanged(*parent, op.name);
  }
  Add(std::move(inode), op.parent, op.name);
  return 0;
}

int Mutator::Do(const LinkOp& op) {
  Inode* parent = nullptr;
  if (const int error = FindDirectory(op.parent, &parent); error != 0) return error;
  Inode* inode = tree_.Find(op.ino);
  if (inode == nullptr) return ENOENT;
  if (IsDirectory(*inode)) return EPERM;
  if (inode->nlink >= kMaxLinks) return EMLINK;
  if (tree_.store().GetEntry(tree_.workspace(), op.parent, op.name)) return EEXIST;

  if (inode->nlink == 0) {
    tree_.store().DeleteOrphan(tree_.workspace(), op.ino);
    inode->parent = op.parent;
  } else if (inode->parent != op.parent) {
    inode->parent = 0;
  }
  ++inode->nlink;
  inode->ctime_ns = now_ns_;
  tree_.store().PutEntry(tree_.workspace(), op.parent, op.name, op.ino);
  NameChanged(*parent, op.name);
  Changed(*inode);
  return 0;
}

int Mutator::Do(const UnlinkOp& op) {
  Inode* parent = nullptr;
  if (const int error = FindDirectory(op.parent, &parent); error != 0) return error;
  const auto ino = tree_.store().GetEntry(tree_.workspace(), op.parent, op.name);
  if (!ino) return ENOENT;
  if (op.ino != 0 && op.ino != *ino) return ESTALE;
  Inode* inode = tree_.Find(*ino);
  if (inode == nullptr) return EIO;
  if (op.directory) {
    if (!IsDirectory(*inode)) return ENOTDIR;
    if (tree_.store().HasEntries(tree_.workspace(), *ino)) return ENOTEMPTY;
  } else if (IsDirectory(*inode)) {
    return EISDIR;
  }

  tree_.store().DeleteEntry(tree_.workspace(), op.parent, op.name);
  if (op.directory) --parent->nlink;
  NameChanged(*parent, op.name);
  DropName(*inode);
  return 0;
}

void Mutator::DropName(Inode& inode) {
  inode.ctime_ns = now_ns_;
  inode.nlink = IsDirectory(inode) ? 0 : inode.nlink - 1;
  Changed(inode);
  if (inode.nlink == 0) Free(inode);
}

void Mutator::Free(Inode& inode) {
  Cut(inode, 0, kMaxFileBytes);
  if (inode.xattr_count > 0) {
    for (const std::string& name : tree_.store().ListXattrs(tree_.workspace(), inode.ino)) {
      tree_.store().DeleteXattr(tree_.workspace(), inode.ino, name);
    }
  }
  tree_.Remove(inode.ino);
}

void Mutator::DropOrphan(InodeNo ino) {
  tree_.store().DeleteOrphan(tree_.workspace(), ino);
  Inode* inode = tree_.Find(ino);
  if (inode != nullptr && inode->nlink == 0) Free(*inode);
}

int Mutator::CheckReplace(const Inode& source, const Inode& target) {
  if (IsDirectory(source)) {
    if (!IsDirectory(target)) return ENOTDIR;
    return tree_.store().HasEntries(tree_.workspace(), target.ino) ? ENOTEMPTY : 0;
  }
  return IsDirectory(target) ? EISDIR : 0;
}

int Mutator::CheckRename(const RenameOp& op, const Inode& source, const Inode* target) {
  // A directory must not become its own descendant.
  if (IsDirectory(source) && IsWithin(op.new_parent, source.ino)) return EINVAL;
  if (target == nullptr) return 0;
  if (op.flags == kRenameExchange) {
    return IsDirectory(*target) && IsWithin(op.old_parent, target->ino) ? EINVAL : 0;
  }
  return CheckReplace(source, *target);
}

int Mutator::Do(const RenameOp& op) {
  const WorkspaceKey ws = tree_.workspace();
  Inode* old_parent = nullptr;
  Inode* new_parent = nullptr;
  if (const int error = FindDirectory(op.old_parent, &old_parent); error != 0) return error;
  if (const int error = FindDirectory(op.new_parent, &new_parent); error != 0) return error;
  const auto source_ino = tree_.store().GetEntry(ws, op.old_parent, op.old_name);
  if (!source_ino) return ENOENT;
  if (op.ino != 0 && op.ino != *source_ino) return ESTALE;
  const auto target_ino = tree_.store().GetEntry(ws, op.new_parent, op.new_name);
  if (!target_ino && op.flags == kRenameExchange) return ENOENT;
  if (op.exchanged != 0 && op.exchanged != target_ino) return ESTALE;
  if (target_ino && op.flags == kRenameNoReplace) return EEXIST;
  if (target_ino == source_ino) return 0;  // two names of one file: POSIX says do nothing
  Inode* source = tree_.Find(*source_ino);
  Inode* target = target_ino ? tree_.Find(*target_ino) : nullptr;
  if (source == nullptr || (target_ino && target == nullptr)) return EIO;
  if (const int error = CheckRename(op, *source, target); error != 0) return error;
  if (op.whiteout != 0) {
    if (const int error = CheckNewInode(op.whiteout); error != 0) return error;
  }

  if (op.flags == kRenameExchange) {
    Exchange(op, *old_parent, *new_parent, *source, *target);
    return 0;
  }
  tree_.store().DeleteEntry(ws, op.old_parent, op.old_name);
  tree_.store().PutEntry(ws, op.new_parent, op.new_name, source->ino);
  if (target != nullptr && IsDirectory(*target)) --new_parent->nlink;
  MoveName(*source, *old_parent, *new_parent);
  NameChanged(*old_parent, op.old_name);
  NameChanged(*new_parent, op.new_name);
  source->ctime_ns = now_ns_;
  Changed(*source);
  if (target != nullptr) DropName(*target);
  if (op.whiteout != 0) {
    Inode whiteout;
    whiteout.ino = op.whiteout;
    whiteout.mode = S_IFCHR;
    whiteout.uid = op.whiteout_uid;
    whiteout.gid = op.whiteout_gid;
    whiteout.nlink = 1;
    whiteout.parent = op.old_parent;
    Add(std::move(whiteout), op.old_parent, op.old_name);
  }
  return 0;
}

void Mutator::MoveName(Inode& inode, Inode& from, Inode& to) {
  if (from.ino == to.ino) return;
  if (IsDirectory(inode)) {
    --from.nlink;
    ++to.nlink;
  }
  inode.parent = IsDirectory(inode) || inode.nlink == 1 ? to.ino : 0;
}

void Mutator::Exchange(const RenameOp& op, Inode& old_parent, Inode& new_parent, Inode& source,
                       Inode& target) {
  tree_.store().PutEntry(tree_.workspace(), op.old_parent, op.old_name, target.ino);
  tree_.store().PutEntry(tree_.workspace(), op.new_parent, op.new_name, source.ino);
  MoveName(source, old_parent, new_parent);
  MoveName(target, new_parent, old_parent);
  NameChanged(old_parent, op.old_name);
  NameChanged(new_parent, op.new_name);
  for (Inode* inode : {&source, &target}) {
    inode->ctime_ns = now_ns_;
    Changed(*inode);
  }
}

}  // namespace airstore::gateway
