// SPDX-License-Identifier: Apache-2.0
//
// The clock that the kernel stamps files with, for stamps of ours: a file that was changed later,
// by us or by the kernel (passthrough), has the later time. Neither CLOCK_REALTIME nor its coarse
// form is that clock: the kernel stamps by ticks, but finer when somebody has looked at the times.
// Threads: any.
#pragma once

#include <cstdint>
#include <limits>

namespace airstore::shm {

// Nanoseconds since the Unix epoch. Each call of a process gets more than the one before, unless
// the clock was set back. Costs two system calls; the first call also opens a file.
int64_t FileClockNs();

// Saturates: 64 bits hold the years 1677 to 2262.
constexpr int64_t NanosecondsOf(int64_t seconds, int64_t nanoseconds) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t ns = 0;
  if (__builtin_mul_overflow(seconds, kSecond, &ns) ||
      __builtin_add_overflow(ns, nanoseconds, &ns)) {
    return seconds < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
  }
  return ns;
}

}  // namespace airstore::shm
