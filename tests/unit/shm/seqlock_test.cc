// SPDX-License-Identifier: Apache-2.0
#include "shm/seqlock.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace airstore::shm {
namespace {

InodeRecord RecordOf(uint64_t value) {
  InodeRecord record{};
  record.inode = value;
  record.size = value * 3;
  record.mtime_ns = static_cast<int64_t>(value * 7);
  record.dir_next_cookie = value * 11;
  record.reserved[9] = value * 13;
  return record;
}

bool IsWhole(const InodeRecord& record) {
  const uint64_t value = record.inode;
  return record.size == value * 3 && record.mtime_ns == static_cast<int64_t>(value * 7) &&
         record.dir_next_cookie == value * 11 && record.reserved[9] == value * 13;
}

TEST(Seqlock, ReadsWhatWasWritten) {
  auto entry = std::make_unique<InodeEntry>();
  WriteEntry(entry.get(), RecordOf(42));
  InodeRecord record{};
  ASSERT_TRUE(ReadEntry(*entry, &record));
  EXPECT_EQ(record.inode, 42u);
  EXPECT_TRUE(IsWhole(record));
}

TEST(Seqlock, ReaderGivesUpOnADeadWriter) {
  auto entry = std::make_unique<InodeEntry>();
  entry->sequence.store(7);
  InodeRecord record{};
  EXPECT_FALSE(ReadEntry(*entry, &record));
}

TEST(Seqlock, ReaderNeverSeesTornRecord) {
  auto entry = std::make_unique<InodeEntry>();
  WriteEntry(entry.get(), RecordOf(1));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> reads{0};
  const auto read = [&] {
    while (!stop.load(std::memory_order_relaxed)) {
      InodeRecord record{};
      if (!ReadEntry(*entry, &record)) continue;
      ASSERT_TRUE(IsWhole(record));
      reads.fetch_add(1, std::memory_order_relaxed);
    }
  };
  std::thread first(read);
  std::thread second(read);
  for (uint64_t value = 2; value < 30'000 || reads.load() < 1000; ++value) {
    WriteEntry(entry.get(), RecordOf(value));
    // Readers need gaps: a writer without any would only show that they give up.
    if (value % 64 == 0) std::this_thread::yield();
  }
  stop.store(true);
  first.join();
  second.join();
}

TEST(Seqlock, GuardsDataOutsideTheEntry) {
  auto entry = std::make_unique<InodeEntry>();
  std::atomic<uint64_t> outside{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> reads{0};
  std::thread reader([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      InodeRecord record{};
      uint64_t seen = 0;
      const bool whole = ReadEntry(*entry, &record, [&](const InodeRecord&) {
        seen = outside.load(std::memory_order_relaxed);
      });
      if (!whole) continue;
      ASSERT_EQ(seen, record.inode);
      reads.fetch_add(1, std::memory_order_relaxed);
    }
  });
  for (uint64_t value = 1; value < 30'000 || reads.load() < 1000; ++value) {
    WriteEntry(entry.get(), RecordOf(value),
               [&] { outside.store(value, std::memory_order_relaxed); });
    if (value % 64 == 0) std::this_thread::yield();
  }
  stop.store(true);
  reader.join();
}

}  // namespace
}  // namespace airstore::shm
