// SPDX-License-Identifier: Apache-2.0
//
// What other hosts change. An event says which inodes and names are no longer what they were: names
// leave the table, inodes become stale and are asked for again at their next use. What is pending
// here stays: lookups wait for it and then ask the gateway, which knows how both turned out.
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/tree.h"

namespace airstore::broker {
namespace {

constexpr size_t kInodesAtOnce = 512;
constexpr uint32_t kEntriesAtOnce = 512;  // then others get their turn

std::vector<ResolveItem> Getattrs(const std::vector<uint64_t>& inodes) {
  std::vector<ResolveItem> items;
  items.reserve(inodes.size());
  for (const uint64_t inode : inodes) items.push_back(GetattrItem{inode, kSmallFile});
  return items;
}

// The mount's kernel may hold it.
bool Holds(const InodeCache& inodes, const MountPort& mount, uint64_t inode) {
  if ((inodes.KnownBy(inode) >> mount.index() & 1) == 0) return false;
  return inode == shm::kRootInode || mount.Lookups(inodes.IndexOf(inode)) != 0;
}

Task<std::vector<uint64_t>> HeldBy(boost::asio::any_io_executor executor, const InodeCache* inodes,
                                   const MountSet* mounts, uint32_t mount_index,
                                   const std::vector<uint64_t>* of) {
  std::vector<uint64_t> held;
  for (size_t i = 0; i < of->size(); ++i) {
    if (i % kEntriesAtOnce == kEntriesAtOnce - 1) {
      co_await boost::asio::post(executor, boost::asio::use_awaitable);
    }
    const MountPort* mount = mounts->Find(mount_index);
    if (mount == nullptr) break;
    if (Holds(*inodes, *mount, (*of)[i])) held.push_back((*of)[i]);
  }
  co_return held;
}

// While the store of blocks is away, questions about attributes are answered at once.
class ContentTries {
 public:
  explicit ContentTries(int64_t patience_ns) : patience_ns_(patience_ns) {}
  void Done() { since_ns_ = 0; }
  void Failed() {
    if (since_ns_ == 0) since_ns_ = MonotonicNs();
    ++failed_;
  }
  bool over() const { return since_ns_ != 0 && MonotonicNs() - since_ns_ > patience_ns_; }
  // The first time it has mostly changed once more.
  Task<void> Wait(boost::asio::any_io_executor executor) {
    if (failed_ <= 1) co_return;
    failed_ = 1;
    co_await backoff_.Wait(executor);
  }

