// SPDX-License-Identifier: Apache-2.0
//
// A frontend that writes anything into its lane: each violation ends that lane, none the broker.
#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

// Writes a record as a hostile frontend would, past LaneProducer.
struct Forger {
  LaneLayout* lane;
  uint64_t place = 0;

  void Publish(const std::function<void(QueueRecord&)>& fill) {
    QueueRecord& record = lane->queue[place % kQueueRecords];
    record.op = 0;
    record.slot = 0;
    record.inode = 1;
    record.offset = 0;
    record.arena_position = 0;
    record.length = 0;
    record.flags = 0;
    fill(record);
    record.position.store(++place);
  }

  void Submit(uint32_t slot, const RequestArgs& args, std::string_view text) {
    lane->slots[slot].args = args;
    memcpy(lane->slots[slot].text, text.data(), text.size());
    lane->slots[slot].state.store(static_cast<uint32_t>(SlotState::kSubmitted));
  }
};

struct Violation {
  const char* name;
  std::function<void(Forger&)> act;
};

void PublishOp(Forger& forger, QueueOp op, const std::function<void(QueueRecord&)>& fill) {
  forger.Publish([&](QueueRecord& record) {
    record.op = static_cast<uint32_t>(op);
    fill(record);
  });
}

void PublishCall(Forger& forger, RequestArgs args, std::string_view text) {
  forger.Submit(3, args, text);
  PublishOp(forger, QueueOp::kCall, [](QueueRecord& record) { record.slot = 3; });
}

RequestArgs Named(Op op, uint32_t name_bytes, uint32_t name2_bytes = 0) {
  RequestArgs args = ArgsOf(op);
  args.name_bytes = name_bytes;
  args.name2_bytes = name2_bytes;
  return args;
}

