// SPDX-License-Identifier: Apache-2.0
//
// Files that are open here follow what other hosts make of them.
#include <cerrno>
#include <chrono>
#include <set>
#include <vector>

#include "broker/backoff.h"
#include "broker/tree.h"

namespace airstore::broker {
namespace {

// What has lost a block is read from its beginning each time, and may never be whole again.
constexpr std::chrono::minutes kFollowEvery{1};

}  // namespace

// Not before the acknowledgement: files that are open here follow the change, and what lost its
// name is looked at whether it is gone.
Task<void> Tree::FollowUp(std::vector<uint64_t> inodes, std::vector<uint64_t> lost) {
  for (const uint64_t inode : lost) {
    if (MayForget(inode) && inodes_->RemoveUnlessHeld(inode)) {
      contents_->Destroy(inode);
      xattrs_.Drop(inode);
    }
  }
  std::vector<uint64_t> now;
  const std::set<uint64_t> nameless(lost.begin(), lost.end());
  std::set<uint64_t> all(inodes.begin(), inodes.end());
  all.insert(lost.begin(), lost.end());
  for (const uint64_t inode : all) {
    if (!inodes_->IsStale(inode)) continue;
    if (log_->PendingOf(inode) != 0 || contents_->MayBeDirty(inode)) {
      tasks_->Spawn(RefreshWhenSettled(inode));
    } else if (nameless.contains(inode) || contents_->HasOpens(inode)) {
      now.push_back(inode);
    }
  }
  const std::vector<uint64_t> asked = now;
  if (auto refreshed = co_await Refresh(std::move(now)); !refreshed) FollowOpen(asked);
  for (const uint64_t inode : all) ReclaimOrphan(inode);
}

void Tree::FollowOpen(const std::vector<uint64_t>& inodes) {
  for (const uint64_t inode : inodes) {
    if (inodes_->IsStale(inode) && contents_->HasOpens(inode) && following_.insert(inode).second) {
      tasks_->Spawn(KeepFollowing(inode));
    }
  }
}

// Who has it open in the kernel, or mapped, asks nothing, and would go on with what a failure has
// left of it.
Task<void> Tree::KeepFollowing(uint64_t inode) {
  Backoff backoff(kFollowEvery);
  while (!stopping_ && inodes_->IsStale(inode) && contents_->HasOpens(inode)) {
    co_await backoff.Wait(executor_);
    if (stopping_) break;  // nothing is sent any more
    contents_->Flush(inode);
    co_await log_->WaitIdle(inode);
    if (!inodes_->IsStale(inode) || contents_->IsDirty(inode)) continue;
    const auto fresh = co_await Ensure(inode);
    // That has waited for the gateway, which may be back soon.
    if (!fresh && fresh.error().code == ETIMEDOUT) backoff = Backoff(kFollowEvery);
  }
  following_.erase(inode);
}

Task<void> Tree::RefreshWhenSettled(uint64_t inode) {
  contents_->Flush(inode);
  co_await log_->WaitIdle(inode);
  if (!inodes_->IsStale(inode) || contents_->IsDirty(inode)) co_return;
  RemoteChanges kernels;
  DropInode(inode, &kernels);
  co_await TellKernels(std::move(kernels));
  if (!contents_->HasOpens(inode)) co_return;
  if (auto fresh = co_await Ensure(inode); !fresh) FollowOpen({inode});
}

}  // namespace airstore::broker
