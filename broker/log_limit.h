// SPDX-License-Identifier: Apache-2.0
//
// LogLimit: lets one line through now and then, for events that a peer can cause at will.
// Threads: any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace airstore::broker {

class LogLimit {
 public:
  explicit LogLimit(std::chrono::milliseconds every) : every_ms_(every.count()) {}

  bool Due() {
    const int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                               std::chrono::steady_clock::now().time_since_epoch())
                               .count();
    int64_t due_ms = next_ms_.load(std::memory_order_relaxed);
    return now_ms >= due_ms && next_ms_.compare_exchange_strong(due_ms, now_ms + every_ms_);
  }

 private:
  const int64_t every_ms_;
  std::atomic<int64_t> next_ms_{0};
};

}  // namespace airstore::broker
