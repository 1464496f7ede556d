// SPDX-License-Identifier: Apache-2.0
//
// The sequence lock of one Entry: the broker publishes records, anyone reads them.
//
// A reader copies the words, then checks that the sequence was even and did not move; it retries
// and never blocks the writer. The words are relaxed atomics, so a torn copy is not a data race,
// only a copy to be thrown away (Boehm, "Can seqlocks get along with programming language memory
// models?", 2012).
// Threads: one writer thread in one process; any number of readers.
#pragma once

#include <array>
#include <bit>
#include <cstring>

#include "shm/layout.h"

namespace airstore::shm {

// A writer that died in the middle leaves an odd sequence; readers then give up and ask the broker.
inline constexpr int kSeqlockTries = 1000;

// Returns false when no consistent copy was had. `more` runs with each copy before it is known to
// be whole, to copy data outside the entry that the same sequence guards: it must bear any values.
template <typename Record, typename More>
bool ReadEntry(const Entry<Record>& entry, Record* out, More more) {
  for (int tries = 0; tries < kSeqlockTries; ++tries) {
    const uint32_t before = entry.sequence.load(std::memory_order_acquire);
    if ((before & 1) != 0) continue;
    std::array<uint64_t, sizeof(Record) / 8> copy;
    for (size_t i = 0; i < copy.size(); ++i) {
      copy[i] = entry.words[i].load(std::memory_order_relaxed);
    }
    std::memcpy(out, copy.data(), sizeof(Record));
    more(*out);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.sequence.load(std::memory_order_relaxed) == before) return true;
  }
  return false;
}

template <typename Record>
bool ReadEntry(const Entry<Record>& entry, Record* out) {
  return ReadEntry(entry, out, [](const Record&) {});
}

// REQUIRES: the only writer of this entry. `more` runs inside the critical section, for data
// outside the entry that the same sequence guards.
template <typename Record, typename More>
void WriteEntry(Entry<Record>* entry, const Record& record, More more) {
  std::array<uint64_t, sizeof(Record) / 8> copy;
  std::memcpy(copy.data(), &record, sizeof(Record));
  const uint32_t before = entry->sequence.load(std::memory_order_relaxed);
  entry->sequence.store(before + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < copy.size(); ++i) {
    entry->words[i].store(copy[i], std::memory_order_relaxed);
  }
  more();
  entry->sequence.store(before + 2, std::memory_order_release);
}

template <typename Record>
void WriteEntry(Entry<Record>* entry, const Record& record) {
  WriteEntry(entry, record, [] {});
}

}  // namespace airstore::shm
