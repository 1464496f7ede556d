// SPDX-License-Identifier: Apache-2.0
//
// Names for files that are there already: further ones, and the first one of a file that was made
// without (O_TMPFILE). Of the latter the gateway learns with its name.
#include <sys/stat.h>

#include "broker/announced_change.h"
#include "broker/clock.h"
#include "broker/names.h"
#include "broker/tree.h"

namespace airstore::broker {

Task<Result<uint64_t>> Tree::CreateNameless(uint64_t parent, NewNode node) {
  auto number = co_await NextInode();
  if (!number) co_return number.error();
  std::optional<shm::InodeRecord> directory;
  for (;;) {
    AIRSTORE_TRY_CO(co_await Ensure(parent));
    directory = inodes_->Get(parent);
    if (!directory || (directory->flags & shm::kOrphan) != 0) co_return Error{ENOENT, "directory"};
    if (!IsDirectory(directory->mode)) co_return Error{ENOTDIR, "directory"};
    if (!evictor_->HasRoom(1)) {
      if (!co_await evictor_->MakeRoom(1)) co_return Error{ENOSPC, "all known files are in use"};
      continue;
    }
    if (directory->xattr_count == 0 || xattrs_.Find(parent) != nullptr) break;
    auto inherited = co_await LoadXattrs(parent);
    if (!inherited) co_return inherited.error();
  }
  Inherited made = Inherit(*number, *directory, node, RealtimeNs());
  made.record.nlink = 0;
  made.record.flags |= shm::kOrphan | shm::kNameless;
  if (!made.xattrs.empty()) log_->NoteXattrs({*number, made.xattrs});
  AIRSTORE_TRY_CO(InsertInherited(made));
  evictor_->Watch();
  co_return *number;
}

Ticket Tree::NameNameless(Origin origin, uint64_t inode, uint64_t parent, const std::string& name,
                          int64_t now_ns) {
  const auto record = inodes_->Get(inode);
  const Xattrs* xattrs = record->xattr_count == 0 ? nullptr : xattrs_.Find(inode);
  log_->Append(Mutation{.time_ns = record->btime_ns,
                        .op = CreateOp{.parent = parent,
                                       .name = name,
                                       .inode = inode,
                                       .mode = record->mode,
                                       .uid = record->uid,
                                       .gid = record->gid,
                                       .rdev = 0,
                                       .symlink_target = {},
                                       .xattrs = xattrs == nullptr ? Xattrs() : *xattrs}},
               {inode}, {parent}, origin.place());
  return TimesOfNamed(*record, parent, now_ns);
}

// The creation was earlier than the name.
Ticket Tree::TimesOfNamed(const shm::InodeRecord& record, uint64_t parent, int64_t now_ns) {
  log_->Append(Mutation{.time_ns = now_ns, .op = TouchOp{parent}}, {}, {parent});
  return log_->Append(Mutation{.time_ns = now_ns,
                               .op = SetattrOp{.inode = record.inode,
                                               .mode = {},
                                               .uid = {},
                                               .gid = {},
                                               .size = {},
                                               .atime_ns = record.atime_ns,
                                               .mtime_ns = record.mtime_ns,
                                               .ctime_ns = now_ns}},
                      {record.inode}, {});
}

// Its creation is on record, and not in the tables.
void Tree::FinishNaming(const CreateOp& op, const shm::InodeRecord& record) {
  const int64_t now = RealtimeNs();
  (void)TimesOfNamed(record, op.parent, now);
  ApplyLink(LinkOp{.inode = op.inode, .parent = op.parent, .name = op.name}, now, true);
}

Task<Result<void>> Tree::Link(Origin origin, uint64_t inode, uint64_t parent, std::string name) {
  AIRSTORE_TRY_CO(CheckNewName(name));
  AnnouncedChange change(inodes_, mounts_, origin.mount, {{parent, name}});
  std::optional<shm::InodeRecord> record;
  const Busy busy(this, inode);
  for (;;) {
    AIRSTORE_TRY_CO(co_await Ensure(inode));
    AIRSTORE_TRY_CO(co_await RequireFree(parent, name));
    record = inodes_->Get(inode);
    if (!record) continue;
    const std::vector<uint64_t> subjects(1, inode);
    if (change.Ready(subjects)) break;
    co_await change.Announce(subjects);
  }
  const auto directory = inodes_->Get(parent);
  const bool nameless = (record->flags & shm::kNameless) != 0;
  if (!directory || (directory->flags & shm::kOrphan) != 0 ||
      ((record->flags & shm::kOrphan) != 0 && !nameless)) {
    co_return Error{ENOENT, name};
  }
  if (IsDirectory(record->mode)) co_return Error{EPERM, name};
  if (!nameless && !gateway_->traits().hard_links) co_return Error{EPERM, "hard link"};
  if (record->nlink >= kLinkMax) co_return Error{EMLINK, name};
  AIRSTORE_TRY_CO(log_->Admit());
  AIRSTORE_TRY_CO(MakeRoom(parent, name));
  const int64_t now = RealtimeNs();
  contents_->Refresh(inode);
  const LinkOp op{.inode = inode, .parent = parent, .name = name};
  if (nameless) inodes_->SetParent(inode, parent);
  Ticket ticket = nameless ? NameNameless(origin, inode, parent, name, now)
                           : log_->Append(Mutation{.time_ns = now, .op = op}, {inode}, {parent},
                                          origin.place());
  const uint64_t zone = log_->last_zone();
  Began(origin, inode, ticket);
  ApplyLink(op, now, false);
  Applied(ticket);
  if (nameless) ticket = std::max(ticket, contents_->Flush(inode));
  evictor_->Watch();
  co_await change.Finish();
  co_return co_await Committed(ticket, inode, zone);
}

void Tree::ApplyLink(const LinkOp& op, int64_t time_ns, bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const auto record = inodes_->Get(op.inode);
  const uint32_t at = meta.FindDentry(op.parent, op.name);
  if (record && (at == shm::kNoIndex || meta.Dentry(at).inode == 0)) {
    (void)meta.AddDentry(op.parent, op.name, op.inode, (record->mode & 0170000) >> 12);
  }
  TouchDirectory(op.parent, time_ns, 0, again);
  if (record && record->nlink != 0 && inodes_->ParentOf(op.inode) != op.parent) {
    inodes_->SetParent(op.inode, shm::kRootInode);
  }
  inodes_->Update(op.inode, [&](shm::InodeRecord& changed) {
    if (again && changed.ctime_ns == time_ns) return;
    ++changed.nlink;
    changed.ctime_ns = time_ns;
    changed.flags &= ~uint32_t{shm::kOrphan | shm::kNameless};
  });
}

}  // namespace airstore::broker
