// SPDX-License-Identifier: Apache-2.0
//
// Zones: directories in the root, with what is below them. Each may be leased by a session alone,
// and is registered at the gateway by who has cached something of it (tools/gateway/zones.h).
//
// No two logs wait for each other, since none waits for a lease. What is appended lies in zones
// that are registered here: it was looked up there, and what is looked up, in use or on its way
// keeps the zone from being forgotten. Nobody else has the lease of a zone that is registered, nor
// gets it. Only a session that was silent for too long may have changes elsewhere; who waits with
// them gives back all it is asked for, unsent (MutationLog::DrainUnlessHeldUp).
#include <boost/asio/post.hpp>
#include <utility>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/tree.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kEntriesAtOnce = 512;  // then others get their turn

}  // namespace

// Another host may have moved what is stale.
uint64_t Tree::ZoneOfNames(uint64_t directory) const {
  uint64_t at = directory;
  for (size_t depth = 0; at != shm::kRootInode && depth < kDeepest; ++depth) {
    const uint64_t parent = inodes_->directories().ParentOf(at);
    if (parent == 0 || inodes_->IsStale(at)) return 0;
    if (parent == shm::kRootInode) return at;
    at = parent;
  }
  return at == shm::kRootInode ? at : 0;
}

uint64_t Tree::ZoneOfInode(uint64_t inode) const {
  if (inode == shm::kRootInode) return inode;
  const auto record = inodes_->Get(inode);
  if (!record || inodes_->IsStale(inode)) return 0;
  const uint64_t parent =
      IsDirectory(record->mode) ? inodes_->directories().ParentOf(inode) : inodes_->ParentOf(inode);
  return parent == 0 ? 0 : ZoneOfNames(parent);
}

uint64_t Tree::ZoneOf(const Mutation& mutation) const {
  const auto both = [](uint64_t one, uint64_t other) { return one == other ? one : 0; };
  const auto named = [&](uint64_t parent, const std::string& name) {
    const uint32_t at = inodes_->meta().FindDentry(parent, name);
    const uint64_t inode = at == shm::kNoIndex ? 0 : inodes_->meta().Dentry(at).inode;
    return inode == 0 ? ZoneOfNames(parent) : ZoneOfInode(inode);
  };
  if (const auto* create = std::get_if<CreateOp>(&mutation.op)) return ZoneOfNames(create->parent);
  if (const auto* link = std::get_if<LinkOp>(&mutation.op)) {
    if (inodes_->ParentOf(link->inode) != link->parent) return 0;
    return both(ZoneOfNames(link->parent), ZoneOfInode(link->inode));
  }
  if (const auto* unlink = std::get_if<UnlinkOp>(&mutation.op)) {
    return both(ZoneOfNames(unlink->parent), ZoneOfInode(unlink->inode));
  }
  if (const auto* rename = std::get_if<RenameOp>(&mutation.op)) {
    const uint64_t zone = both(ZoneOfNames(rename->old_parent), ZoneOfNames(rename->new_parent));
    const uint64_t inodes = both(named(rename->old_parent, rename->old_name),
                                 named(rename->new_parent, rename->new_name));
    return both(zone, inodes);
  }
  if (const auto* set = std::get_if<SetattrOp>(&mutation.op)) return ZoneOfInode(set->inode);
  if (const auto* set = std::get_if<SetXattrOp>(&mutation.op)) return ZoneOfInode(set->inode);
  if (const auto* gone = std::get_if<RemoveXattrOp>(&mutation.op)) return ZoneOfInode(gone->inode);
  if (const auto* touch = std::get_if<TouchOp>(&mutation.op)) return ZoneOfNames(touch->inode);
  return 0;
}

Task<Result<void>> Tree::AwaitGateway(uint64_t zone) {
  const auto away = [this] {
    const std::string state = gateway_->state();
    return state == "connecting" || state == "unreachable";
  };
  if (ZoneIsHere(zone) || !away()) co_return Result<void>{};
  gateway_->Reconnect();
  const std::vector<ResolveItem> anything(1, GetattrItem{shm::kRootInode, 0});
  const int64_t deadline = MonotonicNs() + patience_ns_;
  Backoff backoff(std::chrono::milliseconds(500));
  for (;;) {
    // Its state follows from what becomes of questions.
    if (!forgetting_) {
      (void)co_await Before(deadline, tasks_, executor_, gateway_->Resolve(anything));
    }
    if (stopping_) co_return Error{ESHUTDOWN, "the session ends"};
    if (!away()) co_return Result<void>{};
    if (MonotonicNs() > deadline) co_return Error{ETIMEDOUT, "the gateway does not answer"};
    co_await backoff.Wait(executor_);
  }
}

