// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/overlay.h"

#include <algorithm>

#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/virtual/answer_error.h"
#include "broker/virtual/inode.h"
#include "broker/virtual/path.h"

namespace airstore::broker {
namespace {

constexpr int64_t kProbeAgainNs = 60'000'000'000;
constexpr int64_t kProbePatienceNs = 3'000'000'000;

}  // namespace

VirtualOverlay::VirtualOverlay(boost::asio::any_io_executor executor, Tasks* tasks,
                               std::shared_ptr<Gateway> storage, VirtualRegistry registry,
                               Options options)
    : executor_(executor),
      tasks_(tasks),
      storage_(std::move(storage)),
      registry_(std::move(registry)),
      options_(options),
      started_event_(executor),
      probe_done_(executor),
      expiry_timer_(executor) {
  for (auto& [name, place] : registry_.places()) {
    if (place.node) place.shown = options_.over_storage;
  }
}

void VirtualOverlay::SetOwner(uint32_t uid, uint32_t gid) {
  uid_ = uid;
  gid_ = gid;
}

void VirtualOverlay::Adopt(const std::unordered_map<uint64_t, std::string>& paths) {
  for (const auto& [inode, path] : paths) {
    if (path.size() < 2) continue;
    const std::string below = path.substr(1);
    paths_[inode] = below;
    // It was shown; whether it still is the gateway will tell.
    std::string rest;
    if (VirtualRegistry::Place* place = registry_.Find(below, &rest)) place->shown = true;
  }
}

void VirtualOverlay::Start() {
  started_ = true;
  started_event_.NotifyAll();
  tasks_->Spawn(Probe());
}

Task<void> VirtualOverlay::AwaitStart() {
  while (!started_ && !stopping_) co_await started_event_.Wait();
}

void VirtualOverlay::Stop() {
  stopping_ = true;
  expiry_timer_.cancel();
  probe_done_.NotifyAll();
  started_event_.NotifyAll();
}

bool VirtualOverlay::IsShown(const std::string& name) const {
  const auto& places = const_cast<VirtualOverlay*>(this)->registry_.places();
  const auto found = places.find(name);
  return found != places.end() && found->second.shown;
}

void VirtualOverlay::NoteOffered() {
  if (started_ && storage_->offered() != offered_) tasks_->Spawn(Probe());
}

void VirtualOverlay::ProbeAgain() {
  const bool any =
      std::any_of(registry_.places().begin(), registry_.places().end(), [](const auto& entry) {
        const VirtualRegistry::Place& place = entry.second;
        return place.node && !place.absent && !entry.first.starts_with('.');
      });
  if (storage_->offered() || !any || options_.over_storage || stopping_ ||
      MonotonicNs() - probed_ns_ < kProbeAgainNs) {
    return;
  }
  tasks_->Spawn(Probe());
}

Task<void> VirtualOverlay::Probe() {
  if (std::exchange(probing_, true)) co_return;
  std::vector<WatchEvent::Name> names;
  bool any = false;
  offered_ = storage_->offered();
  for (auto& [name, place] : registry_.places()) {
    if (!place.node || options_.over_storage || name.starts_with('.')) continue;
    Result<bool> something = false;
    if (offered_) {
      something = place.node->IsOffered(*offered_);
    } else if (place.absent) {
      continue;
    } else {
      something = co_await Before(MonotonicNs() + kProbePatienceNs, tasks_, executor_,
                                  place.node->HasSomething());
    }
    if (stopping_) co_return;
    // A gateway that is away says nothing.
    const bool away = !something && IsRetry(something.error().code);
    place.absent = !something && something.error().code == ENOSYS;
    const bool shown = away ? place.shown : something && *something;
    any = any || shown;
    if (shown != place.shown) names.push_back({shm::kRootInode, name});
    place.shown = shown;
  }
  for (auto& [name, place] : registry_.places()) {
    if (!place.node || options_.over_storage || !name.starts_with('.')) continue;
    if (any != place.shown) names.push_back({shm::kRootInode, name});
    place.shown = any;
  }
  probed_ = true;
  probed_ns_ = MonotonicNs();
  probing_ = false;
  probe_done_.NotifyAll();
  if (!names.empty()) Tell({shm::kRootInode}, std::move(names));
}

Task<void> VirtualOverlay::AwaitProbe() {
  while (!probed_ && !stopping_) co_await probe_done_.Wait();
}

void VirtualOverlay::Tell(std::vector<uint64_t> inodes, std::vector<WatchEvent::Name> names) {
  // Never waited for: who is told may be the one who asks.
  if (changed_ && !stopping_) tasks_->Spawn(changed_(std::move(inodes), std::move(names)));
}

void VirtualOverlay::ExpireAfter(const std::string& path, const VirtualEntry& entry) {
  std::string rest;
  const VirtualRegistry::Place* place = registry_.Find(path, &rest);
  if (place == nullptr || stopping_) return;
  const auto lifetime = place->node->Lifetime(rest, entry);
  if (lifetime.count() == 0) return;
  const int64_t at = MonotonicNs() + std::chrono::nanoseconds(lifetime).count();
  expiries_.emplace(at, path);
  if (!std::exchange(expiring_, true)) {
    tasks_->Spawn(ExpireInTime());
  } else if (expiries_.begin()->first == at) {
    expiry_timer_.cancel();
  }
}

Task<void> VirtualOverlay::ExpireInTime() {
  while (!expiries_.empty() && !stopping_) {
    const int64_t now = MonotonicNs();
    if (expiries_.begin()->first > now) {
      expiry_timer_.expires_after(std::chrono::nanoseconds(expiries_.begin()->first - now));
      boost::system::error_code ignored;
      co_await expiry_timer_.async_wait(
          boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
      continue;
    }
    std::vector<uint64_t> inodes;
    while (!expiries_.empty() && expiries_.begin()->first <= now) {
      const std::string path = std::move(expiries_.begin()->second);
      expiries_.erase(expiries_.begin());
      if (const auto known = directories_.find(path); known != directories_.end()) {
        known->second->expired = true;
      } else {
        const auto parent = directories_.find(ParentOf(path));
        if (parent == directories_.end()) continue;
        const auto entry = parent->second->entries.find(NameOf(path));
        if (entry == parent->second->entries.end()) continue;
        entry->second.name_only = true;  // asked for again
      }
      inodes.push_back(VirtualInode(path));
    }
    if (!inodes.empty()) Tell(std::move(inodes), {});
  }
  expiring_ = false;
}

void VirtualOverlay::Expire(uint64_t directory) {
  const auto known = directories_.find(PathOf(directory));
  if (known != directories_.end()) known->second->expired = true;
}

std::string VirtualOverlay::PathOf(uint64_t inode) const {
  const auto found = paths_.find(inode);
  return found == paths_.end() ? "" : found->second;
}

}  // namespace airstore::broker
