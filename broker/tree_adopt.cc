// SPDX-License-Identifier: Apache-2.0
//
// The namespace of a dead broker. Each change was on record before the tables were changed, and
// nothing else ran in between: so the last one may be in the tables in part, and no other.
#include <linux/fs.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "broker/tree.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kDirectoryType = 4;  // DT_DIR

// Of changes that cannot be made twice; nothing for the others.
std::optional<uint64_t> ExecutedInode(const MutationRecord& record) {
  const auto& op = record.mutation.op;
  if (const auto* create = std::get_if<CreateOp>(&op)) return create->inode;
  if (const auto* link = std::get_if<LinkOp>(&op)) return link->inode;
  if (const auto* unlink = std::get_if<UnlinkOp>(&op)) return unlink->inode;
  if (std::holds_alternative<RenameOp>(op) && !record.subjects.empty()) return record.subjects[0];
  if (std::holds_alternative<TouchOp>(op) && record.orphan != 0) return record.orphan;
  const auto* setattr = std::get_if<SetattrOp>(&op);
  if (setattr != nullptr && setattr->size) return setattr->inode;
  if (const auto* xattr = std::get_if<SetXattrOp>(&op)) return xattr->inode;
  if (const auto* xattr = std::get_if<RemoveXattrOp>(&op)) return xattr->inode;
  return std::nullopt;
}

}  // namespace

void Tree::Adopt(const JournalState& state) {
  shm::MetaWriter& meta = inodes_->meta();
  const uint32_t capacity = meta.reader().view().geometry().dentry_capacity;
  for (uint32_t i = 1, left = meta.dentry_count(); i < capacity && left != 0; ++i) {
    const shm::DentryRecord entry = meta.Dentry(i);
    if (entry.parent == 0) continue;
    --left;
    if (entry.inode == 0) {
      NoteNegative(i, entry.parent, entry.name_bytes);
    } else if (entry.type == kDirectoryType) {
      inodes_->directories().Set(entry.inode, entry.parent);
    }
  }
  adopted_until_ = state.next_ticket;
  for (const auto& [sequence, entry] : state.numbered) adopted_unsettled_.insert(entry.ticket);
  for (const auto& [ticket, record] : state.pending) {
    adopted_unsettled_.insert(ticket);
    const auto inode = ExecutedInode(record);
    if (!inode || record.call.mount == CallPlace::kNoMount) continue;
    const bool elided = std::holds_alternative<TouchOp>(record.mutation.op);
    executed_before_[{record.call.mount, record.call.position}] = {*inode, elided ? 0 : ticket};
  }
  const Ticket applied = meta.applied_lsn();
  for (auto at = state.pending.upper_bound(applied); at != state.pending.end(); ++at) {
    spdlog::info("finishing the change in which the broker died");
    ApplyAgain(at->second);
    Applied(at->first);
  }
  for (const auto& [ticket, record] : state.pending) {
    if (const auto* create = std::get_if<CreateOp>(&record.mutation.op)) RestoreTarget(*create);
  }
  AdoptXattrs(state);
  next_inode_ = noted_inode_ = state.inodes.first;
  end_inode_ = state.inodes.first + state.inodes.count;
}

// Tables of another ABI come without slabs, and the gateway does not know of the link yet.
void Tree::RestoreTarget(const CreateOp& op) {
  const auto record = inodes_->Get(op.inode);
  if (!record || !IsSymlink(record->mode) ||
      record->content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab)) {
    return;
  }
  const auto* target = reinterpret_cast<const uint8_t*>(op.symlink_target.data());
  // Without room for it, the gateway is asked once it has heard of the link.
  (void)inodes_->StoreSmall(op.inode, {target, op.symlink_target.size()});
}

void Tree::ApplyAgain(const MutationRecord& record) {
  const int64_t time_ns = record.mutation.time_ns;
  const auto& op = record.mutation.op;
  if (const auto* create = std::get_if<CreateOp>(&op)) {
    const auto made = inodes_->Get(create->inode);
    if (made && (made->flags & shm::kNameless) != 0) {
      FinishNaming(*create, *made);
    } else {
      ApplyCreate(*create, time_ns, true);
    }
  } else if (const auto* link = std::get_if<LinkOp>(&op)) {
    ApplyLink(*link, time_ns, true);
  } else if (const auto* unlink = std::get_if<UnlinkOp>(&op)) {
    ApplyRemove(*unlink, time_ns, true);
  } else if (const auto* rename = std::get_if<RenameOp>(&op)) {
    if (record.subjects.empty()) return;
    const uint64_t second = record.subjects.size() > 1 ? record.subjects[1] : 0;
    const uint64_t target = second == rename->whiteout ? 0 : second;
    if ((rename->flags & RENAME_EXCHANGE) != 0) {
      ApplyExchange(*rename, record.subjects[0], target, time_ns, true);
    } else {
      ApplyRename(*rename, record.subjects[0], target, time_ns, true);
    }
    // A whiteout that is missing here is asked for: its name must not be known not to exist.
    const uint32_t at = inodes_->meta().FindDentry(rename->old_parent, rename->old_name);
    if (rename->whiteout != 0 && at != shm::kNoIndex && inodes_->meta().Dentry(at).inode == 0) {
      inodes_->meta().RemoveDentry(at);
    }
  } else if (std::holds_alternative<TouchOp>(op) && record.orphan != 0) {
    FinishElision(record);
  } else if (const auto* change = std::get_if<SetattrOp>(&op)) {
    ApplySetattr(*change);
  } else if (const auto* set = std::get_if<SetXattrOp>(&op)) {
    inodes_->Update(set->inode, [&](shm::InodeRecord& changed) {
      changed.ctime_ns = time_ns;
      if (set->mode) changed.mode = (changed.mode & 0170000) | *set->mode;
      changed.xattr_count = std::max(changed.xattr_count, 1u);  // so that frontends ask
    });
  } else if (const auto* removed = std::get_if<RemoveXattrOp>(&op)) {
    inodes_->Update(removed->inode, [&](shm::InodeRecord& changed) { changed.ctime_ns = time_ns; });
  }
}