const Violation kViolations[] = {
    {"UnknownOperation", [](Forger& f) { f.Publish([](QueueRecord& r) { r.op = 99; }); }},
    {"HugeOperation", [](Forger& f) { f.Publish([](QueueRecord& r) { r.op = ~0u; }); }},
    {"SlotOutOfRange",
     [](Forger& f) {
       PublishOp(f, QueueOp::kCall, [](QueueRecord& r) { r.slot = kRequestSlots; });
     }},
    {"SlotFarOutOfRange",
     [](Forger& f) { PublishOp(f, QueueOp::kCall, [](QueueRecord& r) { r.slot = ~0u; }); }},
    {"SlotNotSubmitted",
     [](Forger& f) { PublishOp(f, QueueOp::kCall, [](QueueRecord& r) { r.slot = 3; }); }},
    {"SlotDone",
     [](Forger& f) {
       f.lane->slots[3].state.store(static_cast<uint32_t>(SlotState::kDone));
       PublishOp(f, QueueOp::kCall, [](QueueRecord& r) { r.slot = 3; });
     }},
    {"SlotInNoState",
     [](Forger& f) {
       f.lane->slots[3].state.store(0x1234);
       PublishOp(f, QueueOp::kCall, [](QueueRecord& r) { r.slot = 3; });
     }},
    {"CallOfUnknownOperation", [](Forger& f) { PublishCall(f, ArgsOf(static_cast<Op>(77)), ""); }},
    {"CallOfNoOperation", [](Forger& f) { PublishCall(f, ArgsOf(Op::kNone), ""); }},
    {"NameLongerThanTheSlot",
     [](Forger& f) { PublishCall(f, Named(Op::kLookup, kRequestText + 1), ""); }},
    {"NameLengthHuge", [](Forger& f) { PublishCall(f, Named(Op::kLookup, ~0u), ""); }},
    {"NameLengthsOverflowTogether",
     [](Forger& f) { PublishCall(f, Named(Op::kRename, 2, ~0u - 1), ""); }},
    {"NameTooLong",
     [](Forger& f) { PublishCall(f, Named(Op::kLookup, 256), std::string(256, 'n')); }},
    {"NameMissing", [](Forger& f) { PublishCall(f, Named(Op::kLookup, 0), ""); }},
    {"NameWithSlash", [](Forger& f) { PublishCall(f, Named(Op::kLookup, 3), "a/b"); }},
    {"NameWithNul",
     [](Forger& f) { PublishCall(f, Named(Op::kUnlink, 3), std::string_view("a\0b", 3)); }},
    {"NameWhereNoneBelongs", [](Forger& f) { PublishCall(f, Named(Op::kGetattr, 1), "a"); }},
    {"SecondNameMissing", [](Forger& f) { PublishCall(f, Named(Op::kRename, 1, 0), "a"); }},
    {"WriteToNoInode",
     [](Forger& f) { PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) { r.inode = 0; }); }},
    {"WriteTooLong",
     [](Forger& f) {
       PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) { r.length = kMaxWrite + 1; });
     }},
    {"WriteLengthHuge",
     [](Forger& f) { PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) { r.length = ~0u; }); }},
    {"WriteBeyondAnyFile",
     [](Forger& f) {
       PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) {
         r.length = 1;
         r.offset = INT64_MAX;
       });
     }},
    {"WriteAcrossTheArenasEnd",
     [](Forger& f) {
       PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) {
         r.arena_position = kArenaBytes - 10;
         r.length = 11;
       });
     }},
    {"WriteBeyondTheArenasWindow",
     [](Forger& f) {
       PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) {
         r.arena_position = kArenaBytes;
         r.length = 1;
       });
     }},
    {"WriteFarBeyondTheArena",
     [](Forger& f) {
       PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) {
         r.arena_position = ~0ull;
         r.length = kMaxWrite;
       });
     }},
    {"WriteBehindTheArenasCursor",
     [](Forger& f) {
       PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) {
         r.arena_position = 4096;
         r.length = 100;
       });
       PublishOp(f, QueueOp::kWrite, [](QueueRecord& r) {
         r.arena_position = 4100;
         r.length = 100;
       });
     }},
    {"ReleaseOfNoInode",
     [](Forger& f) { PublishOp(f, QueueOp::kRelease, [](QueueRecord& r) { r.inode = 0; }); }},
    {"ReleaseWithUnknownFlags",
     [](Forger& f) {
       PublishOp(f, QueueOp::kRelease, [](QueueRecord& r) { r.flags = 1u << 20; });
     }},
    {"ReleaseInNoMode",
     [](Forger& f) {
       PublishOp(f, QueueOp::kRelease, [](QueueRecord& r) { r.flags = kOpenModeMask; });
     }},
    {"ForgetOfNoInode",
     [](Forger& f) { PublishOp(f, QueueOp::kForget, [](QueueRecord& r) { r.inode = 0; }); }},
    {"SlotSubmittedTwice",
     [](Forger& f) {
       PublishCall(f, ArgsOf(Op::kGetattr), "");
       PublishOp(f, QueueOp::kCall, [](QueueRecord& r) { r.slot = 3; });
     }},
};

class HostileLane : public testing::TestWithParam<Violation> {};

TEST_P(HostileLane, ViolationEndsTheLane) {
  TestLane lane;
  Forger forger{lane.layout()};
  GetParam().act(forger);
  LaneConsumer::Item item;
  std::string why;
  LaneConsumer::Next next;
  while ((next = lane.consumer->Pop(&item, &why)) == LaneConsumer::Next::kItem) {
  }
  EXPECT_EQ(next, LaneConsumer::Next::kCorrupt);
  EXPECT_FALSE(why.empty());
  // For good: mending the record afterwards changes nothing.
  std::string again;
  forger.place = 0;
  PublishOp(forger, QueueOp::kForget, [](QueueRecord&) {});
  EXPECT_EQ(lane.consumer->Pop(&item, &again), LaneConsumer::Next::kCorrupt);
  EXPECT_EQ(again, why);
}

