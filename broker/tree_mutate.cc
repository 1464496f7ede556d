// SPDX-License-Identifier: Apache-2.0
//
// Changing the tree. See tree.h for the road every change takes.
#include <fcntl.h>
#include <linux/fs.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "broker/clock.h"
#include "broker/tree.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kLinkMax = 65000;

bool ValidName(const std::string& name) {
  return !name.empty() && name.size() <= shm::kMaxName && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

Error NameError(const std::string& name) {
  return Error{name.size() > shm::kMaxName ? ENAMETOOLONG : EINVAL, "name"};
}

}  // namespace

Task<Result<void>> Tree::Committed(Ticket ticket, uint64_t inode) {
  if (lease_) co_return Result<void>{};
  if (on_synchronous_) on_synchronous_();
  const int refused = co_await log_->WaitSettled(ticket, inode);
  if (refused != 0) co_return Error{refused, "refused by the gateway"};
  co_return Result<void>{};
}

void Tree::Began(const Origin& origin, uint64_t inode, Ticket ticket) {
  if (origin.mount == nullptr) return;
  origin.mount->Executed(origin.slot, origin.position, shm::Executed{inode, ticket});
}

void Tree::Applied(Ticket ticket) { inodes_->meta().SetAppliedLsn(ticket); }

Result<void> Tree::MakeRoom(uint64_t parent, const std::string& name) {
  if (inodes_->meta().FindDentry(parent, name) != shm::kNoIndex) return {};
  auto added = inodes_->meta().AddDentry(parent, name, 0, 0);
  if (!added) return added.error();
  negatives_.emplace_back(*added, parent);
  return {};
}

void Tree::TouchDirectory(uint64_t directory, int64_t now_ns, int nlink_change, bool again) {
  inodes_->Update(directory, [&](shm::InodeRecord& record) {
    if (again && record.mtime_ns == now_ns && record.ctime_ns == now_ns) return;
    record.mtime_ns = now_ns;
    record.ctime_ns = now_ns;
    record.nlink = static_cast<uint32_t>(static_cast<int>(record.nlink) + nlink_change);
  });
}

Task<Result<void>> Tree::RequireFree(uint64_t parent, std::string name) {
  for (;;) {
    auto existing = co_await Lookup(parent, name);
    if (existing) co_return Error{EEXIST, name};
    if (existing.error().code != ENOENT) co_return existing.error();
    if (evictor_->HasRoom(1)) co_return Result<void>{};
    if (!co_await evictor_->MakeRoom(1)) co_return Error{ENOSPC, "all known files are in use"};
  }
}

Task<Result<uint64_t>> Tree::Create(Origin origin, uint64_t parent, std::string name,
                                    NewNode node) {
  if (!ValidName(name)) co_return NameError(name);
  AIRSTORE_TRY_CO(co_await Ensure(parent));
  auto number = co_await NextInode();
  if (!number) co_return number.error();
  AIRSTORE_TRY_CO(co_await RequireFree(parent, name));
  const auto directory = inodes_->Get(parent);
  if (!directory || (directory->flags & shm::kOrphan) != 0) co_return Error{ENOENT, name};
  if (IsDirectory(node.mode) && directory->nlink >= kLinkMax) co_return Error{EMLINK, name};
  AIRSTORE_TRY_CO(log_->Admit());

  if ((directory->mode & S_ISGID) != 0) {
    node.gid = directory->gid;
    if (IsDirectory(node.mode)) node.mode |= S_ISGID;
  }
  const int64_t now = RealtimeNs();
  shm::InodeRecord record = ToRecord(Attr{.inode = *number,
                                          .generation = 1,
                                          .mode = node.mode,
                                          .uid = node.uid,
                                          .gid = node.gid,
                                          .nlink = IsDirectory(node.mode) ? 2u : 1u,
                                          .size = node.symlink_target.size(),
                                          .rdev = node.rdev,
                                          .atime_ns = now,
                                          .mtime_ns = now,
                                          .ctime_ns = now,
                                          .btime_ns = now,
                                          .symlink_target = {}});
  if (IsDirectory(node.mode)) record.flags |= shm::kListingComplete;
  auto inserted = inodes_->InsertNew(record);
  if (!inserted) co_return inserted.error();
  if (IsSymlink(node.mode)) {
    const auto* target = reinterpret_cast<const uint8_t*>(node.symlink_target.data());
    AIRSTORE_TRY_CO(inodes_->StoreSmall(*number, {target, node.symlink_target.size()}));
  }
  if (auto room = MakeRoom(parent, name); !room) {
    inodes_->Remove(*number);
    co_return room.error();
  }
  const CreateOp op{.parent = parent,
                    .name = name,
                    .inode = *number,
                    .mode = node.mode,
                    .uid = node.uid,
                    .gid = node.gid,
                    .rdev = node.rdev,
                    .symlink_target = node.symlink_target};
  const Ticket ticket =
      log_->Append(Mutation{.time_ns = now, .op = op}, {*number}, {parent}, origin.place());
  Began(origin, *number, ticket);
  ApplyCreate(op, now, false);
  Applied(ticket);
  evictor_->Watch();
  co_await NotifyName(origin.mount, parent, name);
  AIRSTORE_TRY_CO(co_await Committed(ticket, *number));
  co_return *number;
}

