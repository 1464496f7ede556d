// SPDX-License-Identifier: Apache-2.0
//
// DirHints: where each open directory's listing was left, so that going on costs no second walk.
//
// A small table that forgets, and not an object per open directory: a hint is verified before it
// is used, so a lost or foreign one costs time only, and directory handles survive the process.
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

 private:
  static constexpr size_t kHints = 256;

  std::atomic<uint64_t> next_handle_{1};
  mutable std::mutex mutex_;
  std::array<DirHint, kHints> hints_{};  // guarded by mutex_; by handle modulo kHints
};

}  // namespace airstore::volume