INSTANTIATE_TEST_SUITE_P(Lane, HostileLane, testing::ValuesIn(kViolations),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(HostileQueue, RecordsOutOfTurnAreNotSeen) {
  TestLane lane;
  Forger forger{lane.layout()};
  forger.place = 5;
  PublishOp(forger, QueueOp::kForget, [](QueueRecord&) {});
  lane.layout()->queue[0].position.store(~0ull);
  LaneConsumer::Item item;
  std::string why;
  EXPECT_EQ(lane.consumer->Pop(&item, &why), LaneConsumer::Next::kEmpty);
}

TEST(HostileQueue, CannotRunAheadOfWhatWasApplied) {
  TestLane lane;
  Forger forger{lane.layout()};
  for (uint32_t i = 0; i < kQueueRecords; ++i) {
    PublishOp(forger, QueueOp::kForget, [](QueueRecord&) {});
    lane.Pop();
  }
  PublishOp(forger, QueueOp::kForget, [](QueueRecord&) {});
  LaneConsumer::Item item;
  std::string why;
  EXPECT_EQ(lane.consumer->Pop(&item, &why), LaneConsumer::Next::kCorrupt);
}

TEST(HostileQueue, VoidRecordsWithoutEndDoNotHoldTheBroker) {
  TestLane lane;
  Forger forger{lane.layout()};
  std::atomic<bool> stop{false};
  std::thread hostile([&] {
    while (!stop.load()) forger.Publish([](QueueRecord&) {});
  });
  LaneConsumer::Item item;
  std::string why;
  for (int i = 0; i < 1000; ++i) {
    const auto next = lane.consumer->Pop(&item, &why);
    ASSERT_NE(next, LaneConsumer::Next::kItem);
    if (next == LaneConsumer::Next::kCorrupt) break;
    lane.consumer->MarkApplied();
  }
  stop.store(true);
  hostile.join();
}

TEST(HostileQueue, SharedCursorsAreNotBelieved) {
  TestLane lane;
  Forger forger{lane.layout()};
  LaneCursors& cursors = lane.layout()->cursors;
  cursors.applied.store(~0ull);
  cursors.arena_applied.store(~0ull);
  cursors.inode_uses = ~0u;
  cursors.broker_sleeps.store(12345);
  cursors.frontend_waits.store(12345);
  EXPECT_EQ(lane.consumer->Lookups(TestLane::kUses), 0u);
  PublishOp(forger, QueueOp::kForget, [](QueueRecord&) {});
  EXPECT_EQ(lane.Pop().op, QueueOp::kForget);
  lane.consumer->MarkApplied();
  EXPECT_EQ(cursors.applied.load(), 1u);
  EXPECT_EQ(cursors.arena_applied.load(), 0u);
}

// The slot changes all the time; what Pop returns agrees with itself.
TEST(HostileQueue, ArgumentsAreCopiedOnce) {
  TestLane lane;
  Forger forger{lane.layout()};
  RequestSlot& slot = lane.layout()->slots[3];
  memset(slot.text, 'x', sizeof(slot.text));
  slot.args = Named(Op::kLookup, 5);
  std::atomic<bool> stop{false};
  std::thread hostile([&] {
    for (uint32_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      __atomic_store_n(&slot.args.name_bytes, i % 2 == 0 ? 5u : 200u, __ATOMIC_RELAXED);
    }
  });
  for (int round = 0; round < 20'000; ++round) {
    slot.state.store(static_cast<uint32_t>(SlotState::kSubmitted));
    PublishOp(forger, QueueOp::kCall, [](QueueRecord& record) { record.slot = 3; });
    const auto item = lane.Pop();
    ASSERT_EQ(item.call.name.size(), item.call.args.name_bytes);
    ASSERT_TRUE(item.call.name.size() == 5 || item.call.name.size() == 200);
    lane.consumer->Reply(3, RequestReply{});
    lane.consumer->MarkApplied();
  }
  stop.store(true);
  hostile.join();
}

}  // namespace
}  // namespace airstore::shm
