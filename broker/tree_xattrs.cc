// SPDX-License-Identifier: Apache-2.0
//
// Extended attributes. All of an inode come together from the gateway and are changed here; of
// access control lists the permission bits of the mode follow.
#include <sys/stat.h>
#include <sys/xattr.h>

#include "broker/announced_change.h"
#include "broker/clock.h"
#include "broker/tree.h"
#include "shm/posix_acl.h"
#include "shm/xattr_names.h"

namespace airstore::broker {

using shm::kAccessAcl;
using shm::kDefaultAcl;
using shm::PosixAcl;

namespace {

constexpr size_t kMostUnsentValues = 64u << 20;  // bytes, which are kept in memory

std::vector<ResolveItem> OneXattrs(uint64_t inode) {
  return std::vector<ResolveItem>(1, XattrsItem{inode});
}

bool IsAcl(std::string_view name) { return name == kAccessAcl || name == kDefaultAcl; }

}  // namespace

Task<Result<Xattrs>> Tree::LoadXattrs(uint64_t inode) {
  const int64_t deadline = MonotonicNs() + patience_ns_;
  for (;;) {
    AIRSTORE_TRY_CO(co_await Ensure(inode));
    const auto record = inodes_->Get(inode);
    if (!record) co_return Error{ESTALE, "extended attributes"};
    if (record->xattr_count == 0) co_return Xattrs();
    if (const Xattrs* known = xattrs_.Find(inode)) co_return *known;
    if (const Ticket pending = log_->PendingOf(inode); pending != 0) {
      AIRSTORE_TRY_CO(co_await log_->WaitSettledBefore(deadline, pending));
      continue;
    }
    const Freshness::Question question(&inodes_->freshness());
    auto results = co_await ResolveBefore(deadline, OneXattrs(inode));
    if (!results) co_return results.error();
    ResolveResult& result = results->front();
    if (result.error == ENOENT) co_return Error{ESTALE, "extended attributes"};
    if (result.error != 0) co_return Error{result.error, "extended attributes"};
    if (!question.Holds(inode) || log_->PendingOf(inode) != 0 || inodes_->IsStale(inode)) continue;
    if (xattrs_.Find(inode) == nullptr) StoreXattrs(inode, std::move(result.xattrs));
  }
}

void Tree::StoreXattrs(uint64_t inode, Xattrs xattrs) {
  inodes_->Update(inode, [&](shm::InodeRecord& record) {
    record.xattr_count = static_cast<uint32_t>(xattrs.size());
  });
  if (xattrs.empty()) {
    xattrs_.Drop(inode);
  } else {
    xattrs_.Put(inode, std::move(xattrs));
  }
}

Task<Result<std::string>> Tree::GetXattr(uint64_t inode, std::string name) {
  if (!shm::IsKeptXattr(name)) co_return Error{EOPNOTSUPP, name};
  auto all = co_await LoadXattrs(inode);
  if (!all) co_return all.error();
  const auto found = all->find(name);
  if (found == all->end()) co_return Error{ENODATA, name};
  co_return std::move(found->second);
}

Task<Result<Xattrs>> Tree::ListXattrs(uint64_t inode) { co_return co_await LoadXattrs(inode); }

// REQUIRES: all attributes of the inode are here.
Ticket Tree::LogXattr(Origin origin, uint64_t inode, const std::string& name,
                      std::optional<std::string> value, std::optional<uint32_t> mode,
                      int64_t now_ns) {
  const Xattrs* known = xattrs_.Find(inode);
  Xattrs all = known == nullptr ? Xattrs() : *known;
  const bool was_there = all.erase(name) != 0;
  if (value) all[name] = *value;
  Ticket ticket = 0;
  if ((inodes_->Get(inode)->flags & shm::kOrphan) != 0) {
    log_->NoteXattrs({inode, all});  // nobody else will see it, unless it gets a name
  } else if (value) {
    ticket = log_->Append(
        Mutation{.time_ns = now_ns,
                 .op = SetXattrOp{.inode = inode, .name = name, .value = *value, .mode = mode}},
        {inode}, {}, origin.place());
  } else {
    if (mode) {
      SetattrOp op;
      op.inode = inode;
      op.mode = mode;
      op.ctime_ns = now_ns;
      ticket = log_->Append(Mutation{.time_ns = now_ns, .op = op}, {inode}, {}, origin.place());
    }
    if (was_there) {
      ticket = log_->Append(
          Mutation{.time_ns = now_ns, .op = RemoveXattrOp{.inode = inode, .name = name}}, {inode},
          {}, origin.place());
    }
  }
  if (ticket != 0) Began(origin, inode, ticket);
  inodes_->Update(inode, [&](shm::InodeRecord& record) {
    record.ctime_ns = now_ns;
    if (mode) record.mode = (record.mode & 0170000) | *mode;
  });
  StoreXattrs(inode, std::move(all));
  if (ticket != 0) Applied(ticket);
  return ticket;
}

// What is open keeps its attributes, and the gateway is about to forget them.
bool Tree::WantsXattrs(uint64_t inode, const shm::InodeRecord& record) {
  return record.nlink <= 1 && record.xattr_count != 0 && xattrs_.Find(inode) == nullptr &&
         (contents_->HasOpens(inode) || mounts_->AnyLocalOpens(inodes_->IndexOf(inode)));
}

void Tree::KeepXattrs(uint64_t inode) {
  const Xattrs* known = xattrs_.Peek(inode);
  if (known != nullptr && !known->empty()) log_->NoteXattrs({inode, *known});
}

Task<Result<void>> Tree::SetXattr(Origin origin, uint64_t inode, std::string name,
                                  std::string value, uint32_t flags, bool kill_sgid) {
  if (!shm::IsKeptXattr(name) || !gateway_->traits().xattrs) co_return Error{EOPNOTSUPP, name};
  if ((flags & ~uint32_t{XATTR_CREATE | XATTR_REPLACE}) != 0) co_return Error{EINVAL, name};
  AIRSTORE_TRY_CO(co_await log_->AdmitValue(value.size(), kMostUnsentValues, patience_ns_));
  AnnouncedChange announced(inodes_, mounts_, origin.mount, {});
  auto loaded = co_await LoadAndAnnounce(inode, &announced);
  if (!loaded) co_return loaded.error();
  const Xattrs& all = *loaded;
  const bool exists = all.contains(name);
  if ((flags & XATTR_CREATE) != 0 && exists) co_return Error{EEXIST, name};
  if ((flags & XATTR_REPLACE) != 0 && !exists) co_return Error{ENODATA, name};
  const auto record = inodes_->Get(inode);
  std::optional<std::string> kept = std::move(value);
  std::optional<uint32_t> mode;
  if (IsAcl(name)) {
    if (IsSymlink(record->mode)) co_return Error{EOPNOTSUPP, name};
    auto acl = PosixAcl::Parse(*kept);
    if (!acl) co_return acl.error();
    if (name == kDefaultAcl) {
      if (!IsDirectory(record->mode)) co_return Error{EACCES, name};
      if (acl->empty()) kept.reset();
    } else {
      uint32_t changed = record->mode & 07777;
      if (acl->empty() || acl->ToMode(&changed)) kept.reset();
      if (kill_sgid) changed &= ~uint32_t{S_ISGID};
      mode = changed;
    }
  }
  if (kept) {
    if (!exists && all.size() >= kMaxXattrs) co_return Error{ENOSPC, name};
    const size_t others = BytesOf(all) - (exists ? name.size() + all.find(name)->second.size() : 0);
    if (others + name.size() + kept->size() > kMaxXattrBytes) co_return Error{ENOSPC, name};
  }
  AIRSTORE_TRY_CO(log_->Admit());
  const Ticket ticket = LogXattr(origin, inode, name, std::move(kept), mode, RealtimeNs());
  announced.End();
  NotifyAttr(origin.mount, inode);
  co_return co_await Committed(ticket, inode, ZoneIfShared(inode));
}

Task<Result<void>> Tree::RemoveXattr(Origin origin, uint64_t inode, std::string name) {
  if (!shm::IsKeptXattr(name)) co_return Error{EOPNOTSUPP, name};
  AnnouncedChange announced(inodes_, mounts_, origin.mount, {});
  auto all = co_await LoadAndAnnounce(inode, &announced);
  if (!all) co_return all.error();
  // Taking away a list that is not there is no error, as with other file systems.
  if (!all->contains(name)) {
    if (IsAcl(name)) co_return Result<void>{};
    co_return Error{ENODATA, name};
  }
  AIRSTORE_TRY_CO(log_->Admit());
  const Ticket ticket = LogXattr(origin, inode, name, std::nullopt, std::nullopt, RealtimeNs());
  announced.End();
  NotifyAttr(origin.mount, inode);
  co_return co_await Committed(ticket, inode, ZoneIfShared(inode));
}

// Nobody asks what they are, so a write does not wait for a gateway that would have to tell.
Task<Result<void>> Tree::KillCapabilities(Origin origin, uint64_t inode) {
  const auto record = inodes_->Get(inode);
  const bool known = !record || record->xattr_count == 0 || xattrs_.Find(inode) != nullptr;
  if (known || !lease_ || inodes_->IsStale(inode) || (record->flags & shm::kOrphan) != 0) {
    co_return co_await RemoveXattr(origin, inode, std::string(shm::kCapabilities));
  }
  if (learning_xattrs_.contains(inode)) co_return Result<void>{};  // it is queued
  AIRSTORE_TRY_CO(log_->Admit());
  learning_xattrs_.insert(inode);
  const int64_t now_ns = RealtimeNs();
  const Ticket ticket = log_->Append(
      Mutation{.time_ns = now_ns,
               .op = RemoveXattrOp{.inode = inode, .name = std::string(shm::kCapabilities)}},
      {inode}, {}, origin.place());
  Began(origin, inode, ticket);
  inodes_->Update(inode, [&](shm::InodeRecord& changed) { changed.ctime_ns = now_ns; });
  Applied(ticket);
  tasks_->Spawn(LearnXattrs(inode));
  co_return Result<void>{};
}

// So that the next write finds them here.
Task<void> Tree::LearnXattrs(uint64_t inode) {
  (void)co_await LoadXattrs(inode);
  learning_xattrs_.erase(inode);
}

Task<Result<Xattrs>> Tree::LoadAndAnnounce(uint64_t inode, AnnouncedChange* change) {
  const std::vector<uint64_t> subjects(1, inode);
  for (;;) {
    auto loaded = co_await LoadXattrs(inode);
    if (!loaded || change->Ready(subjects)) co_return loaded;
    co_await change->Announce(subjects);
  }
}

}  // namespace airstore::broker