 private:
  const int64_t patience_ns_;
  int64_t since_ns_ = 0;
  int failed_ = 0;
  Backoff backoff_;
};

}  // namespace

void Tree::SetLease(bool held) {
  lease_ = held;
  for (MountPort* mount : mounts_->all()) mount->SetSynchronous(!held);
}

Task<Result<void>> Tree::Refresh(std::vector<uint64_t> inodes, OfOne failure) {
  Freshness::Question question(&inodes_->freshness());
  Result<void> first_failure;
  const auto failed = [&first_failure, failure](Error error) {
    if (first_failure && failure == OfOne::kFails) first_failure = std::move(error);
  };
  ContentTries tries(patience_ns_);
  while (!inodes.empty()) {
    question.AskAgain();
    const size_t count = std::min(inodes.size(), kInodesAtOnce);
    const std::vector<uint64_t> asked(inodes.end() - static_cast<ptrdiff_t>(count), inodes.end());
    auto results = co_await ResolveBefore(MonotonicNs() + patience_ns_, Getattrs(asked));
    if (!results) co_return results.error();
    std::vector<uint64_t> again;
    for (size_t i = 0; i < asked.size(); ++i) {
      const uint64_t inode = asked[i];
      ResolveResult& result = (*results)[i];
      if (result.error == ENOENT) {
        MarkGone(inode);
        continue;
      }
      if (result.error != 0) {
        failed(Error{result.error, "attributes"});
        continue;
      }
      if (inodes_->IndexOf(inode) != shm::kNoIndex && !inodes_->IsStale(inode)) continue;
      // Changed here meanwhile: whoever needs it waits for that first.
      if (log_->PendingOf(inode) != 0 || contents_->IsDirty(inode)) continue;
      const bool holds = question.Holds(inode);
      if (holds) {
        auto taken = co_await TakeFresh(result);
        if (taken) {
          tries.Done();
          if (question.Holds(inode)) continue;
          inodes_->MarkStale(inode);
        } else if (taken.error().code != EAGAIN) {
          failed(taken.error());
          continue;
        } else if (tries.Failed(); tries.over()) {
          failed(Error{ETIMEDOUT, "the content cannot be had: " + taken.error().message});
          continue;
        }
      }
      again.push_back(inode);
    }
    inodes.resize(inodes.size() - count);
    inodes.insert(inodes.end(), again.begin(), again.end());
    if (stopping_) co_return Error{ESHUTDOWN, "the session ends"};
    co_await tries.Wait(executor_);
  }
  co_return first_failure;
}

// EAGAIN: the content has changed once more.
Task<Result<void>> Tree::TakeFresh(const ResolveResult& result) {
  const Attr& attr = result.entry.attr;
  if (IsRegular(attr.mode)) AIRSTORE_TRY_CO(co_await contents_->Replace(attr));
  // Its size is ours again; of our own changes there are no events.
  if (contents_->IsDirty(attr.inode)) co_return Error{EAGAIN, "written meanwhile"};
  auto inserted = inodes_->Insert(attr, true);
  xattrs_.Drop(attr.inode);
  if (!inserted) co_return inserted.error();
  if (IsDirectory(attr.mode) && attr.parent != 0 &&
      inodes_->directories().ParentOf(attr.inode) != 0) {
    PlaceDirectory(attr.inode, attr.parent);
  }
  const auto record = inodes_->Get(attr.inode);
  if (result.entry.inlined && IsRegular(attr.mode) && attr.size <= kSmallFile &&
      record->content_kind == static_cast<uint32_t>(shm::ContentKind::kNone)) {
    const std::string& content = result.entry.content;
    (void)inodes_->StoreSmall(attr.inode,
                              {reinterpret_cast<const uint8_t*>(content.data()), content.size()});
  }
  co_return Result<void>{};
}

Task<Result<void>> Tree::RefreshChildren(uint64_t directory) {
  const auto record = inodes_->Get(directory);
  if (!record) co_return Error{ESTALE, "directory"};
  std::vector<uint64_t> stale;
  size_t missing = 0;
  // Those that there is no room for are asked for one by one, when somebody wants them.
  const size_t room = inodes_->meta().room().inodes / 2;
  for (uint32_t at = record->dir_first; at != shm::kNoIndex;) {
    const shm::DentryRecord entry = inodes_->meta().Dentry(at);
    const bool there = inodes_->IndexOf(entry.inode) != shm::kNoIndex;
    if (there ? inodes_->IsStale(entry.inode) && log_->PendingOf(entry.inode) == 0
              : missing++ < room) {
      stale.push_back(entry.inode);
    }
    at = entry.dir_next;
  }
  const std::vector<uint64_t> asked = stale;
  AIRSTORE_TRY_CO(co_await Refresh(std::move(stale), OfOne::kStaysStale));
  for (const uint64_t inode : asked) NoteParent(directory, inode);
  co_return Result<void>{};
}

void Tree::MarkGone(uint64_t inode) {
  const auto record = inodes_->Get(inode);
  if (!record) return;
  if (IsDirectory(record->mode)) {
    inodes_->freshness().NamesDropped(inode);
    inodes_->meta().DropListing(inodes_->IndexOf(inode));
    inodes_->directories().Erase(inode);
  }
  inodes_->MarkGone(inode);
}

// Nobody would notice if it left the table.
bool Tree::MayForget(uint64_t inode) const {
  const auto record = inodes_->Get(inode);
  if (!record || IsDirectory(record->mode) || record->nlink > 1) return false;
  const uint32_t index = inodes_->IndexOf(inode);
  return !mounts_->AnyLookups(index) && !mounts_->AnyLocalOpens(index) &&
         !contents_->HasOpens(inode) && !contents_->IsDirty(inode) && log_->PendingOf(inode) == 0 &&
         !resolving_.contains("#" + std::to_string(inode));
}

void Tree::DropName(uint64_t parent, const std::string& name, RemoteChanges* kernels,
                    std::vector<uint64_t>* lost) {
  inodes_->freshness().Changed(parent);
  if (const auto listing = listing_.find(parent); listing != listing_.end()) {
    listing->second->insert(name);
  }
  // What is known not to exist outlives its directory's stay in the table.
  inodes_->Update(parent, [](shm::InodeRecord& directory) {
    directory.flags &= ~static_cast<uint32_t>(shm::kListingComplete);
  });
  const uint32_t index = inodes_->meta().FindDentry(parent, name);
  if (index != shm::kNoIndex) {
    if (const uint64_t child = inodes_->meta().Dentry(index).inode; child != 0) {
      lost->push_back(child);
    }
    inodes_->meta().RemoveDentry(index);
  }
  kernels->names.emplace_back(parent, name);
  if (kernels->listings.empty() || kernels->listings.back() != parent) {
    kernels->listings.push_back(parent);
  }
}

void Tree::DropInode(uint64_t inode, RemoteChanges* kernels) {
  inodes_->freshness().Changed(inode);
  const auto record = inodes_->Get(inode);
  if (!record || (record->flags & shm::kOrphan) != 0) return;
  inodes_->MarkStale(inode);
  if (!IsRegular(record->mode)) {
    kernels->attributes.push_back(inode);
    return;
  }
  // A content file is compared with the gateway's version before it is used again; a slab would be
  // read without a question.
  if (!contents_->HasFile(inode) && log_->PendingOf(inode) == 0) inodes_->DropSmall(inode);
  kernels->data.push_back(inode);
}

Task<void> Tree::ApplyRemote(std::vector<uint64_t> inodes, std::vector<WatchEvent::Name> names) {
  RemoteChanges kernels;
  std::vector<uint64_t> lost;
  for (const WatchEvent::Name& entry : names) DropName(entry.parent, entry.name, &kernels, &lost);
  for (const uint64_t inode : inodes) DropInode(inode, &kernels);
  co_await TellKernels(std::move(kernels));
  tasks_->Spawn(FollowUp(std::move(inodes), std::move(lost)));
}

Task<void> Tree::TellKernels(RemoteChanges changes) {
  for (MountPort* mount : std::vector<MountPort*>(mounts_->all())) {
    const auto& now = mounts_->all();
    if (std::find(now.begin(), now.end(), mount) == now.end()) continue;
    const uint32_t index = mount->index();
    RemoteChanges here;
    here.listings = co_await HeldBy(executor_, inodes_, mounts_, index, &changes.listings);
    here.attributes = co_await HeldBy(executor_, inodes_, mounts_, index, &changes.attributes);
    here.data = co_await HeldBy(executor_, inodes_, mounts_, index, &changes.data);
    if (mounts_->Find(index) != mount) continue;
    here.names = changes.names;
    std::erase_if(here.names,
                  [&](const auto& entry) { return !Holds(*inodes_, *mount, entry.first); });
    if (here.names.empty() && here.listings.empty() && here.attributes.empty() &&
        here.data.empty()) {
      continue;
    }
    co_await mount->InvalidateAll(std::move(here));
  }
}

// What nobody uses goes, so that only what kernels hold remains to be told to them, and asked for
// again. From the end, where what is in a directory mostly lies behind it.
Task<void> Tree::ForgetAll() {
  const std::function<bool(uint64_t)> all = [](uint64_t) { return true; };
  co_await ForgetThose(all);
}

Task<void> Tree::ForgetThose(std::function<bool(uint64_t inode)> which) {
  inodes_->freshness().AllChanged();
  // Where it is is to be said of what is refused.
  std::unordered_set<uint64_t> unsent;
  for (const Contents::Unsent& one : contents_->ListUnsent()) unsent.insert(one.inode);
  if (!unsent.empty()) last_paths_ = co_await PathsOf(std::move(unsent));
  const auto distrust_names = [this] {
    bool all = true;
    for (MountPort* mount : mounts_->all()) all = mount->DistrustNames() && all;
    return all;
  };
  const bool by_name = !distrust_names();
  RemoteChanges kernels;
  std::vector<uint64_t> open;
  for (uint32_t index = inodes_->meta().inode_end() - 1; index != shm::kNoIndex; --index) {
    if (index % kEntriesAtOnce == 0) {
      co_await boost::asio::post(executor_, boost::asio::use_awaitable);
    }
    const uint64_t inode = inodes_->meta().Inode(index).inode;
    if (inode == 0 || !which(inode) || evictor_->TakeOut(index)) continue;
    if (IsDirectory(inodes_->meta().Inode(index).mode)) DropNames(index, by_name, &kernels);
    DropInode(inode, &kernels);
    if (contents_->HasOpens(inode)) open.push_back(inode);
  }
  // Meanwhile answers were given from what was still here: that a name is not in a whole listing,
  // too.
  while (!negatives_.empty()) DropOldestNegative();
  (void)distrust_names();
  co_await TellKernels(std::move(kernels));
  tasks_->Spawn(FollowUp(std::move(open), {}));
}

void Tree::DropNames(uint32_t index, bool by_name, RemoteChanges* kernels) {
  const shm::InodeRecord directory = inodes_->meta().Inode(index);
  for (uint32_t at = by_name ? directory.dir_first : shm::kNoIndex; at != shm::kNoIndex;) {
    kernels->names.emplace_back(directory.inode, inodes_->meta().DentryName(at));
    at = inodes_->meta().Dentry(at).dir_next;
  }
  inodes_->freshness().NamesDropped(directory.inode);
  inodes_->meta().DropListing(index);
  kernels->listings.push_back(directory.inode);
}

void Tree::NotGone(uint64_t inode) {
  const auto record = inodes_->Get(inode);
  if (!record || (record->flags & shm::kOrphan) == 0) return;
  inodes_->Update(inode, [](shm::InodeRecord& changed) {
    changed.flags &= ~static_cast<uint32_t>(shm::kOrphan);
  });
  log_->NoteXattrs({inode, {}});
  contents_->NotGone(inode);
}

void Tree::NoteWriteError(uint64_t inode, int error) {
  inodes_->Update(inode, [error](shm::InodeRecord& record) {
    if (record.write_error == 0) record.write_error = static_cast<uint32_t>(error);
  });
}

void Tree::DropAfterRefusal(const Mutation& mutation, const std::vector<uint64_t>& subjects,
                            int error) {
  std::vector<uint64_t> inodes = subjects;
  std::vector<WatchEvent::Name> names;
  const auto name = [&](uint64_t parent, const std::string& text) {
    inodes.push_back(parent);
    names.push_back({parent, text});
  };
  if (const auto* create = std::get_if<CreateOp>(&mutation.op)) {
    name(create->parent, create->name);
  } else if (const auto* link = std::get_if<LinkOp>(&mutation.op)) {
    name(link->parent, link->name);
  } else if (const auto* unlink = std::get_if<UnlinkOp>(&mutation.op)) {
    name(unlink->parent, unlink->name);
  } else if (const auto* rename = std::get_if<RenameOp>(&mutation.op)) {
    name(rename->old_parent, rename->old_name);
    name(rename->new_parent, rename->new_name);
  } else if (const auto* setattr = std::get_if<SetattrOp>(&mutation.op)) {
    if (setattr->size) {
      contents_->CutRefused(setattr->inode);
      // Who has cut it was told that it is done: the next fsync or close says that it is not.
      if (!log_->IsWaitedFor(setattr->inode)) NoteWriteError(setattr->inode, error);
    }
  } else if (const auto* write = std::get_if<WriteOp>(&mutation.op)) {
    if (error == ENOENT) MarkGone(write->inode);
    return;  // the content is kept
  }
  // Taken for gone here, and not gone there.
  for (const uint64_t inode : inodes) NotGone(inode);
  tasks_->Spawn(ApplyRemote(std::move(inodes), std::move(names)));
}

}  // namespace airstore::broker
