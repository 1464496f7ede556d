// SPDX-License-Identifier: Apache-2.0
//
// Renaming: replacing, exchanging two names, leaving a whiteout.
#include <linux/fs.h>
#include <sys/stat.h>

#include <list>
#include <set>

#include "broker/announced_change.h"
#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/names.h"
#include "broker/tree.h"

namespace airstore::broker {

// What the names are at the moment of the change.
struct Tree::RenamePlan {
  uint64_t inode = 0;
  uint64_t target = 0;  // what has the new name; 0: nothing
  shm::InodeRecord moved = {};
  shm::InodeRecord old = {};  // of the target
  bool is_directory() const { return IsDirectory(moved.mode); }
};

bool Tree::IsBelow(uint64_t directory, uint64_t ancestor) const {
  uint64_t at = directory;
  // Where a directory hangs is what was last seen here. Other hosts move them, so that it may even
  // go round in a circle; then the gateway decides.
  for (size_t depth = 0; at != shm::kRootInode && depth < kDeepest; ++depth) {
    if (at == ancestor) return true;
    at = inodes_->directories().ParentOf(at);
    if (at == 0) return false;
  }
  return at == shm::kRootInode && ancestor == shm::kRootInode;
}

Task<Result<Tree::RenamePlan>> Tree::PlanRename(uint64_t parent, std::string name,
                                                uint64_t new_parent, std::string new_name,
                                                uint32_t flags) {
  RenamePlan plan;
  for (;;) {
    auto target = co_await Lookup(new_parent, new_name);
    if (!target && target.error().code != ENOENT) co_return target.error();
    if (target && (flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)) == 0) {
      const auto record = inodes_->Get(*target);
      if (record && IsDirectory(record->mode)) {
        auto empty = co_await RequireEmpty(*target);
        if (!empty && empty.error().code != ENOTEMPTY) co_return empty.error();
      }
    }
    auto source = co_await Lookup(parent, name);
    if (!source) co_return source.error();
    const uint32_t index = inodes_->meta().FindDentry(new_parent, new_name);
    plan.target = index == shm::kNoIndex ? 0 : inodes_->meta().Dentry(index).inode;
    plan.inode = *source;
    if (plan.target != (target ? *target : 0)) continue;
    if (target && (flags & RENAME_NOREPLACE) != 0) co_return Error{EEXIST, new_name};
    // For the new name, and for what is left at the old one.
    if (evictor_->HasRoom(2)) break;
    if (!co_await evictor_->MakeRoom(2)) co_return Error{ENOSPC, "all known files are in use"};
  }
  if ((flags & RENAME_EXCHANGE) != 0 && plan.target == 0) co_return Error{ENOENT, new_name};
  const auto moved = inodes_->Get(plan.inode);
  if (!moved) co_return Error{ENOENT, name};
  plan.moved = *moved;
  if (plan.target != 0) {
    const auto old = inodes_->Get(plan.target);
    if (!old) co_return Error{ESTALE, new_name};
    plan.old = *old;
  }
  co_return plan;
}

Result<void> Tree::CheckRename(const RenamePlan& plan, uint64_t parent, uint64_t new_parent,
                               const std::string& new_name, uint32_t flags) const {
  const auto directory = inodes_->Get(new_parent);
  if (!directory || (directory->flags & shm::kOrphan) != 0) return Error{ENOENT, new_name};
  if (plan.is_directory() && IsBelow(new_parent, plan.inode)) return Error{EINVAL, new_name};
  const bool target_is_directory = plan.target != 0 && IsDirectory(plan.old.mode);
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  if (target_is_directory && IsBelow(parent, plan.target)) {
    return Error{exchange ? EINVAL : ENOTEMPTY, new_name};
  }
  if (exchange) return {};
  if (plan.target != 0) {
    if (plan.is_directory() && !target_is_directory) return Error{ENOTDIR, new_name};
    if (!plan.is_directory() && target_is_directory) return Error{EISDIR, new_name};
    if (target_is_directory && plan.old.dir_entries != 0) return Error{ENOTEMPTY, new_name};
  } else if (plan.is_directory() && parent != new_parent && directory->nlink >= kLinkMax) {
    return Error{EMLINK, new_name};
  }
  return {};
}

