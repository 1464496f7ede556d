// SPDX-License-Identifier: Apache-2.0
//
// Waiting on a word of shared memory. Not FUTEX_PRIVATE: the other side is another process.
// std::atomic::wait is no substitute: libstdc++ waits privately.
// Threads: stateless.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

namespace airstore::shm {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

// Returns when woken, when the word is not `expected`, or for no reason: look at the word again.
inline void FutexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT, expected, nullptr, nullptr, 0);
}

// The same, but no longer than that. `timeout_ns` > 0.
inline void FutexWaitFor(std::atomic<uint32_t>& word, uint32_t expected, int64_t timeout_ns) {
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

inline void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace airstore::shm
