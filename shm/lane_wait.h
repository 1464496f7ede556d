// SPDX-License-Identifier: Apache-2.0
//
// How threads of a frontend wait for the broker: for room, for what was queued to be applied, for a
// request slot. Inner part of LaneProducer.
//
// A request waits for as long as the broker has said (`patience_ms`), all its waits together. When
// that went by and nothing of what is queued was even looked at, there is no broker or it has
// stopped: until it looks at something, requests wait for a moment only, and what would wait for a
// moment at most does not wait at all.
// Threads: any thread of the frontend.
#pragma once

#include <algorithm>
#include <ctime>

#include "shm/futex.h"
#include "shm/lane.h"

namespace airstore::shm {

inline int64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Of one wait, or of several that a call needs. Marks this thread's request as waiting.
class LaneProducer::Waiting {
 public:
  // `until_ns`: if that is sooner than the end of the request's time.
  explicit Waiting(LaneProducer* lane, int64_t until_ns = kForever)
      : lane_(*lane),
        trace_(lane->Trace()),
        taken_(lane->Taken()),
        limit_ns_(lane->WaitUntil()),
        until_ns_(std::min(limit_ns_, until_ns)) {
    Mark(1);
  }
  enum Endless { kEndless };
  // Of no request, for ever.
  Waiting(LaneProducer* lane, Endless /*endless*/)
      : lane_(*lane), trace_(nullptr), taken_(0), limit_ns_(kForever), until_ns_(kForever) {}
  ~Waiting() { Mark(0); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  // Sleeps while the word has that value. False: time is over.
  bool Sleep(std::atomic<uint32_t>& word, uint32_t expected) const {
    if (until_ns_ == kForever) {
      FutexWait(word, expected);
      return true;
    }
    const int64_t left = until_ns_ - MonotonicNs();
    if (left <= 0) {
      lane_.NoteTimeOver(taken_, until_ns_ == limit_ns_);
      return false;
    }
    FutexWaitFor(word, expected, left);
    return true;
  }

 private:
  void Mark(uint32_t value) {
    if (trace_ != nullptr) trace_->waiting.store(value, std::memory_order_relaxed);
  }

  LaneProducer& lane_;
  RequestTrace* trace_;
  const uint64_t taken_;  // before the first thing that a broker could do for us
  const int64_t limit_ns_;
  const int64_t until_ns_;
};

template <typename Ready>
LaneProducer::End LaneProducer::AwaitProgress(Ready ready, const Interrupted& interrupted,
                                              const Waiting& waiting) {
  LaneCursors& cursors = layout()->cursors;
  for (;;) {
    // Before all else: whatever is bumped behind this line ends the wait.
    const uint32_t seen = cursors.progress.load(std::memory_order_acquire);
    cursors.frontend_waits.store(1, std::memory_order_seq_cst);
    // Pairs with the fence in LaneConsumer::WakeFrontend.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (ready()) return End::kReady;
    if (interrupted && interrupted()) return End::kInterrupted;
    Wake();
    if (!waiting.Sleep(cursors.progress, seen)) return End::kTimeOver;
  }
}

}  // namespace airstore::shm
