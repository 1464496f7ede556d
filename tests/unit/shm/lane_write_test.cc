// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cerrno>
#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "shm/counters.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

std::vector<uint8_t> Content(size_t bytes, uint64_t seed) {
  std::vector<uint8_t> content(bytes);
  for (size_t i = 0; i < bytes; ++i) content[i] = static_cast<uint8_t>(seed * 31 + i * 7);
  return content;
}

bool Equal(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

TEST(LaneWrite, ArrivesWithItsBytes) {
  TestLane lane;
  const auto content = Content(5000, 1);
  EXPECT_EQ(lane.producer->QueueWrite(42, 1000, content, 77), 0u);
  const auto item = lane.Pop();
  EXPECT_EQ(item.op, QueueOp::kWrite);
  EXPECT_EQ(item.inode, 42u);
  EXPECT_EQ(item.offset, 1000u);
  EXPECT_EQ(item.time_ns, 77);
  EXPECT_TRUE(Equal(item.data, content));
  LaneConsumer::Item none;
  std::string why;
  EXPECT_EQ(lane.consumer->Pop(&none, &why), LaneConsumer::Next::kEmpty);
}

TEST(LaneWrite, OrderIsThatOfQueueing) {
  TestLane lane;
  lane.producer->QueueWrite(1, 0, Content(10, 1), 0);
  lane.producer->QueueRelease(1, kOpenPassthrough | kOpenForWrite);
  lane.producer->QueueForget(2);
  lane.producer->QueueWrite(1, 10, Content(20, 2), 0);
  EXPECT_EQ(lane.Pop().op, QueueOp::kWrite);
  const auto release = lane.Pop();
  EXPECT_EQ(release.op, QueueOp::kRelease);
  EXPECT_EQ(release.flags, kOpenPassthrough | kOpenForWrite);
  EXPECT_EQ(lane.Pop().op, QueueOp::kForget);
  EXPECT_EQ(lane.Pop().offset, 10u);
}

TEST(LaneWrite, EmptyWriteTakesNoArena) {
  TestLane lane;
  lane.producer->QueueWrite(1, 5, {}, 0);
  const auto item = lane.Pop();
  EXPECT_TRUE(item.data.empty());
  EXPECT_EQ(item.arena_end, 0u);
}

TEST(LaneWrite, ContentSurvivesTheRingsEnd) {
  TestLane lane;
  std::mt19937 random(3);
  uint64_t total = 0;
  for (uint64_t i = 0; total < 3 * kArenaBytes; ++i) {
    const auto content = Content(1 + random() % kMaxWrite, i);
    total += content.size();
    lane.producer->QueueWrite(9, i, content, 0);
    const auto item = lane.Pop();
    ASSERT_EQ(item.offset, i);
    ASSERT_TRUE(Equal(item.data, content));
    lane.consumer->MarkApplied();
  }
}

TEST(LaneWrite, OpenGateCostsNothing) {
  TestLane lane;
  EXPECT_EQ(lane.producer->AwaitRoom(kMaxWrite, {}), 0);
  EXPECT_EQ(lane.consumer->Counter(kWriteStalls), 0u);
}

int64_t NowNs() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

TEST(LaneWrite, NarrowGateSlowsWritesBySize) {
  TestLane lane;
  lane.consumer->SetWriteGate(40'000, 0, 1000);
  const int64_t begin = NowNs();
  EXPECT_EQ(lane.producer->AwaitRoom(kMaxWrite, {}), 0);
  EXPECT_GE(NowNs() - begin, 40'000'000);
  const int64_t small = NowNs();
  EXPECT_EQ(lane.producer->AwaitRoom(512, {}), 0);
  EXPECT_LT(NowNs() - small, 30'000'000);
}

TEST(LaneWrite, ClosedGateFailsWhenItHasBeenClosedForLong) {
  TestLane lane;
  lane.consumer->SetWriteGate(kWriteGateClosed, NowNs(), 50);
  const int64_t begin = NowNs();
  EXPECT_EQ(lane.producer->AwaitRoom(1, {}), ENOSPC);
  EXPECT_GE(NowNs() - begin, 40'000'000);
  const int64_t again = NowNs();
  EXPECT_EQ(lane.producer->AwaitRoom(1, {}), ENOSPC);
  EXPECT_LT(NowNs() - again, 30'000'000);
}

TEST(LaneWrite, GateThatOpensLetsWritersGoOn) {
  TestLane lane;
  lane.consumer->SetWriteGate(kWriteGateClosed, NowNs(), 60'000);
  std::atomic<int> result{-1};
  std::thread writer([&] { result.store(lane.producer->AwaitRoom(1, {})); });
  while (lane.consumer->Counter(kWriteStalls) == 0) std::this_thread::yield();
  EXPECT_EQ(result.load(), -1);
  lane.consumer->SetWriteGate(0, 0, 60'000);
  writer.join();
  EXPECT_EQ(result.load(), 0);
}

TEST(LaneWrite, WaitAtTheGateCanBeInterrupted) {
  TestLane lane;
  lane.consumer->SetWriteGate(kWriteGateClosed, NowNs(), 60'000);
  std::atomic<bool> interrupted{false};
  std::atomic<int> result{-1};
  std::thread writer(
      [&] { result.store(lane.producer->AwaitRoom(1, [&] { return interrupted.load(); })); });
  while (lane.consumer->Counter(kWriteStalls) == 0) std::this_thread::yield();
  interrupted.store(true);
  lane.producer->Interrupt();
  writer.join();
  EXPECT_EQ(result.load(), EINTR);
}

TEST(LaneWrite, FullArenaHoldsTheWriterBack) {
  TestLane lane;
  const auto content = Content(kMaxWrite, 1);
  for (uint64_t i = 0; i < kArenaBytes / kMaxWrite; ++i) {
    lane.producer->QueueWrite(1, i, content, 0);
  }
  std::atomic<bool> queued{false};
  std::thread writer([&] {
    lane.producer->QueueWrite(2, 0, content, 0);
    queued.store(true);
  });
  while (lane.consumer->Counter(kQueueFullWaits) == 0) std::this_thread::yield();
  EXPECT_FALSE(queued.load());
  EXPECT_EQ(lane.Pop().inode, 1u);
  EXPECT_FALSE(queued.load());
  lane.consumer->MarkApplied();
  writer.join();
  EXPECT_TRUE(queued.load());
}

TEST(LaneWrite, FullQueueHoldsTheWriterBack) {
  TestLane lane;
  for (uint32_t i = 0; i < kQueueRecords; ++i) lane.producer->QueueForget(i + 1);
  std::thread writer([&] { lane.producer->QueueWrite(9999, 0, {}, 0); });
  while (lane.consumer->Counter(kQueueFullWaits) == 0) std::this_thread::yield();
  for (uint32_t i = 0; i < kQueueRecords; ++i) ASSERT_EQ(lane.Pop().inode, i + 1);
  lane.consumer->MarkApplied();
  writer.join();
  EXPECT_EQ(lane.Pop().inode, 9999u);
}

TEST(LaneWrite, ManyWritersKeepOrderEachAndContent) {
  TestLane lane;
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 2000;
  std::map<uint64_t, uint64_t> next;
  {
    ServingThread broker(&lane, [&](LaneConsumer& consumer, const LaneConsumer::Item& item) {
      ASSERT_EQ(item.op, QueueOp::kWrite);
      ASSERT_EQ(item.offset, next[item.inode]++);
      ASSERT_TRUE(Equal(item.data, Content(item.data.size(), item.inode + item.offset)));
      if (item.offset % 50 == 0) consumer.MarkApplied();
    });
    std::vector<std::thread> writers;
    for (uint64_t inode = 1; inode <= kThreads; ++inode) {
      writers.emplace_back([&lane, inode] {
        std::mt19937_64 random(inode);
        std::optional<uint64_t> place;
        for (uint64_t i = 0; i < kEach; ++i) {
          const size_t bytes = random() % (i % 100 == 0 ? kMaxWrite : 20'000);
          place = lane.producer->QueueWrite(inode, i, Content(bytes, inode + i), 0);
        }
        lane.producer->WaitApplied(*place);
      });
    }
    for (std::thread& writer : writers) writer.join();
  }
  for (uint64_t inode = 1; inode <= kThreads; ++inode) EXPECT_EQ(next[inode], kEach);
}

TEST(LaneWrite, WaitWritesReturnsWhenTheInodesWritesAreApplied) {
  TestLane lane;
  std::atomic<uint64_t> applied{0};
  ServingThread broker(&lane, [&](LaneConsumer&, const LaneConsumer::Item&) { ++applied; });
  lane.producer->WaitWrites(5);
  for (uint64_t i = 1; i <= 2000; ++i) {
    lane.producer->QueueWrite(5, i, Content(100, i), 0);
    lane.producer->WaitWrites(5);
    ASSERT_EQ(applied.load(), i);
  }
}

TEST(LaneWrite, WaitWritesOfAnotherInodeNeedsNoBroker) {
  TestLane lane;
  lane.producer->QueueWrite(5, 0, Content(100, 1), 0);
  lane.producer->WaitWrites(6);
}

TEST(LaneWrite, NewFrontendWaitsForItsPredecessorsWrites) {
  TestLane lane;
  lane.producer->QueueWrite(5, 0, Content(100, 1), 0);
  lane.AttachProducer();
  std::atomic<bool> waited{false};
  std::thread waiter([&] {
    lane.producer->WaitWrites(5);
    waited.store(true);
  });
  EXPECT_EQ(lane.Pop().inode, 5u);
  EXPECT_FALSE(waited.load());
  lane.consumer->MarkApplied();
  waiter.join();
}

TEST(LaneWrite, NewFrontendContinuesBehindItsPredecessor) {
  TestLane lane;
  const auto old_content = Content(3000, 1);
  const auto new_content = Content(3000, 2);
  lane.producer->QueueWrite(5, 0, old_content, 0);
  lane.AttachProducer();
  EXPECT_EQ(lane.producer->QueueWrite(5, 1, new_content, 0), 1u);
  const auto first = lane.Pop();
  const auto second = lane.Pop();
  EXPECT_TRUE(Equal(first.data, old_content));
  EXPECT_TRUE(Equal(second.data, new_content));
}

TEST(LaneAttach, FrontendMapsWhatItReceived) {
  TestLane lane;
  lane.producer.reset();
  const auto attach = [&](const Segment& segment, SegmentKind kind) {
    return Segment::Attach(UniqueFd(fcntl(segment.fd(), F_DUPFD_CLOEXEC, 0)),
                           {kind, TestSession(), TestLane::kMount}, true);
  };
  auto lane_segment = attach(lane.consumer->lane(), SegmentKind::kLane);
  auto arena_segment = attach(lane.consumer->arena(), SegmentKind::kArena);
  ASSERT_TRUE(lane_segment.has_value() && arena_segment.has_value());
  auto producer =
      LaneProducer::Attach(std::move(*lane_segment), std::move(*arena_segment), lane.wake.get());
  ASSERT_TRUE(producer.has_value()) << producer.error().ToString();
  const auto content = Content(5000, 1);
  (*producer)->QueueWrite(42, 1000, content, 77);
  EXPECT_TRUE(Equal(lane.Pop().data, content));
}

TEST(LaneAttach, RefusesSegmentsThatAreTooShort) {
  TestLane lane;
  TempDir directory;
  const auto small = [&] {
    return std::move(*Segment::CreateSpool({SegmentKind::kArena, TestSession(), 0}, 4096,
                                           directory.Path("small")));
  };
  EXPECT_FALSE(
      LaneProducer::Attach(small(), std::move(*lane.consumer->arena().Alias()), lane.wake.get())
          .has_value());
  EXPECT_FALSE(
      LaneProducer::Attach(std::move(*lane.consumer->lane().Alias()), small(), lane.wake.get())
          .has_value());
  lane.layout()->cursors.inode_uses = TestLane::kUses + 1;
  EXPECT_FALSE(LaneProducer::Attach(std::move(*lane.consumer->lane().Alias()),
                                    std::move(*lane.consumer->arena().Alias()), lane.wake.get())
                   .has_value());
}

TEST(LaneUse, IndexesOutOfRangeHaveNone) {
  TestLane lane;
  EXPECT_EQ(lane.producer->Use(kNoIndex), nullptr);
  EXPECT_EQ(lane.producer->Use(TestLane::kUses), nullptr);
  ASSERT_NE(lane.producer->Use(TestLane::kUses - 1), nullptr);
  lane.producer->Use(7)->lookups.store(3);
  lane.producer->Use(7)->opens.store(2);
  EXPECT_EQ(lane.consumer->Lookups(7), 3u);
  EXPECT_EQ(lane.consumer->Opens(7), 2u);
  EXPECT_EQ(lane.consumer->Lookups(TestLane::kUses), 0u);
  EXPECT_EQ(lane.consumer->Opens(~0u), 0u);
}

TEST(LaneUse, CountersAndHistogramsAreSeenByTheBroker) {
  TestLane lane;
  lane.producer->Count(kReadBytes, 4096);
  lane.producer->Count(kReadBytes);
  EXPECT_EQ(lane.consumer->Counter(kReadBytes), 4097u);
  lane.producer->Observe(kLatencyRead, 0);
  lane.producer->Observe(kLatencyRead, 1);
  lane.producer->Observe(kLatencyRead, 1024);
  lane.producer->Observe(kLatencyRead, 2047);
  lane.producer->Observe(kLatencyRead, ~0ull);
  EXPECT_EQ(lane.consumer->HistogramBucket(kLatencyRead, 0), 2u);
  EXPECT_EQ(lane.consumer->HistogramBucket(kLatencyRead, 10), 2u);
  EXPECT_EQ(lane.consumer->HistogramBucket(kLatencyRead, kHistogramBuckets - 1), 1u);
  EXPECT_EQ(lane.consumer->Counter(kCounterWords), 0u);
  EXPECT_EQ(lane.consumer->HistogramBucket(kHistogramRows, 0), 0u);
}

TEST(LaneUse, HazardSlotsAreSeenByTheBroker) {
  TestLane lane;
  const uint64_t key = HazardKey(2, 8192);
  EXPECT_FALSE(HazardNames(*lane.consumer, key));
  lane.producer->Hazard(kHazardSlots - 1).extent.store(key);
  EXPECT_TRUE(HazardNames(*lane.consumer, key));
  EXPECT_FALSE(HazardNames(*lane.consumer, HazardKey(2, 4096)));
}

TEST(LaneUse, WhatWasUsedIsToldOnce) {
  TestLane lane;
  EXPECT_FALSE(lane.consumer->TakeUsed(5));
  lane.producer->Use(5)->used.store(1);
  EXPECT_TRUE(lane.consumer->TakeUsed(5));
  EXPECT_FALSE(lane.consumer->TakeUsed(5));
  EXPECT_FALSE(lane.consumer->TakeUsed(UINT32_MAX));
}

TEST(LaneUse, SecondMountMakesTheSessionShared) {
  TestLane lane;
  EXPECT_EQ(lane.producer->mount_index(), TestLane::kMount);
  EXPECT_FALSE(lane.producer->shared_session());
  lane.consumer->SetMounts(2);
  EXPECT_TRUE(lane.producer->shared_session());
}

}  // namespace
}  // namespace airstore::shm
