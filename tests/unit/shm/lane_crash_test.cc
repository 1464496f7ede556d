// SPDX-License-Identifier: Apache-2.0
//
// A frontend killed at any instruction: what it was promised arrives, and the next one goes on.
#include <sys/mman.h>
#include <sys/wait.h>

#include <csignal>
#include <map>
#include <random>

#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

constexpr uint64_t kWriters = 3;
constexpr size_t kStampBytes = 16;

// What the child's threads were told, in memory that outlives it: writes acknowledged per thread.
struct Acknowledged {
  std::atomic<uint64_t> writes[kWriters];
  std::atomic<uint64_t> calls;
};

Acknowledged* SharedAcknowledged() {
  void* memory = mmap(nullptr, sizeof(Acknowledged), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(memory, MAP_FAILED);
  return new (memory) Acknowledged{};
}

size_t BytesOf(uint64_t writer, uint64_t sequence) {
  return kStampBytes + (writer * 7919 + sequence * 104'729) % 5'000;
}

// Every byte follows from writer and sequence, so that a torn payload shows.
void Fill(std::vector<uint8_t>* out, uint64_t writer, uint64_t sequence) {
  out->resize(BytesOf(writer, sequence));
  for (size_t i = 0; i < out->size(); ++i) {
    (*out)[i] = static_cast<uint8_t>(writer * 13 + sequence * 31 + i);
  }
}

[[noreturn]] void RunFrontend(TestLane* lane, Acknowledged* acknowledged, uint64_t life) {
  lane->AttachProducer();
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([=] {
      std::vector<uint8_t> bytes;
      for (uint64_t sequence = 0;; ++sequence) {
        Fill(&bytes, writer, sequence);
        lane->producer->QueueWrite(1 + writer, sequence, bytes, static_cast<int64_t>(life));
        acknowledged->writes[writer].store(sequence + 1);
      }
    });
  }
  for (;;) {
    lane->producer->CallBroker(ArgsOf(Op::kGetattr), "", "", {});
    acknowledged->calls.fetch_add(1);
  }
}

// The broker's side of the lives of several frontends.
class Survivor {
 public:
  explicit Survivor(TestLane* lane) : lane_(lane) {}

  void BeginLife(int64_t life) {
    life_ = life;
    next_.clear();
  }

  // Everything there is; false when the lane is empty.
  bool Drain() {
    LaneConsumer::Item item;
    std::string why;
    bool any = false;
    LaneConsumer::Next next;
    while ((next = lane_->consumer->Pop(&item, &why)) == LaneConsumer::Next::kItem) {
      any = true;
      if (item.op == QueueOp::kCall) {
        lane_->consumer->Reply(item.call.slot, RequestReply{});
        continue;
      }
      EXPECT_EQ(item.op, QueueOp::kWrite);
      EXPECT_EQ(item.time_ns, life_);
      const uint64_t writer = item.inode - 1;
      EXPECT_EQ(item.offset, next_[writer]++) << "writer " << writer;
      Fill(&expected_, writer, item.offset);
      EXPECT_TRUE(
          std::equal(item.data.begin(), item.data.end(), expected_.begin(), expected_.end()));
    }
    EXPECT_EQ(next, LaneConsumer::Next::kEmpty) << why;
    lane_->consumer->MarkApplied();
    return any;
  }

  uint64_t next(uint64_t writer) { return next_[writer]; }

 private:
  TestLane* lane_;
  int64_t life_ = 0;
  std::map<uint64_t, uint64_t> next_;
  std::vector<uint8_t> expected_;
};

TEST(LaneCrash, KilledFrontendLosesNothingItWasPromised) {
  TestLane lane;
  lane.producer.reset();
  Acknowledged* acknowledged = SharedAcknowledged();
  Survivor survivor(&lane);
  std::mt19937 random(11);
  for (uint64_t life = 0; life < 30 && !HasFailure(); ++life) {
    for (std::atomic<uint64_t>& count : acknowledged->writes) count.store(0);
    survivor.BeginLife(static_cast<int64_t>(life));
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) RunFrontend(&lane, acknowledged, life);
    const uint64_t enough = 1 + random() % 500;
    while (acknowledged->writes[0].load() < enough) {
      if (!survivor.Drain()) std::this_thread::yield();
    }
    // Sometimes with a full queue, and writers asleep.
    if (life % 3 == 0) std::this_thread::yield();
    ASSERT_EQ(kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    lane.consumer->FrontendGone();
    survivor.Drain();
    for (uint64_t writer = 0; writer < kWriters; ++writer) {
      ASSERT_GE(survivor.next(writer), acknowledged->writes[writer].load());
    }
    uint32_t busy = 0;
    for (const RequestSlot& slot : lane.layout()->slots) {
      if (slot.state.load() == static_cast<uint32_t>(SlotState::kSubmitted)) ++busy;
    }
    ASSERT_EQ(busy, 0u);
  }
  EXPECT_GT(acknowledged->calls.load(), 0u);
}

TEST(LaneCrash, AGapOfADeadThreadIsClosed) {
  TestLane lane;
  const std::vector<uint8_t> bytes(100, 7);
  lane.producer->QueueWrite(1, 0, bytes, 0);
  lane.producer->QueueWrite(2, 0, bytes, 0);
  lane.producer->QueueWrite(3, 0, bytes, 0);
  // As if the thread of the second record had died before publishing it.
  lane.layout()->queue[1].position.store(0);
  EXPECT_EQ(lane.Pop().inode, 1u);
  LaneConsumer::Item item;
  std::string why;
  ASSERT_EQ(lane.consumer->Pop(&item, &why), LaneConsumer::Next::kEmpty);
  lane.consumer->FrontendGone();
  EXPECT_EQ(lane.Pop().inode, 3u);
  lane.AttachProducer();
  lane.producer->QueueWrite(4, 0, bytes, 0);
  EXPECT_EQ(lane.Pop().inode, 4u);
}

TEST(LaneCrash, NextFrontendClosesTheGapToo) {
  TestLane lane;
  lane.producer->QueueForget(1);
  lane.producer->QueueForget(2);
  lane.layout()->queue[0].position.store(0);
  lane.AttachProducer();
  lane.producer->QueueForget(3);
  EXPECT_EQ(lane.Pop().inode, 2u);
  EXPECT_EQ(lane.Pop().inode, 3u);
}

// A broker says first that it has applied a write, and then how far it is in the arena.
TEST(LaneCrash, NextFrontendFindsItsPlaceInTheArenaBetweenTwoStoresOfTheBroker) {
  TestLane lane;
  const std::vector<uint8_t> bytes(100, 7);
  lane.producer->QueueWrite(1, 0, bytes, 0);
  EXPECT_EQ(lane.Pop().inode, 1u);
  lane.layout()->cursors.applied.store(1);
  lane.AttachProducer();
  lane.consumer->MarkApplied();
  lane.producer->QueueWrite(2, 0, bytes, 0);
  EXPECT_EQ(lane.Pop().inode, 2u);
}

TEST(LaneCrash, WhatFrontendsSayOfTheBrokersPlaceIsNotBelieved) {
  TestLane lane;
  lane.producer->QueueForget(1);
  EXPECT_EQ(lane.Pop().inode, 1u);
  lane.consumer->MarkApplied();
  lane.producer->QueueForget(2);
  lane.layout()->cursors.applied.store(uint64_t{1} << 40);
  lane.consumer->FrontendGone();
  EXPECT_EQ(lane.Pop().inode, 2u);
}

TEST(LaneCrash, AnswersToADeadFrontendFreeTheirSlots) {
  TestLane lane;
  const auto always = [] { return true; };
  ASSERT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", always).error, EINTR);
  const uint32_t slot = lane.Pop().call.slot;
  lane.consumer->MarkApplied();
  lane.consumer->FrontendGone();
  lane.AttachProducer();
  lane.consumer->Reply(slot, RequestReply{});
  // All slots again, the answered one among them.
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    ASSERT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", always).error, EINTR);
    lane.Pop();
  }
}

TEST(LaneCrash, CallThatWasNeverSentFreesItsSlot) {
  TestLane lane;
  lane.layout()->slots[9].state.store(static_cast<uint32_t>(SlotState::kSubmitted));
  lane.consumer->FrontendGone();
  EXPECT_EQ(lane.layout()->slots[9].state.load(), static_cast<uint32_t>(SlotState::kFree));
}

TEST(LaneCrash, HazardsOfADeadFrontendAreVoid) {
  TestLane lane;
  lane.producer->Hazard(4).extent.store(HazardKey(0, 4096));
  lane.consumer->FrontendGone();
  EXPECT_FALSE(HazardNames(*lane.consumer, HazardKey(0, 4096)));
}

}  // namespace
}  // namespace airstore::shm
