// SPDX-License-Identifier: Apache-2.0
//
// A broker killed at any instruction: the next one adopts the lane, the frontend notices nothing.
#include <sys/mman.h>
#include <sys/wait.h>

#include <csignal>
#include <future>
#include <random>

#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

std::unique_ptr<LaneConsumer> Adopt(const TestLane& lane) {
  auto adopted = LaneConsumer::Adopt(std::move(*lane.consumer->lane().Alias()),
                                     std::move(*lane.consumer->arena().Alias()));
  EXPECT_TRUE(adopted.has_value()) << adopted.error().ToString();
  return std::move(*adopted);
}

LaneConsumer::Item PopOf(LaneConsumer& consumer) {
  LaneConsumer::Item item;
  std::string why;
  EXPECT_EQ(consumer.Pop(&item, &why), LaneConsumer::Next::kItem) << why;
  return item;
}

TEST(LaneAdopt, GivesAgainWhatWasNotApplied) {
  TestLane lane;
  const std::vector<uint8_t> bytes(100, 7);
  lane.producer->QueueWrite(1, 0, bytes, 0);
  lane.producer->QueueWrite(2, 0, bytes, 0);
  lane.producer->QueueWrite(3, 0, bytes, 0);
  lane.Pop();
  lane.consumer->MarkApplied();
  lane.Pop();
  auto adopted = Adopt(lane);
  EXPECT_EQ(PopOf(*adopted).inode, 2u);
  const auto last = PopOf(*adopted);
  EXPECT_EQ(last.inode, 3u);
  EXPECT_TRUE(std::equal(last.data.begin(), last.data.end(), bytes.begin(), bytes.end()));
}

TEST(LaneAdopt, GivesAgainCallsThatWereNotAnswered) {
  TestLane lane;
  auto call = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kLookup, 42), "name", "", {}).value;
  });
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  lane.consumer->MarkApplied();  // taken, at work, and then the broker dies
  auto adopted = Adopt(lane);
  EXPECT_FALSE(adopted->PrepareSleep());
  const auto again = PopOf(*adopted);
  EXPECT_EQ(again.op, QueueOp::kCall);
  EXPECT_EQ(again.call.args.inode, 42u);
  EXPECT_EQ(again.call.name, "name");
  EXPECT_TRUE(adopted->PrepareSleep());
  RequestReply reply{};
  reply.value = 9;
  adopted->Reply(again.call.slot, reply);
  EXPECT_EQ(call.get(), 9u);
}

// The broker dies after a change and before its answer; what comes behind it has no such note.
TEST(LaneAdopt, TellsWhatWasCarriedOutAlready) {
  TestLane lane;
  auto call = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kMkdir, 42), "name", "", {}).value;
  });
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  EXPECT_FALSE(item.call.executed);
  lane.consumer->NoteExecuted(item.call.slot, item.call.position, Executed{77, 5});
  lane.consumer->MarkApplied();
  auto other = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kMkdir, 42), "other", "", {}).value;
  });
  auto adopted = Adopt(lane);
  LaneConsumer::Item again;
  ASSERT_EQ(adopted->Pop(&again, &why), LaneConsumer::Next::kItem) << why;
  ASSERT_TRUE(again.call.executed);
  EXPECT_EQ(again.call.executed->inode, 77u);
  EXPECT_EQ(again.call.executed->ticket, 5u);
  EXPECT_TRUE(adopted->Unanswered(again.call.position));
  RequestReply reply{};
  reply.value = 1;
  adopted->Reply(again.call.slot, reply);
  EXPECT_FALSE(adopted->Unanswered(again.call.position));
  // Into the same variable, as brokers do.
  while (adopted->Pop(&again, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  EXPECT_EQ(again.call.name, "other");
  EXPECT_FALSE(again.call.executed);
  adopted->Reply(again.call.slot, reply);
  EXPECT_EQ(call.get(), 1u);
  EXPECT_EQ(other.get(), 1u);
}

// The broker dies when it has written down the answer, and before that counts.
TEST(LaneAdopt, TellsItUntilTheAnswerCounts) {
  TestLane lane;
  auto call = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kMkdir, 42), "name", "", {}).value;
  });
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  lane.consumer->NoteExecuted(item.call.slot, item.call.position, Executed{77, 5});
  lane.consumer->MarkApplied();
  RequestReply reply{};
  reply.value = 1;
  lane.consumer->Reply(item.call.slot, reply);
  EXPECT_EQ(call.get(), 1u);
  RequestSlot& slot = lane.layout()->slots[item.call.slot];
  slot.state.store(static_cast<uint32_t>(SlotState::kSubmitted));
  const auto again = PopOf(*Adopt(lane));
  ASSERT_TRUE(again.call.executed);
  EXPECT_EQ(again.call.executed->inode, 77u);
  EXPECT_EQ(again.call.executed->ticket, 5u);
}

