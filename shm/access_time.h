// SPDX-License-Identifier: Apache-2.0
//
// When reading a file moves its time of access, where it does: once after each change, and once a
// day (`relatime`).
// Threads: stateless.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shm/layout.h"

namespace airstore::shm {

// `now_ns`: when it is read, wall clock.
inline bool AccessTimeIsDue(const InodeRecord& record, int64_t now_ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  constexpr int64_t kDay = 24 * 3600 * kSecond;
  const int64_t changed_ns = std::max(record.mtime_ns, record.ctime_ns);
  const int64_t age_ns = now_ns - record.atime_ns;
  if (age_ns >= kDay) return true;
  if (record.atime_ns > changed_ns) return false;
  // A change in the future, by the clock of another host: not again with each read until then.
  return changed_ns <= now_ns || age_ns >= kSecond;
}

}  // namespace airstore::shm