// As the gateway does: what has names in several directories is in no zone.
void Tree::MoveParent(uint64_t inode, const shm::InodeRecord& record, uint64_t from, uint64_t to) {
  if (IsDirectory(record.mode)) {
    inodes_->directories().Set(inode, to);
  } else if (from != to) {
    inodes_->SetParent(inode, record.nlink == 1 ? to : shm::kRootInode);
  }
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
  MoveParent(inode, *moved, op.old_parent, op.new_parent);
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

void Tree::ApplyExchange(const RenameOp& op, uint64_t inode, uint64_t target, int64_t time_ns,
                         bool again) {
  shm::MetaWriter& meta = inodes_->meta();
  const auto first = inodes_->Get(inode);
  const auto second = inodes_->Get(target);
  if (!first || !second) return;
  const auto point = [&](uint64_t parent, const std::string& name, const shm::InodeRecord& at) {
    const uint32_t entry = meta.FindDentry(parent, name);
    if (entry == shm::kNoIndex || meta.Dentry(entry).inode == at.inode) return;
    meta.ReplaceDentry(entry, at.inode, (at.mode & 0170000) >> 12);
  };
  point(op.new_parent, op.new_name, *first);
  point(op.old_parent, op.old_name, *second);
  MoveParent(inode, *first, op.old_parent, op.new_parent);
  MoveParent(target, *second, op.new_parent, op.old_parent);
  const int to_old = (IsDirectory(second->mode) ? 1 : 0) - (IsDirectory(first->mode) ? 1 : 0);
  const bool same = op.old_parent == op.new_parent;
  TouchDirectory(op.old_parent, time_ns, same ? 0 : to_old, again);
  TouchDirectory(op.new_parent, time_ns, same ? 0 : -to_old, again);
  for (const uint64_t changed : {inode, target}) {
    inodes_->Update(changed, [&](shm::InodeRecord& record) { record.ctime_ns = time_ns; });
  }
}

// The old name is a negative entry by now, and the parent has its new times.
Result<void> Tree::AddWhiteout(uint64_t inode, const NewNode& node, uint64_t parent,
                               const std::string& name, int64_t now_ns) {
  auto inserted = inodes_->InsertNew(ToRecord(Attr{.inode = inode,
                                                   .generation = 1,
                                                   .mode = S_IFCHR,
                                                   .uid = node.uid,
                                                   .gid = node.gid,
                                                   .nlink = 1,
                                                   .atime_ns = now_ns,
                                                   .mtime_ns = now_ns,
                                                   .ctime_ns = now_ns,
                                                   .btime_ns = now_ns,
                                                   .parent = parent,
                                                   .symlink_target = {}}));
  if (!inserted) return inserted.error();
  inodes_->SetParent(inode, parent);
  auto added = inodes_->meta().AddDentry(parent, name, inode, S_IFCHR >> 12);
  if (added) return {};
  inodes_->Remove(inode);
  return added.error();
}

// A directory that is a zone, or is moved from one to another: leases are not what they were then,
// and what was acknowledged under them comes first. What is in it need not have been looked at, but
// must be registered before the change is in the log (tree_zones.cc). False: nothing is to be done.
Task<Result<bool>> Tree::SettleZones(const RenamePlan& plan, uint64_t parent, uint64_t new_parent,
                                     std::vector<uint64_t>* moving) {
  if (!gateway_->traits().zones) co_return false;
  std::vector<uint64_t> directories;
  if (plan.is_directory()) directories.push_back(plan.inode);
  if (plan.target != 0 && IsDirectory(plan.old.mode)) directories.push_back(plan.target);
  std::set<uint64_t> zones;
  for (const uint64_t directory : directories) {
    for (const uint64_t above : {parent, new_parent}) {
      zones.insert(above == shm::kRootInode ? directory : ZoneOfNames(above));
    }
  }
  const bool within_one = parent != shm::kRootInode && new_parent != shm::kRootInode &&
                          zones.size() == 1 && *zones.begin() != 0;
  if (directories.empty() || within_one) co_return false;
  const int64_t deadline = MonotonicNs() + patience_ns_;
  for (const uint64_t zone : zones) {
    if (zone == 0 || !begin_move_of_zone_) continue;
    moving->push_back(zone);
    auto begin = [](Tree* self, uint64_t of) -> Task<Result<void>> {
      co_await self->begin_move_of_zone_(of);
      co_return Result<void>{};
    };
    AIRSTORE_TRY_CO(co_await Before(deadline, tasks_, executor_, begin(this, zone)));
  }
  std::vector<ResolveItem> items;
  for (const uint64_t directory : directories) items.push_back(ListItem{directory, "", 0, 0});
  auto registered = co_await ResolveBefore(deadline, std::move(items));
  if (!registered) co_return registered.error();
  co_return true;
}

Task<void> Tree::AskAgainWhenMoved(uint64_t inode) {
  co_await log_->WaitIdle(inode);
  if (inodes_->IsStale(inode)) (void)co_await Ensure(inode);
}

Task<Result<void>> Tree::Rename(Origin origin, uint64_t parent, std::string name,
                                uint64_t new_parent, std::string new_name, uint32_t flags,
                                NewNode whiteout) {
  AIRSTORE_TRY_CO(CheckNewName(new_name));
  constexpr uint32_t kKnown = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  const bool leaves_whiteout = (flags & RENAME_WHITEOUT) != 0;
  if ((flags & ~kKnown) != 0 || (exchange && flags != RENAME_EXCHANGE)) {
    co_return Error{EINVAL, "rename"};
  }
  if ((exchange || leaves_whiteout) && !gateway_->traits().exchange) {
    co_return Error{EINVAL, "rename"};
  }
  uint64_t whiteout_inode = 0;
  if (leaves_whiteout) {
    auto number = co_await NextInode();
    if (!number) co_return number.error();
    whiteout_inode = *number;
  }
  AnnouncedChange change(inodes_, mounts_, origin.mount, {{parent, name}, {new_parent, new_name}});
  RenamePlan plan;
  const Busy busy_here(this, parent), busy_there(this, new_parent);
  std::list<Busy> busy_inodes;
  struct Moving {
    Tree* tree;
    std::vector<uint64_t> zones = {};
    ~Moving() {
      for (const uint64_t zone : zones) tree->end_move_of_zone_(zone);
    }
  };
  Moving moving{this};
  std::pair<uint64_t, uint64_t> settled_for{0, 0};
  for (bool asked = false, fetched = false;;) {
    auto planned = co_await PlanRename(parent, name, new_parent, new_name, flags);
    if (!planned) co_return planned.error();
    plan = *planned;
    if (plan.target == plan.inode) co_return Result<void>{};
    AIRSTORE_TRY_CO(CheckRename(plan, parent, new_parent, new_name, flags));
    if (!asked && !exchange && plan.target != 0 && !IsDirectory(plan.old.mode) &&
        WantsXattrs(plan.target, plan.old)) {
      asked = true;
      (void)co_await LoadXattrs(plan.target);
      continue;
    }
    if (!fetched && !exchange && plan.target != 0 && NeedsContent(plan.target)) {
      fetched = true;
      (void)co_await contents_->EnsureRange(plan.target, 0, plan.old.size);
      continue;
    }
    std::vector<uint64_t> changed(1, plan.inode);
    if (plan.target != 0) changed.push_back(plan.target);
    if (!lease_ && settled_for != std::pair(plan.inode, plan.target)) {
      settled_for = {plan.inode, plan.target};
      busy_inodes.emplace_back(this, plan.inode);
      if (plan.target != 0) busy_inodes.emplace_back(this, plan.target);
      auto settled = co_await SettleZones(plan, parent, new_parent, &moving.zones);
      if (!settled) co_return settled.error();
      if (*settled) continue;
    }
    if (change.Ready(changed)) break;
    co_await change.Announce(std::move(changed));
  }
  AIRSTORE_TRY_CO(log_->Admit());
  // A replace that arrives before its content would show an empty file elsewhere.
  contents_->Flush(plan.inode);
  if (exchange) contents_->Flush(plan.target);

  if (!exchange) AIRSTORE_TRY_CO(MakeRoom(new_parent, new_name));

  const int64_t now = RealtimeNs();
  std::vector<uint64_t> subjects{plan.inode};
  if (plan.target != 0) subjects.push_back(plan.target);
  if (leaves_whiteout) subjects.push_back(whiteout_inode);
  const bool loses_last =
      plan.target != 0 && !exchange && (IsDirectory(plan.old.mode) || plan.old.nlink <= 1);
  const uint64_t orphan = loses_last ? plan.target : 0;
  const RenameOp op{.old_parent = parent,
                    .old_name = name,
                    .new_parent = new_parent,
                    .new_name = new_name,
                    .flags = flags & ~uint32_t{RENAME_WHITEOUT},
                    .whiteout = whiteout_inode,
                    .whiteout_uid = whiteout.uid,
                    .whiteout_gid = whiteout.gid,
                    .inode = plan.inode,
                    .exchanged = exchange ? plan.target : 0};
  if (loses_last) KeepXattrs(plan.target);
  Mutation mutation{.time_ns = now, .op = op};
  if (loses_last) ExpectVersionOfRemoved(plan.target, &mutation);
  // Nor is it to take a name that another host has given meanwhile.
  const uint64_t zone = lease_ ? 0 : ZoneOf(mutation);
  if ((log_->under_lease() || log_->HoldsZone(zone)) && plan.target == 0) {
    std::get<RenameOp>(mutation.op).flags |= RENAME_NOREPLACE;
  }
  const Ticket ticket =
      log_->Append(std::move(mutation), subjects, {parent, new_parent}, origin.place(), orphan);
  Began(origin, plan.inode, ticket);
  if (exchange) {
    ApplyExchange(op, plan.inode, plan.target, now, false);
  } else {
    ApplyRename(op, plan.inode, plan.target, now, false);
  }
  // Without room for it here the gateway has it all the same, and the name is asked for again.
  if (leaves_whiteout) (void)AddWhiteout(whiteout_inode, whiteout, parent, name, now);
  Applied(ticket);
  if (!lease_ && zone == 0 && gateway_->traits().zones) {
    // Who has changed it where it was may have done so before this, and not have been heard yet.
    // Until then no lease of where it is now is of use: what is stale is in a zone not known.
    inodes_->MarkStale(plan.inode);
    tasks_->Spawn(AskAgainWhenMoved(plan.inode));
    if (exchange) {
      inodes_->MarkStale(plan.target);
      tasks_->Spawn(AskAgainWhenMoved(plan.target));
    }
  }
  evictor_->Watch();
  co_await change.Finish();
  if (plan.is_directory()) co_await ShowMoved(origin.mount, plan.inode);
  if (exchange && IsDirectory(plan.old.mode)) co_await ShowMoved(origin.mount, plan.target);
  if (orphan != 0) ReclaimOrphan(orphan);
  co_return co_await Committed(ticket, plan.inode, zone);
}

}  // namespace airstore::broker