TEST(LaneAdopt, NotesOfACallAreNotLeftWithAnother) {
  TestLane lane;
  auto call = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kMkdir, 42), "name", "", {}).value;
  });
  LaneConsumer::Item item;
  std::string why;
  while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) std::this_thread::yield();
  lane.consumer->NoteExecuted(item.call.slot, item.call.position, Executed{77, 5});
  lane.consumer->NoteExecuted(item.call.slot, item.call.position + 1, Executed{78, 6});
  lane.consumer->MarkApplied();
  const auto again = PopOf(*Adopt(lane));
  lane.consumer->Reply(item.call.slot, RequestReply{});
  EXPECT_EQ(call.get(), 0u);
  ASSERT_TRUE(again.call.executed);
  EXPECT_EQ(again.call.executed->inode, 77u);
}

TEST(LaneAdopt, CallInTheQueueIsGivenOnce) {
  TestLane lane;
  auto call = std::async(std::launch::async, [&] {
    return lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", {}).error;
  });
  while (lane.consumer->PrepareSleep()) std::this_thread::yield();
  auto adopted = Adopt(lane);
  const auto item = PopOf(*adopted);
  adopted->Reply(item.call.slot, RequestReply{});
  LaneConsumer::Item none;
  std::string why;
  EXPECT_EQ(adopted->Pop(&none, &why), LaneConsumer::Next::kEmpty) << why;
  EXPECT_EQ(call.get(), 0);
}

TEST(LaneAdopt, CallAnsweredBeforeItWasAppliedIsNotGivenAgain) {
  TestLane lane;
  for (int round = 0; round < 3; ++round) {
    auto call = std::async(std::launch::async, [&] {
      return lane.producer->CallBroker(ArgsOf(Op::kGetattr), "", "", {}).error;
    });
    LaneConsumer::Item item;
    std::string why;
    while (lane.consumer->Pop(&item, &why) != LaneConsumer::Next::kItem) {
      std::this_thread::yield();
    }
    lane.consumer->Reply(item.call.slot, RequestReply{});
    EXPECT_EQ(call.get(), 0);
  }
  auto adopted = Adopt(lane);
  LaneConsumer::Item none;
  std::string why;
  EXPECT_EQ(adopted->Pop(&none, &why), LaneConsumer::Next::kEmpty) << why;
}

TEST(LaneAdopt, CallNotYetAnnouncedIsLeftToItsRecord) {
  TestLane lane;
  lane.layout()->slots[5].state.store(static_cast<uint32_t>(SlotState::kSubmitted));
  auto adopted = Adopt(lane);
  LaneConsumer::Item none;
  std::string why;
  EXPECT_EQ(adopted->Pop(&none, &why), LaneConsumer::Next::kEmpty) << why;
}

