// SPDX-License-Identifier: Apache-2.0
//
// Changing the tree. See tree.h for the road every change takes.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>

#include "broker/announced_change.h"
#include "broker/clock.h"
#include "broker/names.h"
#include "broker/tree.h"
#include "broker/virtual/inode.h"
#include "shm/access_time.h"
#include "shm/posix_acl.h"
#include "shm/xattr_names.h"

namespace airstore::broker {

using shm::kAccessAcl;
using shm::kDefaultAcl;
using shm::PosixAcl;

namespace {

const std::string kCapabilities(shm::kCapabilities);

uint32_t WithoutSetId(uint32_t mode, bool of_group) {
  mode &= ~uint32_t{S_ISUID};
  return (mode & S_IXGRP) != 0 || !of_group ? mode & ~uint32_t{S_ISGID} : mode;
}

}  // namespace

Task<Result<void>> Tree::Committed(Ticket ticket, uint64_t inode, uint64_t zone) {
  if (ZoneIsHere(zone)) co_return Result<void>{};
  if (on_synchronous_) on_synchronous_(zone);
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
  MakeRoomForNames();
  auto added = inodes_->meta().AddDentry(parent, name, 0, 0);
  if (!added) return added.error();
  NoteNegative(*added, parent, name.size());
  return {};
}

void Tree::TouchDirectory(uint64_t directory, int64_t now_ns, int nlink_change, bool again) {
  inodes_->Update(directory, [&](shm::InodeRecord& record) {
    if (again && record.mtime_ns == now_ns && record.ctime_ns == now_ns) return;
    record.mtime_ns = now_ns;
    record.ctime_ns = now_ns;
    // Not every gateway tells how many directories are in one.
    record.nlink =
        static_cast<uint32_t>(std::max(2, static_cast<int>(record.nlink) + nlink_change));
  });
}

Task<Result<void>> Tree::RequireFree(uint64_t parent, std::string name) {
  for (;;) {
    auto existing = co_await Lookup(parent, name);
    if (existing) co_return Error{EEXIST, name};
    if (existing.error().code != ENOENT) co_return existing.error();
    MakeRoomForNames();
    if (evictor_->HasRoom(1)) co_return Result<void>{};
    if (!co_await evictor_->MakeRoom(1)) co_return Error{ENOSPC, "all known files are in use"};
  }
}

Tree::Inherited Tree::Inherit(uint64_t inode, const shm::InodeRecord& directory,
                              const NewNode& node, int64_t now_ns) const {
  uint32_t mode = node.mode;
  uint32_t gid = node.gid;
  if ((directory.mode & S_ISGID) != 0) {
    gid = directory.gid;
    if (IsDirectory(mode)) mode |= S_ISGID;
  }
  Inherited made;
  if (!IsSymlink(mode)) {
    const Xattrs* known = xattrs_.Peek(directory.inode);
    const auto inherited = known == nullptr ? Xattrs::const_iterator() : known->find(kDefaultAcl);
    if (known == nullptr || inherited == known->end()) {
      mode &= ~(node.umask & 0777);
    } else if (auto acl = PosixAcl::Parse(inherited->second)) {
      if (!acl->Inherit(&mode)) made.xattrs[std::string(kAccessAcl)] = acl->Encode();
      if (IsDirectory(mode)) made.xattrs[std::string(kDefaultAcl)] = inherited->second;
    }
  }
  Attr attr{.inode = inode,
            .generation = 1,
            .mode = mode,
            .uid = node.uid,
            .gid = gid,
            .nlink = IsDirectory(mode) ? 2u : 1u,
            .size = node.symlink_target.size(),
            .rdev = node.rdev,
            .atime_ns = now_ns,
            .mtime_ns = now_ns,
            .ctime_ns = now_ns,
            .btime_ns = now_ns,
            .xattr_count = static_cast<uint32_t>(made.xattrs.size()),
            .symlink_target = {}};
  Conform(&attr);
  made.record = ToRecord(attr);
  return made;
}

Result<void> Tree::InsertInherited(const Inherited& made) {
  auto inserted = inodes_->InsertNew(made.record);
  if (!inserted) return inserted.error();
  if (!made.xattrs.empty()) xattrs_.Put(made.record.inode, made.xattrs);
  return {};
}

Task<Result<uint64_t>> Tree::Create(Origin origin, uint64_t parent, std::string name,
                                    NewNode node) {
  AIRSTORE_TRY_CO(CheckNewName(name));
  AIRSTORE_TRY_CO(CheckNew(node));
  AIRSTORE_TRY_CO(co_await Ensure(parent));
  AnnouncedChange change(inodes_, mounts_, origin.mount, {{parent, name}});
  auto number = co_await NextInode();
  if (!number) co_return number.error();
  std::optional<shm::InodeRecord> directory;
  for (;;) {
    AIRSTORE_TRY_CO(co_await RequireFree(parent, name));
    directory = inodes_->Get(parent);
    if (!directory || (directory->flags & shm::kOrphan) != 0) co_return Error{ENOENT, name};
    if (directory->xattr_count != 0 && xattrs_.Find(parent) == nullptr) {
      auto inherited = co_await LoadXattrs(parent);
      if (!inherited) co_return inherited.error();
      continue;
    }
    if (change.Ready({})) break;
    co_await change.Announce({});
  }
  if (IsDirectory(node.mode) && directory->nlink >= kLinkMax) co_return Error{EMLINK, name};
  AIRSTORE_TRY_CO(log_->Admit());

  const int64_t now = RealtimeNs();
  Inherited made = Inherit(*number, *directory, node, now);
  const shm::InodeRecord& record = made.record;
  if (IsDirectory(node.mode)) made.record.flags |= shm::kListingComplete;
  AIRSTORE_TRY_CO(InsertInherited(made));
  if (IsSymlink(node.mode)) {
    const auto* target = reinterpret_cast<const uint8_t*>(node.symlink_target.data());
    AIRSTORE_TRY_CO(inodes_->StoreSmall(*number, {target, node.symlink_target.size()}));
  }
  if (auto room = MakeRoom(parent, name); !room) {
    inodes_->Remove(*number);
    xattrs_.Drop(*number);
    co_return room.error();
  }
  const CreateOp op{.parent = parent,
                    .name = name,
                    .inode = *number,
                    .mode = record.mode,
                    .uid = record.uid,
                    .gid = record.gid,
                    .rdev = node.rdev,
                    .symlink_target = node.symlink_target,
                    .xattrs = std::move(made.xattrs)};
  const Ticket ticket =
      log_->Append(Mutation{.time_ns = now, .op = op}, {*number}, {parent}, origin.place());
  const uint64_t zone = log_->last_zone();
  Began(origin, *number, ticket);
  ApplyCreate(op, now, false);
  Applied(ticket);
  evictor_->Watch();
  co_await change.Finish();
  AIRSTORE_TRY_CO(co_await Committed(ticket, *number, zone));
  co_return *number;
}

void Tree::ApplyCreate(const CreateOp& op, int64_t time_ns, bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const uint32_t at = meta.FindDentry(op.parent, op.name);
  if (at == shm::kNoIndex || meta.Dentry(at).inode == 0) {
    (void)meta.AddDentry(op.parent, op.name, op.inode, (op.mode & 0170000) >> 12);
  }
  if (IsDirectory(op.mode)) inodes_->directories().Set(op.inode, op.parent);
  inodes_->SetParent(op.inode, op.parent);
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

// Acknowledged here, it may reach the gateway when the lease has ended, and another host has
// changed what is about to be cut or to go.
bool Tree::ExpectsVersion(uint64_t inode, const Mutation& mutation) const {
  const auto record = inodes_->Get(inode);
  return record && IsRegular(record->mode) &&
         (log_->under_lease() || log_->HoldsZone(ZoneOf(mutation)));
}

// Of what was changed here itself the content has a precondition.
void Tree::ExpectVersion(uint64_t inode, Mutation* mutation) const {
  if (!ExpectsVersion(inode, *mutation) || log_->PendingOf(inode) != 0 ||
      contents_->IsDirty(inode)) {
    return;
  }
  mutation->if_content_version = contents_->ContentVersion(inode);
  if (mutation->if_content_version != 0) mutation->if_inode = inode;
}

// The log knows what comes of the version by what is ahead: also of one that the gateway has still
// to make.
void Tree::ExpectVersionOfRemoved(uint64_t inode, Mutation* mutation) const {
  if (!ExpectsVersion(inode, *mutation)) return;
  mutation->if_inode = inode;
  mutation->if_content_version = contents_->ContentVersion(inode);
}

void Tree::ReclaimOrphan(uint64_t inode) {
  const uint32_t index = inodes_->IndexOf(inode);
  if (index == shm::kNoIndex) return;
  const shm::InodeRecord record = inodes_->meta().Inode(index);
  if ((record.flags & shm::kOrphan) == 0 || mounts_->AnyLookups(index) ||
      mounts_->AnyLocalOpens(index) || contents_->HasOpens(inode)) {
    return;
  }
  // Removed through another mount before who made it has heard of it, and will forget it.
  if (mounts_->size() > 1 && mounts_->AnyAnswering(inode)) return;
  if (!inodes_->RemoveUnlessHeld(inode)) return;
  contents_->Destroy(inode);
  xattrs_.Drop(inode);
  log_->NoteXattrs({inode, {}});
}

Task<Result<void>> Tree::Remove(Origin origin, uint64_t parent, std::string name, bool directory) {
  uint64_t inode = 0;
  AnnouncedChange change(inodes_, mounts_, origin.mount, {{parent, name}});
  for (bool asked = false, fetched = false;;) {
    auto found = co_await Lookup(parent, name);
    if (!found) co_return found.error();
    const auto record = inodes_->Get(*found);
    if (!record) co_return Error{ESTALE, name};
    if (directory && !IsDirectory(record->mode)) co_return Error{ENOTDIR, name};
    if (!directory && IsDirectory(record->mode)) co_return Error{EISDIR, name};
    if (directory) {
      AIRSTORE_TRY_CO(co_await RequireEmpty(*found));
    } else if (!asked && WantsXattrs(*found, *record)) {
      asked = true;
      (void)co_await LoadXattrs(*found);
      continue;
    } else if (!fetched && NeedsContent(*found)) {
      fetched = true;
      (void)co_await contents_->EnsureRange(*found, 0, record->size);
      continue;
    }
    const uint32_t again = inodes_->meta().FindDentry(parent, name);
    if (again == shm::kNoIndex || inodes_->meta().Dentry(again).inode != *found) continue;
    const std::vector<uint64_t> subjects(1, *found);
    if (change.Ready(subjects)) {
      inode = *found;
      break;
    }
    co_await change.Announce(subjects);
  }
  AIRSTORE_TRY_CO(log_->Admit());
  const int64_t now = RealtimeNs();
  const auto record = inodes_->Get(inode);
  const bool last_name = directory || (record && record->nlink <= 1);
  const UnlinkOp op{.parent = parent, .name = name, .directory = directory, .inode = inode};
  if (last_name) KeepXattrs(inode);
  const Ticket elided =
      last_name && !directory ? log_->Elide(inode, parent, now, origin.place()) : 0;
  Mutation mutation{.time_ns = now, .op = op};
  if (last_name) ExpectVersionOfRemoved(inode, &mutation);
  const Ticket logged = elided != 0 ? elided
                                    : log_->Append(std::move(mutation), {inode}, {parent},
                                                   origin.place(), last_name ? inode : 0);
  const uint64_t zone = log_->last_zone();
  // Of a file that leaves no trace nobody waits for the parent's times.
  const Ticket ticket = elided != 0 ? 0 : logged;
  Began(origin, inode, ticket);
  ApplyRemove(op, now, false);
  Applied(logged);
  co_await change.Finish();
  ReclaimOrphan(inode);
  // Else each one that there ever was would count as registered.
  if (directory && parent == shm::kRootInode && gateway_->traits().zones) {
    tasks_->Spawn(TellRemoved(inode));
  }
  co_return co_await Committed(ticket, inode, zone);
}

void Tree::ApplyRemove(const UnlinkOp& op, int64_t time_ns, bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const uint32_t at = meta.FindDentry(op.parent, op.name);
  if (at != shm::kNoIndex && meta.Dentry(at).inode == op.inode) meta.RemoveDentry(at);
  AddNegative(op.parent, op.name);
  TouchDirectory(op.parent, time_ns, op.directory ? -1 : 0, again);
  LoseName(op.inode, op.directory, time_ns, again);
}

Task<Result<void>> Tree::Setattr(Origin origin, uint64_t inode, AttrChange change) {
  // What a change of owner or content does to more than itself.
  const bool resize = (change.valid & shm::kSetSize) != 0;
  const bool cuts = resize && !change.cut_by;
  const bool gives_away = (change.valid & (shm::kSetUid | shm::kSetGid)) != 0;
  const bool kills_setid = gives_away || (change.valid & shm::kKillSetId) != 0 || change.valid == 0;
  const bool kills_capabilities = gives_away || resize || change.valid == 0;
  const bool needs_xattrs = kills_capabilities || (change.valid & shm::kSetMode) != 0;
  const std::vector<uint64_t> subjects(1, inode);
  if (cuts) co_await AnnounceData(origin.mount, inode, 0, 0);
  AnnouncedChange announced(inodes_, mounts_, origin.mount, {});
  std::optional<shm::InodeRecord> before;
  for (;;) {
    AIRSTORE_TRY_CO(co_await Ensure(inode));
    before = inodes_->Get(inode);
    if (!before) co_return Error{ESTALE, "setattr"};
    if (needs_xattrs && before->xattr_count != 0 && xattrs_.Find(inode) == nullptr) {
      auto loaded = co_await LoadXattrs(inode);
      if (!loaded) co_return loaded.error();
      continue;
    }
    if (announced.Ready(subjects)) break;
    co_await announced.Announce(subjects);
  }
  const Busy busy(this, inode);
  AIRSTORE_TRY_CO(CheckSetattr(*before, &change));
  AIRSTORE_TRY_CO(log_->Admit());
  if ((change.valid & (shm::kSetAtime | shm::kSetMtime)) != 0) {
    co_await contents_->AwaitUnsealed(inode);
  }
  if (resize) {
    if (IsDirectory(before->mode)) co_return Error{EISDIR, "truncate"};
    if (!IsRegular(before->mode)) co_return Error{EINVAL, "truncate"};
    if (cuts) AIRSTORE_TRY_CO(co_await contents_->Truncate(inode, change.size));
  }
  if ((change.valid & (shm::kSetMode | shm::kSetUid | shm::kSetGid)) != 0) {
    NotifyOwner(origin.mount, inode);
  }
  const int64_t now = RealtimeNs();
  const auto record = inodes_->Get(inode);
  if (!record) co_return Error{ESTALE, "setattr"};
  SetattrOp op;
  op.inode = inode;
  uint32_t mode = record->mode;
  if (kills_setid && !IsDirectory(mode)) mode = WithoutSetId(mode, change.of_group);
  if ((change.valid & shm::kSetMode) != 0) mode = (mode & 0170000) | (change.mode & 07777);
  if (mode != record->mode || (change.valid & shm::kSetMode) != 0) op.mode = mode & 07777;
  if ((change.valid & shm::kSetUid) != 0) op.uid = change.uid;
  if ((change.valid & shm::kSetGid) != 0) op.gid = change.gid;
  if (cuts) {
    op.size = change.size;
    op.mtime_ns = now;
  }
  if ((change.valid & shm::kSetAtime) != 0) op.atime_ns = change.atime_ns;
  if ((change.valid & shm::kSetMtime) != 0) op.mtime_ns = change.mtime_ns;
  op.ctime_ns = now;
  Ticket ticket = 0;
  bool queued = false;
  if ((record->flags & shm::kOrphan) == 0) {
    // Content that is still queued goes out as it is when its turn comes, so it must come after
    // the cut, or the cut would take away what was written behind it; and after the times, which
    // a later write outdates.
    const bool behind = cuts || (change.valid & shm::kSetMtime) != 0;
    Mutation mutation{.time_ns = now, .op = op};
    if (cuts) ExpectVersion(inode, &mutation);
    queued = behind && log_->TakeContent(inode);
    ticket = log_->Append(std::move(mutation), {inode}, {}, origin.place());
  }
  if (resize) Began(origin, inode, cuts ? ticket : *change.cut_by);
  ApplySetattr(op);
  if (ticket != 0) Applied(ticket);
  if (cuts || (change.valid & (shm::kSetAtime | shm::kSetMtime)) != 0) {
    contents_->SetTimes(inode, op.atime_ns.value_or(record->atime_ns),
                        op.mtime_ns.value_or(record->mtime_ns));
  }
  if (queued) log_->AppendContent(inode);
  if (const Xattrs* known = record->xattr_count == 0 ? nullptr : xattrs_.Find(inode)) {
    if (kills_capabilities && known->contains(kCapabilities)) {
      ticket = LogXattr(origin, inode, kCapabilities, std::nullopt, std::nullopt, now);
      known = xattrs_.Find(inode);
    }
    if (op.mode && known != nullptr) {
      if (const auto found = known->find(kAccessAcl); found != known->end()) {
        if (auto acl = PosixAcl::Parse(found->second)) {
          acl->SetMode(*op.mode);
          ticket = LogXattr(origin, inode, std::string(kAccessAcl), acl->Encode(), {}, now);
        }
      }
    }
  }
  announced.End();
  const uint64_t zone = ZoneIfShared(inode);
  if (resize) co_await NotifyData(origin.mount, inode, 0, 0);
  co_return co_await Committed(ticket, inode, zone);
}

Task<void> Tree::Touch(MountPort* mount, uint64_t inode, int64_t time_ns) {
  if (IsVirtual(inode)) co_return;  // the time is the node's to tell
  const std::vector<uint64_t> subjects(1, inode);
  AnnouncedChange announced(inodes_, mounts_, mount, {});
  std::optional<shm::InodeRecord> record;
  for (;;) {
    record = inodes_->Get(inode);
    if (!record || time_ns <= record->atime_ns) co_return;
    // Its zone may be another host's by now.
    if (inodes_->IsStale(inode) && !InUse(inodes_->IndexOf(inode), inode)) co_return;
    // By our own clock: that of files goes by ticks, and a read may seem older than what it saw.
    if (!shm::AccessTimeIsDue(*record, std::max(time_ns, RealtimeNs()))) co_return;
    if (announced.Ready(subjects)) break;
    co_await announced.Announce(subjects);
  }
  if (!log_->Admit()) co_return;  // without room for it: nobody was promised anything
  SetattrOp op;
  op.inode = inode;
  op.atime_ns = time_ns;
  op.ctime_ns = record->ctime_ns;  // reading is no change
  Ticket ticket = 0;
  if ((record->flags & shm::kOrphan) == 0) {
    ticket = log_->Append(Mutation{.time_ns = RealtimeNs(), .op = op}, {inode}, {}, {});
  }
  ApplySetattr(op);
  if (ticket != 0) Applied(ticket);
  announced.End();
}

int64_t Tree::UnseenRead(const MountPort& mount, uint64_t inode) {
  contents_->Refresh(inode);
  const auto record = inodes_->Get(inode);
  if (!record || (record->flags & shm::kPassthroughOpen) == 0) return 0;
  if (!shm::AccessTimeIsDue(*record, RealtimeNs())) return 0;
  const int64_t read_ns = contents_->AccessTime(inode, mount.index());
  return read_ns > record->atime_ns ? read_ns : 0;
}

void Tree::ExpectRead(uint64_t inode) {
  const auto record = inodes_->Get(inode);
  if (record && shm::AccessTimeIsDue(*record, RealtimeNs())) {
    contents_->ShowUnread(inode, record->atime_ns);
  }
}

void Tree::ApplySetattr(const SetattrOp& op) {
  inodes_->Update(op.inode, [&](shm::InodeRecord& record) {
    if (op.mode) record.mode = (record.mode & 0170000) | *op.mode;
    record.uid = op.uid.value_or(record.uid);
    record.gid = op.gid.value_or(record.gid);
    record.atime_ns = op.atime_ns.value_or(record.atime_ns);
    record.mtime_ns = op.mtime_ns.value_or(record.mtime_ns);
    record.ctime_ns = op.ctime_ns.value_or(record.ctime_ns);
  });
}

Task<Result<void>> Tree::Fallocate(Origin origin, uint64_t inode, uint64_t offset, uint64_t length,
                                   int mode, bool done) {
  AIRSTORE_TRY_CO(co_await Ensure(inode));
  if (!done) {
    co_await AnnounceData(origin.mount, inode, offset, length);
    co_await contents_->AwaitUnsealed(inode);
    AIRSTORE_TRY_CO(contents_->Fallocate(inode, offset, length, mode, origin.place()));
  }
  Began(origin, inode, 0);
  co_await NotifyData(origin.mount, inode, offset, length);
  co_return Result<void>{};
}

Task<Result<uint64_t>> Tree::CopyRange(Origin origin, broker::CopyRange range) {
  AIRSTORE_TRY_CO(co_await Ensure(range.source));
  AIRSTORE_TRY_CO(co_await Ensure(range.target));
  co_await AnnounceData(origin.mount, range.source, range.source_offset, range.length);
  co_await AnnounceData(origin.mount, range.target, range.target_offset, range.length);
  auto copied = co_await contents_->Copy(range, origin.place());
  if (copied && *copied != 0) {
    co_await NotifyData(origin.mount, range.target, range.target_offset, *copied);
  }
  co_return copied;
}

}  // namespace airstore::broker
