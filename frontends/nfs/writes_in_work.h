// SPDX-License-Identifier: Apache-2.0
//
// WritesInWork: the WRITEs that are being carried out. A client that has waited in vain sends one
// once more; were the second to be carried out when the first has been answered, it would undo what
// the client has written in the same place since.
// Threads: any.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <vector>

namespace airstore::nfs {

class WritesInWork {
 public:
  // While it lives the call is in work, if it is the first of its kind.
  class Turn {
   public:
    Turn(WritesInWork* all, uint64_t unique)
        : all_(*all), unique_(unique), first_(all->Begin(unique)) {}
    ~Turn() {
      if (first_) all_.End(unique_);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    bool first() const { return first_; }

   private:
    WritesInWork& all_;
    const uint64_t unique_;
    const bool first_;
  };

 private:
  bool Begin(uint64_t unique) {
    const std::lock_guard lock(mutex_);
    if (std::find(uniques_.begin(), uniques_.end(), unique) != uniques_.end()) return false;
    uniques_.push_back(unique);
    return true;
  }
  void End(uint64_t unique) {
    const std::lock_guard lock(mutex_);
    std::erase(uniques_, unique);
  }

  std::mutex mutex_;
  std::vector<uint64_t> uniques_;  // guarded by mutex_
};

}  // namespace airstore::nfs
