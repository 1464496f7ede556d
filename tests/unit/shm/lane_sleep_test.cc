// SPDX-License-Identifier: Apache-2.0
//
// Sleeping and waking: a lost wake shows as a test that never ends.
#include "shm/counters.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

TEST(LaneSleep, BrokerWithARecordStaysAwake) {
  TestLane lane;
  lane.producer->QueueForget(1);
  EXPECT_FALSE(lane.consumer->PrepareSleep());
  EXPECT_EQ(lane.layout()->cursors.broker_sleeps.load(), 0u);
  lane.Pop();
  EXPECT_TRUE(lane.consumer->PrepareSleep());
}

TEST(LaneSleep, SleepingBrokerIsWokenOnce) {
  TestLane lane;
  ASSERT_TRUE(lane.consumer->PrepareSleep());
  lane.producer->QueueForget(1);
  lane.producer->QueueForget(2);
  uint64_t count = 0;
  ASSERT_EQ(read(lane.wake.get(), &count, sizeof(count)), ssize_t{sizeof(count)});
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(lane.consumer->Counter(kBrokerWakes), 1u);
}

TEST(LaneSleep, NextFrontendMakesUpForAWakeItsPredecessorOwed) {
  TestLane lane;
  ASSERT_TRUE(lane.consumer->PrepareSleep());
  // As if the first had died between clearing the word and writing the eventfd.
  lane.layout()->cursors.broker_sleeps.store(0);
  lane.producer->QueueForget(1);
  lane.AttachProducer();
  uint64_t count = 0;
  EXPECT_EQ(read(lane.wake.get(), &count, sizeof(count)), ssize_t{sizeof(count)});
}

TEST(LaneSleep, AwakeBrokerCostsNoSystemCall) {
  TestLane lane;
  lane.producer->QueueForget(1);
  EXPECT_EQ(lane.consumer->Counter(kBrokerWakes), 0u);
  uint64_t count = 0;
  EXPECT_EQ(read(lane.wake.get(), &count, sizeof(count)), -1);
}

TEST(LaneSleep, NoWakeIsLostInManyRounds) {
  TestLane lane;
  std::atomic<uint64_t> seen{0};
  constexpr uint64_t kRounds = 100'000;
  {
    ServingThread broker(&lane, [&](LaneConsumer& consumer, const LaneConsumer::Item& item) {
      seen.fetch_add(1, std::memory_order_relaxed);
      if (item.op == QueueOp::kCall) consumer.Reply(item.call.slot, RequestReply{});
    });
    const auto rounds = [&lane] {
      for (uint64_t i = 0; i < kRounds; ++i) {
        if (i % 4 == 0) {
          ASSERT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", {}).error, 0);
        } else {
          lane.producer->WaitApplied(*lane.producer->QueueWrite(i + 1, 0, {}, 0));
        }
      }
    };
    std::thread other(rounds);
    rounds();
    other.join();
  }
  EXPECT_EQ(seen.load(), 2 * kRounds);
  EXPECT_GT(lane.consumer->Counter(kBrokerWakes), 0u);
}

}  // namespace
}  // namespace airstore::shm