void Tree::ApplyCreate(const CreateOp& op, int64_t time_ns, bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const uint32_t at = meta.FindDentry(op.parent, op.name);
  if (at == shm::kNoIndex || meta.Dentry(at).inode == 0) {
    (void)meta.AddDentry(op.parent, op.name, op.inode, (op.mode & 0170000) >> 12);
  }
  if (IsDirectory(op.mode)) inodes_->directories().Set(op.inode, op.parent);
  TouchDirectory(op.parent, time_ns, IsDirectory(op.mode) ? 1 : 0, again);
}

Task<Result<void>> Tree::RequireEmpty(uint64_t directory) {
  AIRSTORE_TRY_CO(co_await LoadListing(directory));
  const auto record = inodes_->Get(directory);
  if (record && record->dir_entries != 0) co_return Error{ENOTEMPTY, "directory"};
  co_return Result<void>{};
}

// The inode lost one name: the last one makes it an orphan that lives as long as a mount knows it.
void Tree::LoseName(uint64_t inode, bool directory, int64_t now_ns, bool again) {
  inodes_->Update(inode, [&](shm::InodeRecord& record) {
    if (again && record.ctime_ns == now_ns) return;
    record.ctime_ns = now_ns;
    record.nlink = directory ? 0 : record.nlink - (record.nlink > 0 ? 1 : 0);
    if (record.nlink == 0) record.flags |= shm::kOrphan;
  });
  if (directory) inodes_->directories().Erase(inode);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void Tree::ReclaimOrphan(uint64_t inode) {
  const uint32_t index = inodes_->IndexOf(inode);
  if (index == shm::kNoIndex) return;
  const shm::InodeRecord record = inodes_->meta().Inode(index);
  if ((record.flags & shm::kOrphan) == 0 || mounts_->AnyLookups(index) ||
      mounts_->AnyLocalOpens(index) || contents_->HasOpens(inode)) {
    return;
  }
  if (inodes_->RemoveUnlessHeld(inode)) contents_->Destroy(inode);
}

Task<Result<void>> Tree::Remove(Origin origin, uint64_t parent, std::string name, bool directory) {
  uint64_t inode = 0;
  for (;;) {
    auto found = co_await Lookup(parent, name);
    if (!found) co_return found.error();
    const auto record = inodes_->Get(*found);
    if (!record) co_return Error{ESTALE, name};
    if (directory && !IsDirectory(record->mode)) co_return Error{ENOTDIR, name};
    if (!directory && IsDirectory(record->mode)) co_return Error{EISDIR, name};
    if (!directory) {
      inode = *found;
      break;
    }
    AIRSTORE_TRY_CO(co_await RequireEmpty(*found));
    const uint32_t again = inodes_->meta().FindDentry(parent, name);
    if (again != shm::kNoIndex && inodes_->meta().Dentry(again).inode == *found) {
      inode = *found;
      break;
    }
  }
  AIRSTORE_TRY_CO(log_->Admit());
  const int64_t now = RealtimeNs();
  const auto record = inodes_->Get(inode);
  const bool last_name = directory || (record && record->nlink <= 1);
  const UnlinkOp op{.parent = parent, .name = name, .directory = directory, .inode = inode};
  const Ticket elided =
      last_name && !directory ? log_->Elide(inode, parent, now, origin.place()) : 0;
  const Ticket logged = elided != 0 ? elided
                                    : log_->Append(Mutation{.time_ns = now, .op = op}, {inode},
                                                   {parent}, origin.place(), last_name ? inode : 0);
  // Of a file that leaves no trace nobody waits for the parent's times.
  const Ticket ticket = elided != 0 ? 0 : logged;
  Began(origin, inode, ticket);
  ApplyRemove(op, now, false);
  Applied(logged);
  NotifyAttr(origin.mount, inode);
  co_await NotifyName(origin.mount, parent, name);
  ReclaimOrphan(inode);
  co_return co_await Committed(ticket, inode);
}

void Tree::ApplyRemove(const UnlinkOp& op, int64_t time_ns, bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const uint32_t at = meta.FindDentry(op.parent, op.name);
  if (at != shm::kNoIndex && meta.Dentry(at).inode == op.inode) meta.RemoveDentry(at);
  AddNegative(op.parent, op.name);
  TouchDirectory(op.parent, time_ns, op.directory ? -1 : 0, again);
  LoseName(op.inode, op.directory, time_ns, again);
}

bool Tree::IsBelow(uint64_t directory, uint64_t ancestor) const {
  for (uint64_t at = directory; at != shm::kRootInode;) {
    if (at == ancestor) return true;
    at = inodes_->directories().ParentOf(at);
    if (at == 0) return false;
  }
  return ancestor == shm::kRootInode;
}

Task<Result<void>> Tree::Rename(Origin origin, uint64_t parent, std::string name,
                                uint64_t new_parent, std::string new_name, uint32_t flags) {
  if (!ValidName(new_name)) co_return NameError(new_name);
  if ((flags & ~static_cast<uint32_t>(RENAME_NOREPLACE)) != 0) co_return Error{EINVAL, "rename"};
  uint64_t inode = 0;
  uint64_t replaced = 0;
  for (;;) {
    auto target = co_await Lookup(new_parent, new_name);
    if (!target && target.error().code != ENOENT) co_return target.error();
    if (target && (flags & RENAME_NOREPLACE) != 0) co_return Error{EEXIST, new_name};
    if (target) {
      const auto record = inodes_->Get(*target);
      if (record && IsDirectory(record->mode)) {
        auto empty = co_await RequireEmpty(*target);
        if (!empty && empty.error().code != ENOTEMPTY) co_return empty.error();
      }
    }
    auto source = co_await Lookup(parent, name);
    if (!source) co_return source.error();
    const uint32_t index = inodes_->meta().FindDentry(new_parent, new_name);
    replaced = index == shm::kNoIndex ? 0 : inodes_->meta().Dentry(index).inode;
    inode = *source;
    if (replaced != (target ? *target : 0)) continue;
    if (replaced != 0 || evictor_->HasRoom(1)) break;
    if (!co_await evictor_->MakeRoom(1)) co_return Error{ENOSPC, "all known files are in use"};
  }
  const auto moved = inodes_->Get(inode);
  const auto directory = inodes_->Get(new_parent);
  if (!moved || !directory || (directory->flags & shm::kOrphan) != 0) {
    co_return Error{ENOENT, new_name};
  }
  if (replaced == inode) co_return Result<void>{};
  const bool is_directory = IsDirectory(moved->mode);
  if (is_directory && IsBelow(new_parent, inode)) co_return Error{EINVAL, new_name};
  if (replaced != 0) {
    const auto old = inodes_->Get(replaced);
    if (!old) co_return Error{ESTALE, new_name};
    if (is_directory && !IsDirectory(old->mode)) co_return Error{ENOTDIR, new_name};
    if (!is_directory && IsDirectory(old->mode)) co_return Error{EISDIR, new_name};
    if (is_directory && old->dir_entries != 0) co_return Error{ENOTEMPTY, new_name};
  }
  AIRSTORE_TRY_CO(log_->Admit());
  // A replace that arrives before its content would show an empty file elsewhere.
  contents_->Flush(inode);

  AIRSTORE_TRY_CO(MakeRoom(new_parent, new_name));

  const int64_t now = RealtimeNs();
  const RenameOp op{.old_parent = parent,
                    .old_name = name,
                    .new_parent = new_parent,
                    .new_name = new_name,
                    .flags = flags};
  std::vector<uint64_t> subjects{inode};
  uint64_t orphan = 0;
  if (replaced != 0) {
    subjects.push_back(replaced);
    const auto old = inodes_->Get(replaced);
    if (is_directory || (old && old->nlink <= 1)) orphan = replaced;
  }
  const Ticket ticket = log_->Append(Mutation{.time_ns = now, .op = op}, subjects,
                                     {parent, new_parent}, origin.place(), orphan);
  Began(origin, inode, ticket);
  ApplyRename(op, inode, replaced, now, false);
  Applied(ticket);
  evictor_->Watch();
  NotifyAttr(origin.mount, inode);
  if (replaced != 0) NotifyAttr(origin.mount, replaced);
  co_await NotifyName(origin.mount, parent, name);
  co_await NotifyName(origin.mount, new_parent, new_name);
  if (replaced != 0) ReclaimOrphan(replaced);
  co_return co_await Committed(ticket, inode);
}

void Tree::ApplyRename(const RenameOp& op, uint64_t inode, uint64_t replaced, int64_t time_ns,
                       bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const auto moved = inodes_->Get(inode);
  if (!moved) return;
  const bool directory = IsDirectory(moved->mode);
  const uint32_t type = (moved->mode & 0170000) >> 12;
  const uint32_t to = meta.FindDentry(op.new_parent, op.new_name);
  if (to == shm::kNoIndex || meta.Dentry(to).inode == 0) {
    (void)meta.AddDentry(op.new_parent, op.new_name, inode, type);
  } else if (meta.Dentry(to).inode != inode) {
    meta.ReplaceDentry(to, inode, type);
  }
  if (replaced != 0) LoseName(replaced, directory, time_ns, again);
  const uint32_t from = meta.FindDentry(op.old_parent, op.old_name);
  if (from != shm::kNoIndex && meta.Dentry(from).inode == inode) meta.RemoveDentry(from);
  AddNegative(op.old_parent, op.old_name);
  if (directory) inodes_->directories().Set(inode, op.new_parent);
  const int lost = directory ? -1 : 0;
  const int won = directory && replaced == 0 ? 1 : 0;
  if (op.old_parent == op.new_parent) {
    TouchDirectory(op.old_parent, time_ns, lost + won, again);
  } else {
    TouchDirectory(op.old_parent, time_ns, lost, again);
    TouchDirectory(op.new_parent, time_ns, won, again);
  }
  inodes_->Update(inode, [&](shm::InodeRecord& record) { record.ctime_ns = time_ns; });
}

Task<Result<void>> Tree::Link(Origin origin, uint64_t inode, uint64_t parent, std::string name) {
  if (!ValidName(name)) co_return NameError(name);
  AIRSTORE_TRY_CO(co_await Ensure(inode));
  AIRSTORE_TRY_CO(co_await RequireFree(parent, name));
  const auto record = inodes_->Get(inode);
  const auto directory = inodes_->Get(parent);
  if (!record || !directory || (directory->flags & shm::kOrphan) != 0 ||
      (record->flags & shm::kOrphan) != 0) {
    co_return Error{ENOENT, name};
  }
  if (IsDirectory(record->mode)) co_return Error{EPERM, name};
  if (record->nlink >= kLinkMax) co_return Error{EMLINK, name};
  AIRSTORE_TRY_CO(log_->Admit());
  AIRSTORE_TRY_CO(MakeRoom(parent, name));
  const int64_t now = RealtimeNs();
  const LinkOp op{.inode = inode, .parent = parent, .name = name};
  const Ticket ticket =
      log_->Append(Mutation{.time_ns = now, .op = op}, {inode}, {parent}, origin.place());
  Began(origin, inode, ticket);
  ApplyLink(op, now, false);
  Applied(ticket);
  evictor_->Watch();
  NotifyAttr(origin.mount, inode);
  co_await NotifyName(origin.mount, parent, name);
  co_return co_await Committed(ticket, inode);
}

void Tree::ApplyLink(const LinkOp& op, int64_t time_ns, bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const auto record = inodes_->Get(op.inode);
  const uint32_t at = meta.FindDentry(op.parent, op.name);
  if (record && (at == shm::kNoIndex || meta.Dentry(at).inode == 0)) {
    (void)meta.AddDentry(op.parent, op.name, op.inode, (record->mode & 0170000) >> 12);
  }
  TouchDirectory(op.parent, time_ns, 0, again);
  inodes_->Update(op.inode, [&](shm::InodeRecord& changed) {
    if (again && changed.ctime_ns == time_ns) return;
    ++changed.nlink;
    changed.ctime_ns = time_ns;
  });
}

Task<Result<void>> Tree::Setattr(Origin origin, uint64_t inode, AttrChange change) {
  AIRSTORE_TRY_CO(co_await Ensure(inode));
  const auto before = inodes_->Get(inode);
  const bool resize = (change.valid & shm::kSetSize) != 0;
  AIRSTORE_TRY_CO(log_->Admit());
  if (resize) {
    if (IsDirectory(before->mode)) co_return Error{EISDIR, "truncate"};
    if (!IsRegular(before->mode)) co_return Error{EINVAL, "truncate"};
    AIRSTORE_TRY_CO(co_await contents_->Truncate(inode, change.size));
  }
  const int64_t now = RealtimeNs();
  SetattrOp op;
  op.inode = inode;
  shm::InodeRecord after{};
  const bool present = inodes_->Update(inode, [&](shm::InodeRecord& record) {
    if ((change.valid & shm::kSetMode) != 0) {
      record.mode = (record.mode & 0170000) | (change.mode & 07777);
      op.mode = record.mode & 07777;
    }
    if ((change.valid & shm::kSetUid) != 0) op.uid = record.uid = change.uid;
    if ((change.valid & shm::kSetGid) != 0) op.gid = record.gid = change.gid;
    if (resize) {
      op.size = change.size;
      op.mtime_ns = record.mtime_ns = now;
    }
    if ((change.valid & shm::kSetAtime) != 0) op.atime_ns = record.atime_ns = change.atime_ns;
    if ((change.valid & shm::kSetMtime) != 0) op.mtime_ns = record.mtime_ns = change.mtime_ns;
    op.ctime_ns = record.ctime_ns = now;
    after = record;
  });
  if (!present) co_return Error{ESTALE, "setattr"};
  if ((change.valid & (shm::kSetAtime | shm::kSetMtime | shm::kSetSize)) != 0) {
    contents_->SetTimes(inode, after.atime_ns, after.mtime_ns);
  }
  Ticket ticket = 0;
  if ((after.flags & shm::kOrphan) == 0) {
    // Content that is still queued goes out as it is when its turn comes, so it must come after
    // the cut, or the cut would take away what was written behind it; and after the times, which
    // a later write outdates.
    const bool behind = resize || (change.valid & shm::kSetMtime) != 0;
    const bool queued = behind && log_->TakeContent(inode);
    ticket = log_->Append(Mutation{.time_ns = now, .op = op}, {inode}, {}, origin.place());
    Applied(ticket);  // carried out before, and harmless when it is once more
    if (queued) log_->AppendContent(inode);
  }
  if (resize) {
    co_await NotifyData(origin.mount, inode, 0, 0);
  } else {
    NotifyAttr(origin.mount, inode);
  }
  co_return co_await Committed(ticket, inode);
}

Task<void> Tree::NotifyName(MountPort* origin, uint64_t parent, std::string name) {
  if (mounts_->size() < 2) co_return;
  const uint64_t known_by = inodes_->KnownBy(parent);
  for (MountPort* mount : std::vector<MountPort*>(mounts_->all())) {
    if (mount == origin || (known_by & (1ull << mount->index())) == 0) continue;
    co_await mount->InvalidateName(parent, name);
  }
}

Task<void> Tree::NotifyData(MountPort* origin, uint64_t inode, uint64_t offset, uint64_t length) {
  if (mounts_->size() < 2) co_return;
  const uint64_t known_by = inodes_->KnownBy(inode);
  for (MountPort* mount : std::vector<MountPort*>(mounts_->all())) {
    if (mount == origin || (known_by & (1ull << mount->index())) == 0) continue;
    co_await mount->InvalidateData(inode, offset, length);
  }
}

void Tree::NotifyAttr(MountPort* origin, uint64_t inode) {
  if (mounts_->size() < 2) return;
  const uint64_t known_by = inodes_->KnownBy(inode);
  for (MountPort* mount : mounts_->all()) {
    if (mount == origin || (known_by & (1ull << mount->index())) == 0) continue;
    mount->InvalidateAttr(inode);
  }
}

}  // namespace airstore::broker
