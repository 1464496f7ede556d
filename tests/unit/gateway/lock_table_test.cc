// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/lock_table.h"

#include <gtest/gtest.h>

namespace airstore::gateway {
namespace {

const SessionId kOne = SessionId::From("session-------01");
const SessionId kTwo = SessionId::From("session-------02");
const SessionId kThree = SessionId::From("session-------03");
constexpr InodeNo kFile = 5;

LockWish Range(const SessionId& session, LockMode mode, uint64_t start, uint64_t end) {
  LockWish wish;
  wish.ino = kFile;
  wish.lock = {{session, "o"}, mode, start, end, 7};
  return wish;
}
LockWish Flock(const SessionId& session, LockMode mode) {
  LockWish wish = Range(session, mode, 0, UINT64_MAX);
  wish.flock = true;
  return wish;
}
LockWish Waiting(LockWish wish, uint64_t number) {
  wish.wait = number;
  wish.process = true;
  return wish;
}

class GatewayLocks : public testing::Test {
 protected:
  GatewayLocks()
      : table([this](WorkspaceKey, const SessionId& session, InodeNo ino) {
          EXPECT_EQ(ino, kFile);
          told.push_back(session);
        }) {
    for (const SessionId& session : {kOne, kTwo, kThree}) Assert(session);
  }
  bool Assert(const SessionId& session, const std::vector<LockWish>& held = {}) {
    lost.clear();
    return table.Assert(1, session, held, &lost);
  }
  LockAnswer Set(const LockWish& wish) {
    conflict.reset();
    return table.Set(1, wish, &conflict);
  }
  std::vector<SessionId> Told() { return std::exchange(told, {}); }

