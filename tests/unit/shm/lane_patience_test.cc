// SPDX-License-Identifier: Apache-2.0
//
// Nobody waits for ever: for a broker that does not answer a frontend waits as long as that broker
// has said, and what nobody waits for any more is neither lost nor done twice.
#include <chrono>
#include <future>

#include "shm/counters.h"
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr uint32_t kPatienceMs = 200;
constexpr uint64_t kUnique = 42;

class LanePatience : public testing::Test {
 protected:
  LanePatience() { lane.consumer->SetPatience(kPatienceMs); }

  int Call(Op op, const char* name = "") const {
    return lane.producer->CallBroker(ArgsOf(op), name, "", {}).error;
  }
  // In a thread of its own, as part of one request that is never answered.
  template <typename Work>
  auto InRequest(Work work, bool repeated = false) {
    return std::async(std::launch::async, [this, work, repeated] {
      lane.producer->BeginRequest(kUnique, repeated);
      return work();
    });
  }
  static milliseconds Since(Clock::time_point begin) {
    return std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
  }
  LaneConsumer::Item Await() {
    LaneConsumer::Item item;
    std::string why;
    while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
    return item;
  }
  bool Empty() {
    LaneConsumer::Item item;
    std::string why;
    return lane.consumer->Pop(&item, &why) == LaneConsumer::Next::kEmpty;
  }

  TestLane lane;
};

TEST_F(LanePatience, ACallThatIsNotAnsweredTimesOut) {
  const auto begin = Clock::now();
  EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
  EXPECT_GE(Since(begin), milliseconds(kPatienceMs));
  const LaneConsumer::Item item = lane.Pop();
  EXPECT_TRUE(item.call.given_up);
  EXPECT_FALSE(lane.consumer->Reply(item.call.slot, RequestReply{}));
}

TEST_F(LanePatience, OneThatIsAnsweredDoesNot) {
  auto call = std::async(std::launch::async, [&] { return Call(Op::kGetattr); });
  const LaneConsumer::Item item = Await();
  EXPECT_FALSE(item.call.given_up);
  EXPECT_TRUE(lane.consumer->Reply(item.call.slot, RequestReply{}));
  EXPECT_EQ(call.get(), 0);
}

TEST_F(LanePatience, AnInterruptedCallIsGivenUpToo) {
  EXPECT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", [] { return true; }).error,
            EINTR);
  EXPECT_TRUE(lane.Pop().call.given_up);
}

TEST_F(LanePatience, ACallThatWasTakenCanBeGivenUp) {
  auto call = std::async(std::launch::async, [&] { return Call(Op::kMkdir, "name"); });
  const LaneConsumer::Item item = Await();
  lane.consumer->MarkApplied();
  EXPECT_EQ(call.get(), ETIMEDOUT);
  EXPECT_FALSE(lane.consumer->Reply(item.call.slot, RequestReply{}));
}

TEST_F(LanePatience, AllWaitsOfARequestEndTogether) {
  const auto begin = Clock::now();
  auto request = InRequest([this] {
    EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
    EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
    EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
  });
  request.get();
  EXPECT_LT(Since(begin), milliseconds(2 * kPatienceMs));
}

TEST_F(LanePatience, ASilentBrokerIsWaitedForAMomentOnly) {
  lane.consumer->SetPatience(1500);
  EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
  auto begin = Clock::now();
  EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
  EXPECT_LT(Since(begin), milliseconds(1400));
  while (!Empty()) {
  }
  lane.consumer->MarkTaken();
  begin = Clock::now();
  EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
  EXPECT_GE(Since(begin), milliseconds(1500));
}

TEST_F(LanePatience, ABrokerThatIsBusyIsNoSilentOne) {
  lane.consumer->SetPatience(1500);
  auto call = std::async(std::launch::async, [&] { return Call(Op::kGetattr); });
  Await();
  lane.consumer->MarkApplied();
  EXPECT_EQ(call.get(), ETIMEDOUT);
  const auto begin = Clock::now();
  EXPECT_EQ(Call(Op::kGetattr), ETIMEDOUT);
  EXPECT_GE(Since(begin), milliseconds(1500));
}

TEST_F(LanePatience, AWriteWithoutRoomFailsAndLeavesNothing) {
  const std::vector<uint8_t> bytes(kMaxWrite);
  for (uint64_t i = 0; i < kArenaBytes / kMaxWrite; ++i) {
    ASSERT_TRUE(lane.producer->QueueWrite(1, i, bytes, 0));
  }
  EXPECT_FALSE(lane.producer->QueueWrite(2, 0, bytes, 0));
  for (uint64_t i = 0; i < kArenaBytes / kMaxWrite; ++i) EXPECT_EQ(lane.Pop().inode, 1u);
  EXPECT_TRUE(Empty());
}

TEST_F(LanePatience, TheWaitForWritesEnds) {
  const auto place = lane.producer->QueueWrite(1, 0, {}, 0);
  EXPECT_FALSE(lane.producer->WaitApplied(*place));
  EXPECT_FALSE(lane.producer->WaitWrites(1));
  lane.Pop();
  lane.consumer->MarkApplied();
  EXPECT_TRUE(lane.producer->WaitWrites(1));
}

