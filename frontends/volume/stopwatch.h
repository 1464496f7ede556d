// SPDX-License-Identifier: Apache-2.0
//
// Stopwatch: adds the time from its creation to its end to a histogram of the lane.
// Threads: one.
#pragma once

#include <ctime>

#include "shm/counters.h"
#include "shm/lane.h"

namespace airstore::volume {

inline uint64_t ClockNs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

class Stopwatch {
 public:
  Stopwatch(const shm::LaneProducer& lane, shm::Histogram row)
      : lane_(lane), row_(row), start_ns_(ClockNs(CLOCK_MONOTONIC)) {}
  ~Stopwatch() { lane_.Observe(row_, ClockNs(CLOCK_MONOTONIC) - start_ns_); }
  uint64_t elapsed_ns() const { return ClockNs(CLOCK_MONOTONIC) - start_ns_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  const shm::LaneProducer& lane_;
  shm::Histogram row_;
  uint64_t start_ns_;
};

}  // namespace airstore::volume