  std::vector<SessionId> told;
  std::vector<LockWish> lost;
  std::optional<LockSpec> conflict;
  LockTable table;
};

TEST_F(GatewayLocks, SharedAndExclusiveRanges) {
  EXPECT_EQ(Set(Range(kOne, LockMode::kShared, 0, 99)), LockAnswer::kDone);
  EXPECT_EQ(Set(Range(kTwo, LockMode::kShared, 50, 150)), LockAnswer::kDone);
  EXPECT_EQ(Set(Range(kTwo, LockMode::kExclusive, 99, 99)), LockAnswer::kHeld);
  ASSERT_TRUE(conflict);
  EXPECT_EQ(conflict->pid, 7u);
  EXPECT_EQ(conflict->end, 99u);
  EXPECT_EQ(Set(Range(kTwo, LockMode::kExclusive, 100, UINT64_MAX)), LockAnswer::kDone);
  EXPECT_EQ(Set(Flock(kOne, LockMode::kExclusive)), LockAnswer::kDone) << "it sees no ranges";
  table.Assert(2, kTwo, {}, &lost);
  EXPECT_EQ(table.Set(2, Range(kTwo, LockMode::kExclusive, 0, 9), &conflict), LockAnswer::kDone)
      << "another workspace";
}

TEST_F(GatewayLocks, UnlockingTheMiddleSplits) {
  LockWish test = Range(kTwo, LockMode::kExclusive, 40, 59);
  test.test_only = true;
  EXPECT_EQ(Set(Range(kOne, LockMode::kExclusive, 0, 99)), LockAnswer::kDone);
  EXPECT_EQ(Set(Range(kOne, LockMode::kUnlock, 40, 59)), LockAnswer::kDone);
  EXPECT_EQ(Set(test), LockAnswer::kDone);
  test.lock.start = 39;
  EXPECT_EQ(Set(test), LockAnswer::kHeld);
  test.lock.start = 40;
  test.lock.end = 60;
  EXPECT_EQ(Set(test), LockAnswer::kHeld);
}

TEST_F(GatewayLocks, WhoWaitsIsToldWhenItCanBeHad) {
  ASSERT_EQ(Set(Range(kOne, LockMode::kExclusive, 0, 99)), LockAnswer::kDone);
  EXPECT_EQ(Set(Waiting(Range(kTwo, LockMode::kExclusive, 50, 50), 1)), LockAnswer::kHeld);
  EXPECT_EQ(Set(Range(kThree, LockMode::kExclusive, 50, 50)), LockAnswer::kHeld);
  EXPECT_EQ(Set(Range(kOne, LockMode::kUnlock, 0, 49)), LockAnswer::kDone);
  EXPECT_TRUE(Told().empty()) << "still in the way";
  EXPECT_EQ(Set(Range(kOne, LockMode::kShared, 50, 99)), LockAnswer::kDone);
  EXPECT_TRUE(Told().empty());
  EXPECT_EQ(Set(Range(kOne, LockMode::kUnlock, 0, 99)), LockAnswer::kDone);
  EXPECT_EQ(Told(), std::vector<SessionId>{kTwo});
  EXPECT_EQ(Set(Waiting(Range(kTwo, LockMode::kExclusive, 50, 50), 1)), LockAnswer::kDone);
  ASSERT_EQ(Set(Waiting(Range(kOne, LockMode::kShared, 50, 50), 8)), LockAnswer::kHeld);
  table.CancelWait(1, kOne, 8);
  table.ReleaseSession(1, kTwo);
  EXPECT_TRUE(Told().empty());
}

TEST_F(GatewayLocks, DeadlocksOfProcessesAreFoundAcrossHosts) {
  ASSERT_EQ(Set(Range(kOne, LockMode::kExclusive, 0, 0)), LockAnswer::kDone);
  ASSERT_EQ(Set(Range(kTwo, LockMode::kExclusive, 1, 1)), LockAnswer::kDone);
  ASSERT_EQ(Set(Range(kThree, LockMode::kExclusive, 2, 2)), LockAnswer::kDone);
  EXPECT_EQ(Set(Waiting(Range(kOne, LockMode::kShared, 1, 1), 1)), LockAnswer::kHeld);
  EXPECT_EQ(Set(Waiting(Range(kTwo, LockMode::kShared, 2, 2), 1)), LockAnswer::kHeld);
  LockWish last = Waiting(Range(kThree, LockMode::kShared, 0, 0), 1);
  EXPECT_EQ(Set(last), LockAnswer::kDeadlock);
  last.process = false;
  EXPECT_EQ(Set(last), LockAnswer::kHeld) << "of an open file: another thread may unlock";
}

TEST_F(GatewayLocks, AFlockGivesUpWhatItHasForAnotherType) {
  ASSERT_EQ(Set(Flock(kOne, LockMode::kShared)), LockAnswer::kDone);
  ASSERT_EQ(Set(Flock(kTwo, LockMode::kShared)), LockAnswer::kDone);
  EXPECT_EQ(Set(Waiting(Flock(kOne, LockMode::kExclusive), 1)), LockAnswer::kHeld);
  EXPECT_EQ(Set(Waiting(Flock(kTwo, LockMode::kExclusive), 1)), LockAnswer::kDone);
}

TEST_F(GatewayLocks, WhoIsNotHeardOfLosesThemAndIsToldSo) {
  const LockWish mine = Range(kOne, LockMode::kExclusive, 0, 9);
  ASSERT_EQ(Set(mine), LockAnswer::kDone);
  ASSERT_EQ(Set(Waiting(Range(kTwo, LockMode::kExclusive, 0, 9), 1)), LockAnswer::kHeld);
  table.Expire(1, kOne);
  EXPECT_EQ(Told(), std::vector<SessionId>{kTwo});
  EXPECT_EQ(Set(mine), LockAnswer::kUnknown);
  EXPECT_FALSE(Assert(kOne, {mine})) << "others may have held it meanwhile";
  EXPECT_EQ(Set(Range(kTwo, LockMode::kExclusive, 0, 9)), LockAnswer::kDone);
  EXPECT_TRUE(Assert(kOne, {mine}));
  EXPECT_EQ(lost.size(), 1u);
}

TEST_F(GatewayLocks, AfterARestartAllAreHeardFirst) {
  LockTable fresh(
      [this](WorkspaceKey, const SessionId& session, InodeNo) { told.push_back(session); });
  fresh.Expect(1, kOne);
  fresh.Expect(1, kTwo);
  const LockWish mine = Range(kOne, LockMode::kExclusive, 0, 9);
  const LockWish theirs = Range(kTwo, LockMode::kExclusive, 0, 9);
  EXPECT_EQ(fresh.Set(1, theirs, &conflict), LockAnswer::kUnknown);
  EXPECT_TRUE(fresh.Assert(1, kTwo, {}, &lost));
  EXPECT_EQ(fresh.Set(1, theirs, &conflict), LockAnswer::kGrace) << "the first may have it";
  EXPECT_EQ(fresh.Set(1, Range(kTwo, LockMode::kUnlock, 0, 9), &conflict), LockAnswer::kDone);
  EXPECT_TRUE(fresh.Assert(1, kOne, {mine}, &lost));
  EXPECT_EQ(fresh.Set(1, theirs, &conflict), LockAnswer::kHeld);
  fresh.Expect(1, kThree);
  EXPECT_EQ(fresh.Set(1, theirs, &conflict), LockAnswer::kGrace);
  fresh.Expire(1, kThree);
  fresh.ReleaseSession(1, kOne);
  EXPECT_EQ(fresh.Set(1, theirs, &conflict), LockAnswer::kDone);
}

TEST_F(GatewayLocks, WhatIsSaidReplacesWhatWasKnown) {
  ASSERT_EQ(Set(Range(kOne, LockMode::kExclusive, 0, 99)), LockAnswer::kDone);
  ASSERT_EQ(Set(Waiting(Range(kTwo, LockMode::kExclusive, 50, 50), 1)), LockAnswer::kHeld);
  EXPECT_TRUE(Assert(kOne, {Range(kOne, LockMode::kExclusive, 0, 9)}));
  EXPECT_EQ(Told(), std::vector<SessionId>{kTwo});
  EXPECT_EQ(Set(Range(kTwo, LockMode::kShared, 9, 9)), LockAnswer::kHeld);
}

TEST_F(GatewayLocks, AWishOfAnEarlierLifeIsNone) {
  ASSERT_EQ(Set(Range(kOne, LockMode::kExclusive, 0, 0)), LockAnswer::kDone);
  ASSERT_EQ(Set(Range(kTwo, LockMode::kExclusive, 1, 1)), LockAnswer::kDone);
  ASSERT_EQ(Set(Waiting(Range(kOne, LockMode::kShared, 1, 1), 1)), LockAnswer::kHeld);
  const LockWish wants = Waiting(Range(kTwo, LockMode::kShared, 0, 0), 1);
  EXPECT_EQ(Set(wants), LockAnswer::kDeadlock);
  EXPECT_TRUE(Assert(kOne, {Range(kOne, LockMode::kExclusive, 0, 0)}));
  EXPECT_EQ(Set(wants), LockAnswer::kHeld) << "nobody waits there any more";
}

}  // namespace
}  // namespace airstore::gateway
