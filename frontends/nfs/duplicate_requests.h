// SPDX-License-Identifier: Apache-2.0
//
// DuplicateRequests: what was answered to the last calls that must not be carried out twice. A
// client whose connection broke sends what was not answered once more, under the same number.
//
// This is for as long as the process lives; what was in work when it died is in the lane, under the
// same numbers, and its successor finds it there (Volume::BeginRequest).
// Threads: any. Memory: fixed.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

namespace airstore::nfs {

class DuplicateRequests {
 public:
  static constexpr size_t kRequests = 256;
  static constexpr size_t kReplyBytes = 512;

  DuplicateRequests() : entries_(std::make_unique<std::array<Entry, kRequests>>()) {}

  // True: it is new, and Finish must follow. False: `reply` is what was answered before; waits for
  // that if it is being carried out.
  bool Begin(uint64_t unique, std::array<char, kReplyBytes>* reply, size_t* bytes);
  // An answer that is too long is not kept.
  void Finish(uint64_t unique, std::span<const char> reply);

 private:
  struct Entry {
    uint64_t unique = 0;  // 0: none
    uint32_t bytes = 0;
    bool done = false;
    std::array<char, kReplyBytes> reply;
  };
  Entry* Find(uint64_t unique);

  std::mutex mutex_;
  std::condition_variable done_;
  std::unique_ptr<std::array<Entry, kRequests>> entries_;  // guarded by mutex_; a ring
  size_t next_ = 0;                                        // guarded by mutex_
};

}  // namespace airstore::nfs
