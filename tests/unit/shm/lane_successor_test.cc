// SPDX-License-Identifier: Apache-2.0
//
// A request that is sent again to the successor of a dead frontend takes effect once.
#include <thread>

#include "shm/counters.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

constexpr uint64_t kUnique = 42;

RequestArgs Of(Op op, uint64_t unique = kUnique) {
  RequestArgs args = ArgsOf(op);
  args.unique = unique;
  return args;
}

// The thread that serves a request in a frontend that dies: it never gets to EndRequest.
class DyingThread {
 public:
  DyingThread(TestLane* lane, const std::function<void(LaneProducer&)>& work)
      : thread_([lane, work] {
          lane->producer->BeginRequest(kUnique, false);
          work(*lane->producer);
        }) {}
  ~DyingThread() { Join(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

void Replace(TestLane* lane) {
  lane->consumer->FrontendGone();
  lane->AttachProducer();
}

LaneConsumer::Item WaitFor(TestLane* lane) {
  LaneConsumer::Item item;
  std::string why;
  while (lane->consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  return item;
}

bool Empty(TestLane* lane) {
  LaneConsumer::Item item;
  std::string why;
  return lane->consumer->Pop(&item, &why) == LaneConsumer::Next::kEmpty;
}

void AnswerMkdir(TestLane* lane, uint64_t value) {
  DyingThread thread(lane, [](LaneProducer& p) { p.CallBroker(Of(Op::kMkdir), "name", "", {}); });
  RequestReply reply{};
  reply.value = value;
  lane->consumer->Reply(WaitFor(lane).call.slot, reply);
  thread.Join();
  lane->consumer->MarkApplied();
}

TEST(LaneSuccessor, FindsTheAnswerToAnInterruptedRequest) {
  TestLane lane;
  AnswerMkdir(&lane, 99);
  Replace(&lane);
  lane.producer->BeginRequest(kUnique, true);
  EXPECT_EQ(lane.producer->CallBroker(Of(Op::kMkdir), "name", "", {}).value, 99u);
  lane.producer->EndRequest();
  EXPECT_TRUE(Empty(&lane));
  EXPECT_EQ(lane.consumer->Counter(kLeftCalls), 1u);
}

TEST(LaneSuccessor, FindsItAfterSeveralDeaths) {
  TestLane lane;
  AnswerMkdir(&lane, 99);
  for (int i = 0; i < 3; ++i) Replace(&lane);
  lane.producer->BeginRequest(kUnique, true);
  EXPECT_EQ(lane.producer->CallBroker(Of(Op::kMkdir), "name", "", {}).value, 99u);
  lane.producer->EndRequest();
}

TEST(LaneSuccessor, WaitsForACallThatIsUnderWay) {
  TestLane lane;
  const auto given_up = [] { return true; };
  DyingThread(&lane, [&](LaneProducer& p) { p.CallBroker(Of(Op::kMkdir), "name", "", given_up); });
  const uint32_t slot = lane.Pop().call.slot;
  Replace(&lane);
  std::thread answer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    RequestReply reply{};
    reply.value = 7;
    lane.consumer->Reply(slot, reply);
  });
  lane.producer->BeginRequest(kUnique, true);
  EXPECT_EQ(lane.producer->CallBroker(Of(Op::kMkdir), "name", "", {}).value, 7u);
  lane.producer->EndRequest();
  answer.join();
}

// All that tells another call, one at a time.
TEST(LaneSuccessor, MakesAnotherCallItself) {
  struct {
    uint64_t unique;
    Op op;
    const char* name;
  } const cases[] = {
      {43, Op::kMkdir, "name"}, {kUnique, Op::kUnlink, "name"}, {kUnique, Op::kMkdir, "mane"}};
  for (const auto& other : cases) {
    TestLane lane;
    AnswerMkdir(&lane, 99);
    Replace(&lane);
    std::thread caller([&] {
      lane.producer->BeginRequest(other.unique, true);
      const auto reply = lane.producer->CallBroker(Of(other.op, other.unique), other.name, "", {});
      EXPECT_EQ(reply.value, 1u);
      lane.producer->EndRequest();
    });
    RequestReply reply{};
    reply.value = 1;
    lane.consumer->Reply(WaitFor(&lane).call.slot, reply);
    caller.join();
  }
}

TEST(LaneSuccessor, ACallThatOnlyAsksIsMadeAgain) {
  TestLane lane;
  {
    DyingThread thread(&lane,
                       [](LaneProducer& p) { p.CallBroker(Of(Op::kLookup), "name", "", {}); });
    lane.consumer->Reply(WaitFor(&lane).call.slot, RequestReply{});
  }
  Replace(&lane);
  std::thread caller([&] {
    lane.producer->BeginRequest(kUnique, true);
    lane.producer->CallBroker(Of(Op::kLookup), "name", "", {});
    lane.producer->EndRequest();
  });
  lane.consumer->Reply(WaitFor(&lane).call.slot, RequestReply{});
  caller.join();
}

TEST(LaneSuccessor, EndOfARequestFreesItsSlot) {
  TestLane lane;
  for (uint32_t i = 0; i < 3 * kRequestSlots; ++i) {
    std::thread caller([&] {
      lane.producer->BeginRequest(i + 1, false);
      lane.producer->CallBroker(Of(Op::kMkdir, i + 1), "name", "", {});
      lane.producer->EndRequest();
    });
    lane.consumer->Reply(WaitFor(&lane).call.slot, RequestReply{});
    caller.join();
  }
}

TEST(LaneSuccessor, WhatIsNotAskedForIsDropped) {
  TestLane lane;
  AnswerMkdir(&lane, 99);
  Replace(&lane);
  lane.producer->DropLeft();
  std::thread caller([&] {
    lane.producer->BeginRequest(kUnique, true);
    EXPECT_EQ(lane.producer->CallBroker(Of(Op::kMkdir), "name", "", {}).value, 0u);
    lane.producer->EndRequest();
  });
  lane.consumer->Reply(WaitFor(&lane).call.slot, RequestReply{});
  caller.join();
  EXPECT_TRUE(lane.consumer->RequestsInWork().empty());
}

// Who waits for the end of an append sees whether its slot is kept.
TEST(LaneSuccessor, NothingIsKeptForWhatIsNotAskedFor) {
  TestLane lane;
  DyingThread thread(&lane, [](LaneProducer& p) {
    RequestArgs args = Of(Op::kAppend);
    args.size = 10;
    p.CallBroker(args, "", "", {});
  });
  const Call call = WaitFor(&lane).call;
  lane.consumer->Reply(call.slot, RequestReply{});
  thread.Join();
  lane.consumer->MarkApplied();
  Replace(&lane);
  EXPECT_TRUE(lane.consumer->Keeps(call.slot, call.position));
  lane.producer->DropLeft();
  EXPECT_FALSE(lane.consumer->Keeps(call.slot, call.position));
}

TEST(LaneSuccessor, WhatIsNotAskedForAndUnderWayIsUndone) {
  TestLane lane;
  const auto given_up = [] { return true; };
  DyingThread(&lane, [&](LaneProducer& p) { p.CallBroker(Of(Op::kMkdir), "name", "", given_up); });
  const uint32_t slot = lane.Pop().call.slot;
  // As if it had died while it waited.
  lane.layout()->slots[slot].state.store(static_cast<uint32_t>(SlotState::kSubmitted));
  Replace(&lane);
  lane.producer->DropLeft();
  EXPECT_FALSE(lane.consumer->Reply(slot, RequestReply{})) << "somebody is to undo it";
}

TEST(LaneSuccessor, QueuesAReleaseOnce) {
  TestLane lane;
  DyingThread(&lane, [](LaneProducer& p) { p.QueueRelease(5, kOpenPassthrough); });
  Replace(&lane);
  lane.producer->BeginRequest(kUnique, true);
  lane.producer->QueueRelease(5, kOpenPassthrough);
  lane.producer->EndRequest();
  EXPECT_EQ(lane.Pop().inode, 5u);
  EXPECT_TRUE(Empty(&lane));
}

TEST(LaneSuccessor, QueuesAReleaseThatMayNotHaveBeen) {
  for (const bool was_queued : {false, true}) {
    TestLane lane;
    DyingThread(&lane, [&](LaneProducer& p) {
      if (was_queued) p.QueueRelease(5, kOpenPassthrough);
      p.NoteEffect(LocalEffect::kReleasing, 0);
    });
    Replace(&lane);
    lane.producer->BeginRequest(kUnique, true);
    lane.producer->QueueRelease(5, kOpenPassthrough);
    lane.producer->EndRequest();
    EXPECT_EQ(lane.Pop().inode, 5u);
    EXPECT_TRUE(Empty(&lane));
  }
}

TEST(LaneSuccessor, LearnsWhatWasCounted) {
  TestLane lane;
  DyingThread(&lane, [](LaneProducer& p) { p.NoteEffect(LocalEffect::kOpen, 17); });
  Replace(&lane);
  const auto left = lane.producer->BeginRequest(kUnique, true);
  EXPECT_EQ(left.effect, LocalEffect::kOpen);
  EXPECT_EQ(left.inode_index, 17u);
  lane.producer->EndRequest();
  EXPECT_EQ(lane.producer->BeginRequest(kUnique, true).effect, LocalEffect::kNone);
  lane.producer->EndRequest();
}

TEST(LaneSuccessor, AReleaseThatWasCountedIsNotCountedAgain) {
  TestLane lane;
  DyingThread(&lane, [](LaneProducer& p) { EXPECT_TRUE(p.NoteRelease()); });
  Replace(&lane);
  lane.producer->BeginRequest(kUnique, true);
  EXPECT_FALSE(lane.producer->NoteRelease());
  lane.producer->EndRequest();
  lane.producer->BeginRequest(kUnique + 2, false);
  EXPECT_TRUE(lane.producer->NoteRelease());
  lane.producer->EndRequest();
}

TEST(LaneSuccessor, WaitingRequestsAreNotToBlame) {
  TestLane lane;
  DyingThread(&lane, [](LaneProducer&) {});
  EXPECT_EQ(lane.consumer->RequestsInWork(), std::vector<uint64_t>{kUnique});
  Replace(&lane);
  EXPECT_TRUE(lane.consumer->RequestsInWork().empty()) << "nobody serves it yet";
}

TEST(LaneSuccessor, KeepsTheOpeningMessage) {
  TestLane lane;
  EXPECT_TRUE(lane.producer->Opening().empty());
  const std::vector<uint8_t> bytes = {1, 2, 3};
  lane.producer->SaveOpening(bytes);
  Replace(&lane);
  EXPECT_EQ(lane.producer->Opening(), bytes);
}

}  // namespace
}  // namespace airstore::shm
