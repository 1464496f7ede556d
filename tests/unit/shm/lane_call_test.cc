// SPDX-License-Identifier: Apache-2.0
#include <deque>
#include <future>
#include <mutex>

#include "shm/counters.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

// Answers each call with its own arguments.
void Echo(LaneConsumer& consumer, const LaneConsumer::Item& item) {
  if (item.op != QueueOp::kCall) return;
  RequestReply reply{};
  reply.value = item.call.args.offset;
  reply.attr.inode = item.call.args.inode;
  reply.attr.size = item.call.name.size();
  reply.attr.mtime_ns = static_cast<int64_t>(item.call.name2.size());
  consumer.Reply(item.call.slot, reply);
}

TEST(LaneCall, ComesBackWithItsReply) {
  TestLane lane;
  ServingThread broker(&lane, Echo);
  RequestArgs args = ArgsOf(Op::kRename, 12);
  args.offset = 34;
  const RequestReply reply = lane.producer->CallBroker(args, "from", "to-there", {});
  EXPECT_EQ(reply.error, 0);
  EXPECT_EQ(reply.value, 34u);
  EXPECT_EQ(reply.attr.inode, 12u);
  EXPECT_EQ(reply.attr.size, 4u);
  EXPECT_EQ(reply.attr.mtime_ns, 8);
  EXPECT_EQ(lane.consumer->Counter(kBrokerCalls), 1u);
}

TEST(LaneCall, NamesArriveWhole) {
  TestLane lane;
  std::string name;
  std::string target;
  {
    ServingThread broker(&lane, [&](LaneConsumer& consumer, const LaneConsumer::Item& item) {
      name = item.call.name;
      target = item.call.name2;
      consumer.Reply(item.call.slot, RequestReply{});
    });
    lane.producer->CallBroker(ArgsOf(Op::kSymlink), std::string(255, 'n'), std::string(4095, 't'),
                              {});
  }
  EXPECT_EQ(name, std::string(255, 'n'));
  EXPECT_EQ(target, std::string(4095, 't'));
}

// Nobody serves: what is answered here has not gone to the broker.
TEST(LaneCall, MalformedCallsAreAnsweredWithoutTheBroker) {
  TestLane lane;
  const auto error = [&](Op op, std::string_view name, std::string_view name2) {
    return lane.producer->CallBroker(ArgsOf(op), name, name2, {}).error;
  };
  EXPECT_EQ(error(Op::kLookup, std::string(256, 'n'), ""), ENAMETOOLONG);
  EXPECT_EQ(error(Op::kRename, "a", std::string(256, 'n')), ENAMETOOLONG);
  EXPECT_EQ(error(Op::kSymlink, "a", std::string(4096, 'n')), ENAMETOOLONG);
  EXPECT_EQ(error(Op::kLookup, std::string(100'000, 'n'), ""), ENAMETOOLONG);
  EXPECT_EQ(error(Op::kLookup, "", ""), EINVAL);
  EXPECT_EQ(error(Op::kLookup, "a/b", ""), EINVAL);
  EXPECT_EQ(error(Op::kLookup, std::string_view("a\0b", 3), ""), EINVAL);
  EXPECT_EQ(error(Op::kGetattr, "name", ""), EINVAL);
  EXPECT_EQ(error(Op::kNone, "", ""), EINVAL);
  EXPECT_EQ(error(static_cast<Op>(1000), "", ""), EINVAL);
  LaneConsumer::Item item;
  std::string why;
  EXPECT_EQ(lane.consumer->Pop(&item, &why), LaneConsumer::Next::kEmpty);
}

TEST(LaneCall, SeesEveryWriteQueuedBeforeIt) {
  TestLane lane;
  uint64_t writes = 0;
  ServingThread broker(&lane, [&](LaneConsumer& consumer, const LaneConsumer::Item& item) {
    if (item.op == QueueOp::kWrite) {
      ++writes;
      return;
    }
    RequestReply reply{};
    reply.value = writes;
    consumer.Reply(item.call.slot, reply);
  });
  const std::vector<uint8_t> bytes(100);
  uint64_t queued = 0;
  for (int i = 0; i < 500; ++i) {
    for (int j = 0; j < i % 5; ++j, ++queued) lane.producer->QueueWrite(1, 0, bytes, 0);
    ASSERT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", {}).value, queued);
  }
}

TEST(LaneCall, ManyThreadsGetTheirOwnAnswers) {
  TestLane lane;
  ServingThread broker(&lane, Echo);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 8; ++t) {
    threads.emplace_back([&lane, t] {
      for (uint64_t i = 0; i < 3000; ++i) {
        RequestArgs args = ArgsOf(Op::kGetattr, t * 100'000 + i);
        args.offset = t + i;
        const RequestReply reply = lane.producer->CallBroker(args, "", "", {});
        ASSERT_EQ(reply.attr.inode, t * 100'000 + i);
        ASSERT_EQ(reply.value, t + i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(LaneCall, MoreCallersThanSlotsAllGetAnswers) {
  TestLane lane;
  std::vector<std::thread> threads;
  std::atomic<uint32_t> answered{0};
  for (uint32_t t = 0; t < kRequestSlots + 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        if (lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", {}).error == 0) ++answered;
      }
    });
  }
  {
    ServingThread broker(&lane, Echo);
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(answered.load(), (kRequestSlots + 16) * 20);
}

TEST(LaneCall, AnswersMayComeOutOfOrder) {
  TestLane lane;
  auto first = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kGetattr, 1), "", "", {}).value;
  });
  auto second = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kGetattr, 2), "", "", {}).value;
  });
  std::vector<LaneConsumer::Item> items;
  while (items.size() < 2) {
    LaneConsumer::Item item;
    std::string why;
    if (lane.consumer->Pop(&item, &why) == LaneConsumer::Next::kItem) items.push_back(item);
  }
  lane.consumer->MarkApplied();
  for (size_t i : {size_t{1}, size_t{0}}) {
    RequestReply reply{};
    reply.value = items[i].call.args.inode * 10;
    lane.consumer->Reply(items[i].call.slot, reply);
  }
  EXPECT_EQ(first.get(), 10u);
  EXPECT_EQ(second.get(), 20u);
}

TEST(LaneCall, ReplyToNoCallIsDropped) {
  TestLane lane;
  lane.consumer->Reply(5, RequestReply{});
  lane.consumer->Reply(1000, RequestReply{});
  EXPECT_EQ(lane.layout()->slots[5].state.load(), static_cast<uint32_t>(SlotState::kFree));
}

TEST(LaneInterrupt, WakesAWaitingCall) {
  TestLane lane;
  std::atomic<bool> interrupt{false};
  auto call = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", [&] { return interrupt.load(); })
        .error;
  });
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  lane.producer->Interrupt();  // not meant for this call: it goes on waiting
  interrupt.store(true);
  lane.producer->Interrupt();
  EXPECT_EQ(call.get(), EINTR);
  lane.consumer->Reply(item.call.slot, RequestReply{});
}

