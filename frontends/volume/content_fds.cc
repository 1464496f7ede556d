// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/content_fds.h"

namespace airstore::volume {

ContentFd ContentFds::Get(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return nullptr;
  items_.splice(items_.begin(), items_, found->second);
  return found->second->fd;
}

void ContentFds::Insert(uint64_t id, UniqueFd fd) {
  {
    const std::lock_guard lock(mutex_);
    ContentFd shared = std::make_shared<const UniqueFd>(std::move(fd));
    if (const auto found = by_id_.find(id); found != by_id_.end()) {
      found->second->fd = std::move(shared);
      items_.splice(items_.begin(), items_, found->second);
    } else {
      items_.push_front({id, 0, std::move(shared)});
      by_id_[id] = items_.begin();
    }
    // One that nobody has taken yet is waited for, perhaps by a thread that does not get to run.
    for (auto item = items_.end(); items_.size() > kLimit && item != items_.begin();) {
      --item;
      if (item->inode == 0 && items_.size() <= kMostUntaken) continue;
      by_id_.erase(item->id);
      item = items_.erase(item);
    }
  }
  arrived_.notify_all();
}

ContentFd ContentFds::Wait(uint64_t id, uint64_t inode, uint64_t epoch,
                           std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const auto over = [&] { return epoch_ != epoch || by_id_.contains(id); };
  if (!arrived_.wait_for(lock, patience, over) || epoch_ != epoch) return nullptr;
  Item& item = *by_id_[id];
  item.inode = inode;
  return item.fd;
}

uint64_t ContentFds::epoch() const {
  const std::lock_guard lock(mutex_);
  return epoch_;
}

void ContentFds::BeginEpoch() {
  {
    const std::lock_guard lock(mutex_);
    ++epoch_;
    by_id_.clear();
    items_.clear();
  }
  arrived_.notify_all();
}

void ContentFds::Sweep(const std::function<bool(uint64_t inode, uint64_t id)>& stale) {
  const std::lock_guard lock(mutex_);
  for (auto item = items_.begin(); item != items_.end();) {
    if (item->inode != 0 && stale(item->inode, item->id)) {
      by_id_.erase(item->id);
      item = items_.erase(item);
    } else {
      ++item;
    }
  }
}

size_t ContentFds::size() const {
  const std::lock_guard lock(mutex_);
  return items_.size();
}

}  // namespace airstore::volume