TEST_F(LanePatience, AReleaseWithoutRoomIsQueuedWhenThereIsSome) {
  for (uint32_t i = 0; i < kQueueRecords; ++i) lane.producer->QueueForget(i + 1);
  const auto begin = Clock::now();
  lane.producer->QueueRelease(5, kOpenPassthrough);
  EXPECT_LT(Since(begin), milliseconds(kPatienceMs));
  for (uint32_t i = 0; i < kQueueRecords; ++i) ASSERT_EQ(lane.Pop().op, QueueOp::kForget);
  lane.consumer->MarkApplied();
  const LaneConsumer::Item item = Await();
  EXPECT_EQ(item.op, QueueOp::kRelease);
  EXPECT_EQ(item.inode, 5u);
}

TEST_F(LanePatience, AnUnlockThatFindsNoSlotIsMadeWhenThereIsOne) {
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    ASSERT_EQ(lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", [] { return true; }).error,
              EINTR);
  }
  EXPECT_EQ(Call(Op::kReleaseLocks), ETIMEDOUT);
  for (uint32_t i = 0; i < kRequestSlots; ++i) {
    const LaneConsumer::Item item = lane.Pop();
    ASSERT_EQ(item.call.args.op, static_cast<uint32_t>(Op::kGetattr));
    lane.consumer->Reply(item.call.slot, RequestReply{});
  }
  lane.consumer->MarkApplied();
  const LaneConsumer::Item item = Await();
  EXPECT_EQ(item.call.args.op, static_cast<uint32_t>(Op::kReleaseLocks));
  lane.consumer->Reply(item.call.slot, RequestReply{});
}

TEST_F(LanePatience, TheEndOfAFrontendDoesNotWaitForRoom) {
  for (uint32_t i = 0; i < kQueueRecords; ++i) lane.producer->QueueForget(i + 1);
  lane.producer->QueueRelease(5, kOpenPassthrough);
  lane.producer.reset();
}

// The client has not heard that it was given up: the request comes again.
TEST_F(LanePatience, ASuccessorTakesUpWhatWasGivenUp) {
  RequestArgs args = ArgsOf(Op::kMkdir);
  args.unique = kUnique;
  const auto mkdir = [&] { return lane.producer->CallBroker(args, "name", "", {}); };
  EXPECT_EQ(InRequest(mkdir).get().error, ETIMEDOUT);
  lane.consumer->FrontendGone();
  lane.AttachProducer();
  auto again = InRequest(mkdir, true);
  while (lane.consumer->Counter(kLeftCalls) == 0) std::this_thread::yield();
  const LaneConsumer::Item item = lane.Pop();
  EXPECT_FALSE(item.call.given_up);
  RequestReply reply{};
  reply.value = 7;
  EXPECT_TRUE(lane.consumer->Reply(item.call.slot, reply));
  EXPECT_EQ(again.get().value, 7u);
  EXPECT_TRUE(Empty());
}

TEST_F(LanePatience, AnAnswerThatNobodyWaitedForIsNoSuccessToASuccessor) {
  RequestArgs args = ArgsOf(Op::kMkdir);
  args.unique = kUnique;
  const auto mkdir = [&] { return lane.producer->CallBroker(args, "name", "", {}); };
  EXPECT_EQ(InRequest(mkdir).get().error, ETIMEDOUT);
  EXPECT_FALSE(lane.consumer->Reply(lane.Pop().call.slot, RequestReply{}));
  lane.consumer->MarkApplied();
  lane.consumer->FrontendGone();
  lane.AttachProducer();
  EXPECT_EQ(InRequest(mkdir, true).get().error, ETIMEDOUT);
  EXPECT_TRUE(Empty());
}

// Were all slots kept for requests that are being answered, none of them could go on.
TEST_F(LanePatience, WhoKeepsAnAnswerFindsASlotForAnotherCall) {
  lane.consumer->SetPatience(0);
  std::atomic<int> kept{0};
  std::atomic<bool> go{false};
  std::vector<std::future<int>> requests;
  ServingThread broker(&lane, [](LaneConsumer& consumer, const LaneConsumer::Item& item) {
    consumer.Reply(item.call.slot, RequestReply{});
  });
  for (uint32_t i = 0; i < 2 * kRequestSlots; ++i) {
    requests.push_back(std::async(std::launch::async, [&, i] {
      lane.producer->BeginRequest(i + 1, false);
      RequestArgs args = ArgsOf(Op::kMkdir);
      args.unique = i + 1;
      int error = lane.producer->CallBroker(args, "name", "", {}).error;
      ++kept;
      while (!go.load()) std::this_thread::sleep_for(milliseconds(1));
      if (error == 0) error = Call(Op::kGetattr);
      lane.producer->EndRequest();
      return error;
    }));
  }
  // As many as may keep one have it; the others wait for the end of those.
  int before = -1;
  while (kept.load() == 0 || kept.load() != before) {
    before = kept.load();
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_LT(kept.load(), static_cast<int>(kRequestSlots));
  go.store(true);
  for (std::future<int>& request : requests) EXPECT_EQ(request.get(), 0);
}

}  // namespace
}  // namespace airstore::shm