void Tree::WaitedForGateway(uint64_t inode) {
  if (!lease_ && on_synchronous_) on_synchronous_(ZoneOfInode(inode));
}

// What is not known to be elsewhere may be in it. Of a directory that is a zone the names are.
bool Tree::InZone(uint64_t inode, uint64_t zone) const {
  const uint64_t of = inode == zone ? zone : ZoneOfInode(inode);
  return of == zone || of == 0;
}

bool Tree::InUse(uint32_t index, uint64_t inode) const {
  return busy_.contains(inode) || mounts_->AnyLocalOpens(index) || contents_->HasOpens(inode) ||
         contents_->MayBeDirty(inode) || log_->PendingOf(inode) != 0;
}

bool Tree::IsCached(uint32_t index, uint64_t inode, uint64_t zone) const {
  const shm::InodeRecord record = inodes_->meta().Inode(index);
  const bool has_names = IsDirectory(record.mode) &&
                         (record.dir_entries != 0 || (record.flags & shm::kListingComplete) != 0);
  return has_names ||
         (inode != zone && !inodes_->IsStale(inode) && (record.flags & shm::kOrphan) == 0);
}

Task<bool> Tree::AnyInZone(uint64_t zone, Asks asks) {
  for (uint32_t index = inodes_->meta().inode_end() - 1; index != shm::kNoIndex; --index) {
    if (index % kEntriesAtOnce == 0) {
      co_await boost::asio::post(executor_, boost::asio::use_awaitable);
    }
    const uint64_t inode = inodes_->meta().Inode(index).inode;
    if (inode != 0 && InZone(inode, zone) && asks(index, inode)) co_return true;
  }
  co_return false;
}

Task<bool> Tree::ForgetZone(uint64_t zone, std::function<Task<void>()> tell) {
  if (forgetting_) co_return false;
  const Asks in_use = [this](uint32_t index, uint64_t inode) { return InUse(index, inode); };
  if (co_await AnyInZone(zone, in_use)) co_return false;
  const std::function<bool(uint64_t)> in_zone = [this, zone](uint64_t inode) {
    return InZone(inode, zone);
  };
  co_await ForgetThose(in_zone);
  // From here on nothing comes in, so what is not there now is not there when the gateway knows;
  // and nothing is changed that is not there.
  if (std::exchange(forgetting_, true)) co_return false;
  inodes_->freshness().AllChanged();
  const Asks there = [this, zone](uint32_t index, uint64_t inode) {
    return InUse(index, inode) || IsCached(index, inode, zone);
  };
  bool cached = co_await AnyInZone(zone, there);
  for (const Negative& negative : negatives_) {
    const shm::DentryRecord record = inodes_->meta().Dentry(negative.dentry);
    if (record.parent != negative.parent || record.inode != 0) continue;
    const uint64_t of = ZoneOfNames(negative.parent);
    cached = cached || of == zone || of == 0;
  }
  if (!cached && !stopping_) co_await tell();
  forgetting_ = false;
  forgotten_.NotifyAll();
  co_return !cached;
}

void Tree::PlaceDirectory(uint64_t directory, uint64_t parent) {
  const uint64_t before = inodes_->directories().ParentOf(directory);
  if (before == parent) return;
  const auto within = [&](uint64_t above) {
    return above == shm::kRootInode ? directory : ZoneOfNames(above);
  };
  const uint64_t from = before == 0 ? 0 : within(before);
  inodes_->directories().Set(directory, parent);
  if (before != 0 && (from == 0 || from != within(parent))) tasks_->Spawn(ForgetBelow(directory));
}

Task<void> Tree::TellRemoved(uint64_t zone) {
  co_await log_->WaitIdle(zone);
  if (zone_removed_ && !stopping_) co_await zone_removed_(zone);
}

// It was moved to another zone. That this zone is registered, with what is known below, the gateway
// may have forgotten at our wish of before; who uses something of it says so anew.
Task<void> Tree::ForgetBelow(uint64_t directory) {
  const std::function<bool(uint64_t)> below = [this, directory](uint64_t inode) {
    if (inode == directory) return true;
    const auto record = inodes_->Get(inode);
    const bool is_directory = record && IsDirectory(record->mode);
    uint64_t at = is_directory ? inode : inodes_->ParentOf(inode);
    for (size_t depth = 0; at != shm::kRootInode && depth < kDeepest; ++depth) {
      if (at == directory || at == 0) return true;
      at = inodes_->directories().ParentOf(at);
    }
    return false;
  };
  co_await ForgetThose(below);
}

}  // namespace airstore::broker
