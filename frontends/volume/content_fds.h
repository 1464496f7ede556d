// SPDX-License-Identifier: Apache-2.0
//
// ContentFds: descriptors of content files that the broker has sent.
//
// Kept because asking for one costs a round trip; bounded, least recently used first out, because
// each holds a file open that the broker may have deleted.
// Threads: any. A descriptor in use stays open until its last user drops it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "shm/base/fd.h"

namespace airstore::volume {

// Shared by the table and by the reads that are using the descriptor at the moment.
using ContentFd = std::shared_ptr<const UniqueFd>;

class ContentFds {
 public:
  static constexpr size_t kLimit = 128;
  static constexpr size_t kMostUntaken = 2 * kLimit;  // with those that nobody has waited for yet

  // nullptr: not here.
  ContentFd Get(uint64_t id);
  // From the channel.
  void Insert(uint64_t id, UniqueFd fd);
  // Waits for the descriptor to come; notes whose content it is. nullptr after `patience`, or when
  // `epoch` is over.
  ContentFd Wait(uint64_t id, uint64_t inode, uint64_t epoch, std::chrono::milliseconds patience);
  // Ids mean something within an epoch only: that of one broker.
  uint64_t epoch() const;
  // Drops all and begins the next epoch.
  void BeginEpoch();
  // Drops those of which `stale(inode, id)` is true.
  void Sweep(const std::function<bool(uint64_t inode, uint64_t id)>& stale);
  size_t size() const;

 private:
  struct Item {
    uint64_t id;
    uint64_t inode;  // 0: nobody has waited for it yet
    ContentFd fd;
  };
  using Items = std::list<Item>;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  uint64_t epoch_ = 0;                                   // guarded by mutex_
  Items items_;                                          // guarded by mutex_; last used first
  std::unordered_map<uint64_t, Items::iterator> by_id_;  // guarded by mutex_
};

}  // namespace airstore::volume
