// SPDX-License-Identifier: Apache-2.0
//
// ResentRequests: knows when all requests that a dead predecessor left unanswered are dealt with.
//
// The broker makes the kernel send them again before we read, so they come first. Until one comes
// that was not sent before, threads read one at a time; then nothing is missed, and what the
// predecessor kept for repetitions can go when the last of them is answered.
// Threads: any worker.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>

namespace airstore::fuse {

class ResentRequests {
 public:
  // `expected`: there was a predecessor. `all_done` is called at least once, if it was.
  ResentRequests(bool expected, std::function<void()> all_done)
      : all_done_(std::move(all_done)), all_seen_(!expected) {}

  // Held around reading and Seen().
  std::unique_lock<std::mutex> Turn();
  // A request that wants an answer was read. REQUIRES: the turn.
  void Seen(bool resent);
  // And answered.
  void Answered(bool resent);

 private:
  const std::function<void()> all_done_;
  std::mutex turn_;
  std::atomic<bool> all_seen_;
  std::atomic<int> unanswered_{0};
};

}  // namespace airstore::fuse