// The cache of attributes was the dead broker's. What the gateway does not have is made anew.
void Tree::AdoptXattrs(const JournalState& state) {
  std::unordered_map<uint64_t, Xattrs> known;
  for (const auto& [ticket, record] : state.pending) {
    const auto& op = record.mutation.op;
    if (const auto* create = std::get_if<CreateOp>(&op)) {
      known[create->inode] = create->xattrs;
    } else if (const auto* set = std::get_if<SetXattrOp>(&op)) {
      if (const auto found = known.find(set->inode); found != known.end()) {
        found->second[set->name] = set->value;
      }
    } else if (const auto* removed = std::get_if<RemoveXattrOp>(&op)) {
      if (const auto found = known.find(removed->inode); found != known.end()) {
        found->second.erase(removed->name);
      }
    }
  }
  for (auto& [inode, xattrs] : known) {
    const auto record = inodes_->Get(inode);
    if (record && (record->flags & shm::kOrphan) == 0 &&
        (!xattrs.empty() || record->xattr_count != 0)) {
      StoreXattrs(inode, std::move(xattrs));
    }
  }
  for (const auto& [inode, xattrs] : state.xattrs) {
    const auto record = inodes_->Get(inode);
    if (record && (record->flags & shm::kOrphan) != 0) {
      StoreXattrs(inode, xattrs);
    } else {
      log_->NoteXattrs({inode, {}});
    }
  }
}

// The name of the file that was to leave no trace is only in the tables.
void Tree::FinishElision(const MutationRecord& record) {
  const uint64_t parent = std::get<TouchOp>(record.mutation.op).inode;
  const int64_t time_ns = record.mutation.time_ns;
  shm::MetaWriter& meta = inodes_->meta();
  const auto directory = inodes_->Get(parent);
  std::string name;
  for (uint32_t at = directory ? directory->dir_first : shm::kNoIndex; at != shm::kNoIndex;) {
    const shm::DentryRecord entry = meta.Dentry(at);
    if (entry.inode == record.orphan) name = meta.DentryName(at);
    at = entry.dir_next;
  }
  // Else the creation is not on record any more.
  (void)log_->Elide(record.orphan, parent, time_ns);
  if (!name.empty()) {
    ApplyRemove(
        UnlinkOp{.parent = parent, .name = name, .directory = false, .inode = record.orphan},
        time_ns, true);
  } else {
    LoseName(record.orphan, false, time_ns, true);
  }
}

std::optional<shm::Executed> Tree::ExecutedBefore(const CallPlace& place) const {
  const auto found = executed_before_.find({place.mount, place.position});
  if (found == executed_before_.end()) return std::nullopt;
  return found->second;
}

void Tree::ReclaimOrphans() {
  std::vector<uint64_t> orphans;
  inodes_->EachInode([&](uint32_t, const shm::InodeRecord& record) {
    if ((record.flags & shm::kOrphan) != 0) orphans.push_back(record.inode);
  });
  for (const uint64_t inode : orphans) ReclaimOrphan(inode);
}

bool Tree::AnsweredBefore(const shm::Executed& executed) const {
  return !lease_ && executed.ticket != 0 && executed.ticket < adopted_until_ &&
         !adopted_unsettled_.contains(executed.ticket);
}

// What the gateway answered is not on record: it may have been a refusal that nobody heard of.
Task<Result<void>> Tree::AskWhatCameOf(uint64_t inode, std::vector<WatchEvent::Name> takes,
                                       std::vector<WatchEvent::Name> gives) {
  std::vector<WatchEvent::Name> names = takes;
  names.insert(names.end(), gives.begin(), gives.end());
  co_await ApplyRemote(std::vector<uint64_t>(1, inode), std::move(names));
  for (const WatchEvent::Name& entry : takes) {
    auto found = co_await Lookup(entry.parent, entry.name);
    if (!found && found.error().code != ENOENT) co_return found.error();
    if (!found || *found != inode) continue;
    NotGone(inode);
    co_return Error{ESTALE, "a change that was refused"};
  }
  for (const WatchEvent::Name& entry : gives) {
    auto found = co_await Lookup(entry.parent, entry.name);
    if (!found && found.error().code != ENOENT) co_return found.error();
    // What was moved away from where it was may have been moved on.
    if (!found && !takes.empty()) continue;
    if (!found || *found != inode) co_return Error{ESTALE, "a change that was refused"};
  }
  co_return Result<void>{};
}

Task<Result<void>> Tree::FinishChange(Origin origin, shm::Executed executed,
                                      std::vector<WatchEvent::Name> takes,
                                      std::vector<WatchEvent::Name> gives) {
  co_await NotifyData(origin.mount, executed.inode, 0, 0);
  for (const WatchEvent::Name& entry : takes) {
    co_await NotifyName(origin.mount, entry.parent, entry.name);
  }
  for (const WatchEvent::Name& entry : gives) {
    co_await NotifyName(origin.mount, entry.parent, entry.name);
  }
  if (AnsweredBefore(executed)) {
    AIRSTORE_TRY_CO(co_await AskWhatCameOf(executed.inode, std::move(takes), std::move(gives)));
  }
  ReclaimOrphan(executed.inode);
  co_return co_await Committed(executed.ticket, executed.inode, 0);
}

}  // namespace airstore::broker
