// SPDX-License-Identifier: Apache-2.0
//
// The lane's log of reads: nothing is lost that had room, nobody waits, what had none is counted.
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

NotedRead ReadOf(uint64_t inode, uint64_t offset) {
  NotedRead read;
  read.inode = inode;
  read.offset = offset;
  read.requested = 4096;
  read.bytes = 100;
  read.source = ReadSource::kContent;
  return read;
}

struct LaneReads : testing::Test {
  // How many announcements are queued.
  int Announced() {
    int count = 0;
    LaneConsumer::Item item;
    std::string why;
    while (lane.consumer->Pop(&item, &why) == LaneConsumer::Next::kItem) {
      EXPECT_EQ(item.op, QueueOp::kReads);
      ++count;
    }
    lane.consumer->MarkApplied();
    return count;
  }
  std::vector<NotedRead> Take(size_t most, bool* more = nullptr) {
    std::vector<NotedRead> reads;
    const bool rest = lane.consumer->TakeReads(most, &reads, &left_out);
    if (more != nullptr) *more = rest;
    return reads;
  }
  TestLane lane;
  uint64_t left_out = 0;
};

TEST_F(LaneReads, AreWantedOnlyWhenSomebodySaysSo) {
  EXPECT_FALSE(lane.producer->reads_wanted());
  lane.consumer->WantReads(true);
  EXPECT_TRUE(lane.producer->reads_wanted());
  lane.consumer->WantReads(false);
  EXPECT_FALSE(lane.producer->reads_wanted());
}

TEST_F(LaneReads, ComeInOrderAndAreAnnouncedOnce) {
  for (uint64_t i = 0; i < 10; ++i) lane.producer->NoteRead(ReadOf(7, i));
  EXPECT_EQ(Announced(), 1);
  bool more = true;
  auto reads = Take(4, &more);
  ASSERT_EQ(reads.size(), 4u);
  EXPECT_TRUE(more);
  reads = Take(100, &more);
  ASSERT_EQ(reads.size(), 6u);
  EXPECT_FALSE(more);
  EXPECT_EQ(reads[0].inode, 7u);
  EXPECT_EQ(reads[0].offset, 4u);
  EXPECT_EQ(reads[0].requested, 4096u);
  EXPECT_EQ(reads[0].bytes, 100u);
  EXPECT_EQ(reads[0].source, ReadSource::kContent);
  EXPECT_EQ(Announced(), 0);
  lane.producer->NoteRead(ReadOf(7, 10));
  EXPECT_EQ(Announced(), 1) << "the log was empty: the next one is told of again";
}

TEST_F(LaneReads, WhatFindsNoRoomIsCounted) {
  for (uint64_t i = 0; i < kReadEvents + 5; ++i) lane.producer->NoteRead(ReadOf(7, i));
  EXPECT_EQ(Announced(), 2) << "the first one, and half of them";
  bool more = true;
  auto reads = Take(2 * kReadEvents, &more);
  EXPECT_EQ(reads.size(), kReadEvents);
  EXPECT_EQ(reads.back().offset, kReadEvents - 1);
  EXPECT_EQ(left_out, 5u);
  EXPECT_FALSE(more);
  lane.producer->NoteRead(ReadOf(7, 9));
  reads = Take(10);
  EXPECT_EQ(reads.size(), 1u);
  EXPECT_EQ(left_out, 0u) << "they are counted once";
}

// A thread that died between taking its place and filling it holds up nobody.
TEST_F(LaneReads, APlaceThatNobodyFillsIsLeftOut) {
  lane.producer->NoteRead(ReadOf(7, 0));
  lane.layout()->reads.next.fetch_add(1);
  lane.producer->NoteRead(ReadOf(7, 2));
  bool more = false;
  EXPECT_EQ(Take(10, &more).size(), 1u);
  EXPECT_TRUE(more) << "it may still be filled";
  const auto reads = Take(10, &more);
  ASSERT_EQ(reads.size(), 1u);
  EXPECT_EQ(reads[0].offset, 2u);
  EXPECT_EQ(left_out, 1u);
  EXPECT_FALSE(more);
}

TEST_F(LaneReads, AFrontendThatBreaksTheRulesKeepsNobodyBusy) {
  lane.layout()->reads.next.store(~0ull);
  lane.layout()->reads.taken.store(5);
  bool more = true;
  std::vector<NotedRead> reads = Take(kReadEvents, &more);
  for (int i = 0; i < 3; ++i) reads = Take(kReadEvents, &more);
  EXPECT_TRUE(reads.empty());
  EXPECT_FALSE(more);
}

TEST_F(LaneReads, EachOneOfManyThreadsIsTakenOrCounted) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 20'000;
  std::atomic<uint64_t> running{kThreads};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kEach; ++i) lane.producer->NoteRead(ReadOf(t + 1, i));
      --running;
    });
  }
  uint64_t total = 0;
  uint64_t lost = 0;
  bool more = true;
  while (running != 0 || more) {
    for (const NotedRead& read : Take(kReadEvents, &more)) {
      ASSERT_GE(read.inode, 1u);
      ASSERT_LE(read.inode, kThreads);
      ++total;
    }
    lost += left_out;
    LaneConsumer::Item item;
    std::string why;
    while (lane.consumer->Pop(&item, &why) == LaneConsumer::Next::kItem) {
    }
    lane.consumer->MarkApplied();
  }
  for (std::thread& thread : threads) thread.join();
  total += Take(kReadEvents).size();
  lost += left_out;
  EXPECT_EQ(total + lost, kThreads * kEach);
}

}  // namespace
}  // namespace airstore::shm
