// SPDX-License-Identifier: Apache-2.0
//
// Entries and chains as their only writer handles them. Inner part of MetaWriter.
// Threads: the broker's thread that owns the tables.
#pragma once

#include <array>
#include <cstring>

#include "shm/meta_table.h"
#include "shm/seqlock.h"

namespace airstore::shm {

// The record as the only writer sees it: nobody else changes it, so no sequence is needed.
template <typename Record>
Record OwnRecord(const Entry<Record>& entry) {
  std::array<uint64_t, sizeof(Record) / 8> words;
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = entry.words[i].load(std::memory_order_relaxed);
  }
  Record record;
  memcpy(&record, words.data(), sizeof(record));
  return record;
}

// One 64-bit word of the record, by its offset.
template <typename Record>
uint64_t OwnWord(const Entry<Record>& entry, size_t offset) {
  return entry.words[offset / 8].load(std::memory_order_relaxed);
}

// A reader that follows `hash_next` of an entry being taken out still reaches the chain's rest.
template <typename At>
void UnlinkFromBucket(std::atomic<uint32_t>& bucket, uint32_t index, At at) {
  std::atomic<uint32_t>* link = &bucket;
  for (uint32_t here = link->load(std::memory_order_relaxed); here != kNoIndex;
       here = link->load(std::memory_order_relaxed)) {
    if (here == index) {
      link->store(at(index).hash_next.load(std::memory_order_relaxed), std::memory_order_release);
      return;
    }
    link = &at(here).hash_next;
  }
  AIRSTORE_CHECK(false && "an entry in use is in its bucket's chain");
}

// Signal fences suffice: what a killed process has stored is a prefix of
// its program, and only the compiler could make it another one.
template <typename Record>
void MetaWriter::PutEntry(MetaIntent table, Entry<Record>* entry, uint32_t index,
                          const Record& record) {
  MetaState& state = view_.state();
  std::array<uint64_t, sizeof(Record) / 8> words;
  memcpy(words.data(), &record, sizeof(record));
  for (size_t i = 0; i < words.size(); ++i) {
    state.words[i].store(words[i], std::memory_order_relaxed);
  }
  state.index.store(index, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  state.intent.store(static_cast<uint32_t>(table), std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  WriteEntry(entry, record);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  state.intent.store(static_cast<uint32_t>(MetaIntent::kNone), std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

template <typename Table>
Result<uint32_t> MetaWriter::Take(FreeList* list, uint32_t capacity, Table table) {
  if (!list->free.empty()) {
    const uint32_t index = list->free.back();
    list->free.pop_back();
    return index;
  }
  if (list->next >= capacity) return Error{ENOSPC, "meta table full"};
  auto* entry = &table(list->next);
  AIRSTORE_TRY(Back(entry, sizeof(*entry)));
  return list->next++;
}

}  // namespace airstore::shm
