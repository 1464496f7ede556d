// SPDX-License-Identifier: Apache-2.0
//
// DirHints: where each open directory's listing was left, so that going on costs no second walk.
//
// A small table that forgets, and not an object per open directory: a hint is verified before it
// is used, so a lost or foreign one costs time only, and directory handles survive the process.
// The same for the name that leads to a directory, which tells its parent.
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace airstore::volume {

struct DirHint {
  uint64_t handle = 0;
  uint64_t cookie = 0;  // of the entry handed out last
  uint32_t index = 0;   // its place in the dentry table
  bool loaded = false;  // the broker was asked to make the children known
};

class DirHints {
 public:
  // A handle for a directory that is being opened; never 0.
  uint64_t NewHandle() { return next_handle_.fetch_add(1, std::memory_order_relaxed); }
  // An empty hint when there is none.
  DirHint Get(uint64_t handle) const;
  void Put(const DirHint& hint);

  // Where a directory's name was in the dentry table when it was looked up.
  void PutName(uint64_t directory, uint32_t index) {
    names_[directory % kNames].store(index, std::memory_order_relaxed);
  }
  uint32_t Name(uint64_t directory) const {
    return names_[directory % kNames].load(std::memory_order_relaxed);
  }

 private:
  static constexpr size_t kHints = 256;
  static constexpr size_t kNames = 4096;

  std::atomic<uint64_t> next_handle_{1};
  std::array<std::atomic<uint32_t>, kNames> names_{};
  mutable std::mutex mutex_;
  std::array<DirHint, kHints> hints_{};  // guarded by mutex_; by handle modulo kHints
};

}  // namespace airstore::volume
