// SPDX-License-Identifier: Apache-2.0
//
// The two clocks the broker uses.
#pragma once

#include <time.h>

#include <cstdint>

#include "shm/base/file_clock.h"

namespace airstore::broker {

// Nanoseconds since the Unix epoch: what files are stamped with, and different each time.
inline int64_t RealtimeNs() { return shm::FileClockNs(); }

// Nanoseconds of a clock that never jumps: for ages and intervals.
inline int64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

inline timespec ToTimespec(int64_t ns) {
  int64_t seconds = ns / 1'000'000'000;
  int64_t rest = ns % 1'000'000'000;
  if (rest < 0) {
    rest += 1'000'000'000;
    --seconds;
  }
  return timespec{.tv_sec = seconds, .tv_nsec = rest};
}

// Times that 64 bits of nanoseconds do not hold (before 1677, after 2262) become the last that they
// do.
inline int64_t FromTimespec(int64_t seconds, int64_t nanoseconds) {
  return shm::NanosecondsOf(seconds, nanoseconds);
}

}  // namespace airstore::broker
