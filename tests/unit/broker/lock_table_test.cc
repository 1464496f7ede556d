// SPDX-License-Identifier: Apache-2.0
#include "broker/lock_table.h"

#include <gtest/gtest.h>

#include "broker/session_journal.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

constexpr uint64_t kFile = 20;

LockCall Range(uint64_t owner, LockType type, uint64_t first, uint64_t last, uint64_t handle = 1,
               uint32_t mount = 0) {
  return {kFile, false, {{mount, owner}, type, first, last, 99}, handle};
}
LockCall Flock(uint64_t owner, LockType type, uint64_t handle = 1, uint32_t mount = 0) {
  return {kFile, true, {{mount, owner}, type, 0, UINT64_MAX, 99}, handle};
}

TEST(LockTable, AProcessLosesItsRangesWithAnyClose) {
  LockTable table;
  table.Set(Range(1, LockType::kExclusive, 0, 9, 100));
  table.Set(Range(1, LockType::kExclusive, 20, 29, 101));
  table.Set(Flock(5, LockType::kExclusive, 100));
  EXPECT_TRUE(table.FlushTakes(Range(1, LockType::kUnlock, 0, 0, 101)));
  table.Flush(Range(1, LockType::kUnlock, 0, 0, 101), 7);
  EXPECT_EQ(table.Conflict(Range(2, LockType::kExclusive, 0, 99)), nullptr);
  EXPECT_NE(table.Conflict(Flock(6, LockType::kShared)), nullptr) << "of an open file";
  EXPECT_FALSE(table.FlushTakes(Range(1, LockType::kUnlock, 0, 0, 101)));
}

TEST(LockTable, AnOpenFileLosesItsLocksWithTheLastClose) {
  LockTable table;
  table.Set(Range(7, LockType::kShared, 0, 9, 100));
  table.Set(Flock(7, LockType::kExclusive, 100));
  table.Flush(Range(1, LockType::kUnlock, 0, 0, 100), 50);
  EXPECT_TRUE(table.HasLocks(kFile)) << "another process closed its descriptor";
  EXPECT_TRUE(table.ClosedSince(Flock(8, LockType::kShared), {0, 7}, 50));
  EXPECT_FALSE(table.ClosedSince(Flock(8, LockType::kShared), {0, 7}, 51));
  table.Release(Range(0, LockType::kUnlock, 0, 0, 101));
  EXPECT_TRUE(table.HasLocks(kFile)) << "another open file";
  table.Release(Range(0, LockType::kUnlock, 0, 0, 100, 1));
  EXPECT_TRUE(table.HasLocks(kFile)) << "another mount";
  table.Release(Range(0, LockType::kUnlock, 0, 0, 100));
  EXPECT_FALSE(table.HasLocks(kFile));
}

// P closes the open file A, which takes all of its ranges, and locks again through B before the
// kernel has said that A is closed.
TEST(LockTable, ALateReleaseTakesNothingNewer) {
  LockTable table;
  table.Set(Range(1, LockType::kExclusive, 0, 9, 100));
  table.Flush(Range(1, LockType::kUnlock, 0, 0, 100), 1);
  table.Set(Range(1, LockType::kExclusive, 0, 9, 101));
  table.Release(Range(0, LockType::kUnlock, 0, 0, 100));
  EXPECT_NE(table.Conflict(Range(2, LockType::kShared, 0, 0)), nullptr);
}

TEST(LockTable, AMountTakesItsLocksAlong) {
  LockTable table;
  table.Set(Range(1, LockType::kShared, 0, 9, 1, 0));
  table.Set(Range(1, LockType::kShared, 0, 9, 1, 1));
  EXPECT_EQ(table.ReleaseMount(0), std::vector<uint64_t>{kFile});
  EXPECT_NE(table.Conflict(Range(2, LockType::kExclusive, 0, 0)), nullptr);
  EXPECT_EQ(table.ReleaseMount(1), std::vector<uint64_t>{kFile});
  EXPECT_FALSE(table.HasLocks(kFile));
}

std::multiset<std::tuple<uint64_t, uint64_t, uint64_t, int>> All(const LockTable& table) {
  std::multiset<std::tuple<uint64_t, uint64_t, uint64_t, int>> all;
  table.ForEach([&](const LockCall& call) {
    all.emplace(call.range.owner.id, call.range.first, call.handle,
                static_cast<int>(call.range.type) + (call.flock ? 10 : 0));
  });
  return all;
}

TEST(LockJournal, TheNextBrokerKnowsThemAll) {
  TempDir directory;
  const std::string path = directory.path() + "/journal";
  const JournalOptions options{.session = {}};
  using Action = LockRecord::Action;
  std::multiset<std::tuple<uint64_t, uint64_t, uint64_t, int>> before;
  {
    auto journal = SessionJournal::Create(path, options);
    ASSERT_TRUE(journal);
    const auto append = [&](Action action, const LockCall& call, uint64_t unique = 0) {
      ASSERT_TRUE((*journal)->Append(LockRecord{action, call, unique}));
    };
    append(Action::kSet, Range(1, LockType::kExclusive, 0, 99, 100));
    append(Action::kSet, Range(1, LockType::kUnlock, 40, 49, 100));
    append(Action::kSet, Range(2, LockType::kShared, 200, 299, 102));
    append(Action::kSet, Flock(7, LockType::kShared, 103));
    append(Action::kWait, Range(3, LockType::kExclusive, 0, 9, 104), 1000);
    append(Action::kWait, Range(4, LockType::kExclusive, 0, 9, 105), 1002);
    append(Action::kWait, Range(5, LockType::kExclusive, 500, 509, 106), 1004);
    append(Action::kSet, Range(5, LockType::kExclusive, 500, 509, 106), 1004);
    append(Action::kAnswered, Range(4, LockType::kExclusive, 0, 9, 105), 1002);
    append(Action::kFlush, Range(2, LockType::kUnlock, 0, 0, 102));
    before = All((*journal)->locks().held);
    EXPECT_EQ(before.size(), 4u);
  }
  for (int life = 0; life < 2; ++life) {  // the second one reads what the first has rewritten
    JournalState state;
    auto journal = SessionJournal::Open(path, options, &state);
    ASSERT_TRUE(journal);
    EXPECT_EQ(All((*journal)->locks().held), before);
    const auto& waiting = (*journal)->locks().waiting;
    ASSERT_EQ(waiting.size(), 2u);
    EXPECT_EQ(waiting[0].unique, 1000u);
    EXPECT_FALSE(waiting[0].granted);
    EXPECT_EQ(waiting[1].unique, 1004u);
    EXPECT_TRUE(waiting[1].granted);
  }
}

TEST(LockJournal, ManyLocksDoNotFillIt) {
  TempDir directory;
  auto journal = SessionJournal::Create(directory.path() + "/journal", {.session = {}});
  ASSERT_TRUE(journal);
  for (int i = 0; i < 300'000; ++i) {
    const auto type = i % 2 == 0 ? LockType::kExclusive : LockType::kUnlock;
    ASSERT_TRUE((*journal)->Append(
        LockRecord{LockRecord::Action::kSet, Range(1, type, 0, 9, static_cast<uint64_t>(i)), 0}));
  }
  EXPECT_LT((*journal)->journal().old_bytes(), 16u << 20);
}

}  // namespace
}  // namespace airstore::broker