TEST(LaneAdopt, RefusesSegmentsThatAreTooShort) {
  TestLane lane;
  TempDir directory;
  const auto small = [&] {
    return std::move(*Segment::CreateSpool({SegmentKind::kLane, TestSession(), 0}, 4096,
                                           directory.Path("small")));
  };
  EXPECT_FALSE(LaneConsumer::Adopt(small(), std::move(*lane.consumer->arena().Alias())));
  EXPECT_FALSE(LaneConsumer::Adopt(std::move(*lane.consumer->lane().Alias()), small()));
  lane.layout()->cursors.inode_uses = TestLane::kUses + 1;
  EXPECT_FALSE(LaneConsumer::Adopt(std::move(*lane.consumer->lane().Alias()),
                                   std::move(*lane.consumer->arena().Alias())));
}

// What the brokers of several lives have seen, in memory that outlives them.
struct Seen {
  std::atomic<uint64_t> next_write;  // offset of the next write to be applied
  std::atomic<uint64_t> mistakes;
};

[[noreturn]] void RunBroker(const TestLane& lane, Seen* seen) {
  auto consumer = Adopt(lane);
  LaneConsumer::Item item;
  std::string why;
  for (;;) {
    const auto next = consumer->Pop(&item, &why);
    if (next == LaneConsumer::Next::kCorrupt) {
      seen->mistakes.fetch_add(1);
      _exit(1);
    }
    if (next == LaneConsumer::Next::kEmpty) {
      consumer->MarkApplied();
      if (!consumer->PrepareSleep()) continue;
      pollfd waits{lane.wake.get(), POLLIN, 0};
      poll(&waits, 1, -1);
      uint64_t count;
      [[maybe_unused]] const ssize_t got = read(lane.wake.get(), &count, sizeof(count));
      consumer->Awake();
      continue;
    }
    if (item.op == QueueOp::kCall) {
      RequestReply reply{};
      reply.value = item.call.args.offset;
      consumer->Reply(item.call.slot, reply);
      continue;
    }
    // A write may come again after a death, but none may be missing, and its bytes are its own.
    const uint64_t expected = seen->next_write.load();
    const bool whole = std::all_of(item.data.begin(), item.data.end(), [&](uint8_t byte) {
      return byte == static_cast<uint8_t>(item.offset * 7);
    });
    if (item.offset > expected || !whole) seen->mistakes.fetch_add(1);
    if (item.offset == expected) seen->next_write.store(expected + 1);
  }
}

TEST(LaneAdopt, KilledBrokersLoseNoWriteAndNoCall) {
  TestLane lane;
  void* memory =
      mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Seen* seen = new (memory) Seen{};
  const pid_t frontend = fork();
  ASSERT_GE(frontend, 0);
  constexpr uint64_t kRounds = 20'000;
  if (frontend == 0) {
    for (uint64_t i = 0; i < kRounds; ++i) {
      const std::vector<uint8_t> bytes(i * 37 % 20'000, static_cast<uint8_t>(i * 7));
      lane.producer->QueueWrite(1, i, bytes, 0);
      if (i % 3 != 0) continue;
      RequestArgs args = ArgsOf(Op::kGetattr);
      args.offset = i;
      if (lane.producer->CallBroker(args, "", "", {}).value != i) _exit(1);
    }
    lane.producer->WaitWrites(1);
    _exit(0);
  }
  std::mt19937 random(5);
  int status = 0;
  bool ended = false;
  while (!ended) {
    const pid_t broker = fork();
    ASSERT_GE(broker, 0);
    if (broker == 0) RunBroker(lane, seen);
    const uint64_t until = seen->next_write.load() + 1 + random() % 400;
    while (!ended && seen->next_write.load() < until && seen->mistakes.load() == 0) {
      ended = waitpid(frontend, &status, WNOHANG) == frontend;
      std::this_thread::yield();
    }
    kill(broker, SIGKILL);
    int ignored = 0;
    waitpid(broker, &ignored, 0);
    if (seen->mistakes.load() != 0) break;
  }
  if (!ended) {
    kill(frontend, SIGKILL);
    waitpid(frontend, &status, 0);
  }
  EXPECT_EQ(seen->mistakes.load(), 0u);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(seen->next_write.load(), kRounds);
}

}  // namespace
}  // namespace airstore::shm