TEST(LaneInterrupt, OfOthersLeavesACallWaiting) {
  TestLane lane;
  std::atomic<int> asked{0};
  auto call = std::async(std::launch::async, [&] {
    return lane.producer
        ->CallBroker(ArgsOf(Op::kGetattr), "", "",
                     [&] {
                       ++asked;
                       return false;
                     })
        .value;
  });
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  while (asked.load() < 20) lane.producer->Interrupt();
  RequestReply reply{};
  reply.value = 5;
  lane.consumer->Reply(item.call.slot, reply);
  EXPECT_EQ(call.get(), 5u);
}

TEST(LaneInterrupt, IsNeverLost) {
  TestLane lane;
  // Answers only when half of the slots are held: nearly every call ends by its interruption.
  std::deque<uint32_t> held;
  ServingThread broker(&lane, [&held](LaneConsumer& consumer, const LaneConsumer::Item& item) {
    held.push_back(item.call.slot);
    if (held.size() > kRequestSlots / 2) {
      consumer.Reply(held.front(), RequestReply{});
      held.pop_front();
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&lane] {
      for (int i = 0; i < 2000; ++i) {
        std::atomic<bool> interrupt{false};
        auto call = std::async(std::launch::async, [&] {
          return lane.producer
              ->CallBroker(ArgsOf(Op::kGetattr), "", "", [&] { return interrupt.load(); })
              .error;
        });
        for (int spin = 0; spin < i % 50; ++spin) std::this_thread::yield();
        interrupt.store(true);
        lane.producer->Interrupt();
        const int error = call.get();
        ASSERT_TRUE(error == EINTR || error == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(LaneInterrupt, SlotIsReusedOnceTheBrokerIsDone) {
  TestLane lane;
  const auto always = [] { return true; };
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    ASSERT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", always).error, EINTR);
  }
  // All slots belong to calls nobody waits for, and the broker has not answered: no room.
  ASSERT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", always).error, EINTR);
  std::vector<uint32_t> slots;
  for (uint32_t i = 0; i < kRequestSlots; ++i) slots.push_back(lane.Pop().call.slot);
  lane.consumer->MarkApplied();
  auto waiting = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", {}).value;
  });
  lane.consumer->Reply(slots[40], RequestReply{});
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  EXPECT_EQ(item.call.slot, slots[40]);
  RequestReply reply{};
  reply.value = 7;
  lane.consumer->Reply(item.call.slot, reply);
  EXPECT_EQ(waiting.get(), 7u);
}

TEST(LaneInterrupt, EndsTheWaitForRoomInTheQueue) {
  TestLane lane;
  for (uint32_t i = 0; i < kQueueRecords; ++i) lane.producer->QueueForget(i + 1);
  std::atomic<bool> interrupt{false};
  auto call = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", [&] { return interrupt.load(); })
        .error;
  });
  while (lane.consumer->Counter(kQueueFullWaits) == 0) std::this_thread::yield();
  interrupt.store(true);
  lane.producer->Interrupt();
  EXPECT_EQ(call.get(), EINTR);
  for (const RequestSlot& slot : lane.layout()->slots) {
    EXPECT_EQ(slot.state.load(), static_cast<uint32_t>(SlotState::kFree));
  }
}

}  // namespace
}  // namespace airstore::shm
