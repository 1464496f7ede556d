// SPDX-License-Identifier: Apache-2.0
//
// The mutation log and its journal, with a gateway that may be silent and a broker that may die.
#include "broker/mutation_log.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/unit/broker/log_life.h"

namespace airstore::broker {
namespace {

TEST_F(MutationLogTest, WhatIsSettledIsNotSentByASuccessor) {
  {
    Life life(&gateway_, NewJournal());
    life.log->Start();
    life.log->Append(Creation(10), {10}, {1});
    life.log->Append(Creation(11), {11}, {1});
    life.DrainAndStop();
  }
  EXPECT_EQ(gateway_.applied.size(), 2u);
  JournalState state;
  OldJournal(&state);
  EXPECT_TRUE(state.empty());
  EXPECT_EQ(state.next_sequence, 3u);
}

// The crash falls between sending and the answer, and the gateway has or has not applied it.
TEST_F(MutationLogTest, NumbersOutliveTheBroker) {
  gateway_.silent = true;
  {
    Life life(&gateway_, NewJournal());
    AttachedRecord attached;
    attached.inode = 10;
    attached.file = 1;
    attached.dirty = true;
    ASSERT_TRUE(life.journal->Append(attached));
    life.log->Start();
    life.log->Append(Creation(10), {10}, {1});
    life.log->AppendContent(10);
    life.log->Append(Creation(11), {11}, {1});
    life.RunUntilAsked(gateway_, 1);
    life.log->Append(Creation(12), {12}, {1});
  }
  gateway_.silent = false;
  for (const uint64_t last_applied : {0, 3}) {
    SCOPED_TRACE(last_applied);
    OnceGateway gateway;
    for (uint64_t sequence = 1; sequence <= last_applied; ++sequence) {
      gateway.applied[sequence] = Mutation();
    }
    TempDir copy;
    std::filesystem::copy(directory_ / "journal", copy / "journal");
    JournalState state;
    Life life(&gateway, std::move(*SessionJournal::Open(copy / "journal", {}, &state)));
    EXPECT_EQ(state.pending.size(), 3u);
    EXPECT_EQ(state.numbered.size(), 3u);
    life.log->Restore(state);
    ASSERT_TRUE(life.log->Continue(last_applied));
    life.log->AppendContent(10);
    life.log->Start();
    life.DrainAndStop();
    ASSERT_EQ(gateway.applied.size(), 5u);
    if (last_applied == 0) {
      EXPECT_EQ(std::get<CreateOp>(gateway.applied[1].op).inode, 10u);
      EXPECT_TRUE(std::holds_alternative<TouchOp>(gateway.applied[2].op));
      EXPECT_EQ(std::get<CreateOp>(gateway.applied[3].op).inode, 11u);
    }
    EXPECT_EQ(std::get<CreateOp>(gateway.applied[4].op).inode, 12u);
    EXPECT_EQ(std::get<WriteOp>(gateway.applied[5].op).inode, 10u);
    EXPECT_EQ(life.contents.settled, std::vector<uint64_t>{10});
  }
}

TEST_F(MutationLogTest, AGatewayThatForgotTheSessionGetsNewNumbers) {
  gateway_.silent = false;
  {
    Life life(&gateway_, NewJournal());
    life.log->Start();
    life.log->Append(Creation(10), {10}, {1});
    auto drain = [](MutationLog* all) -> Task<bool> {
      co_await all->Drain();
      co_return true;
    };
    std::optional<bool> drained;
    Spawn(life.loop.get_executor(), Store(drain(life.log.get()), &drained));
    while (!drained) life.loop.run_one();
    gateway_.silent = true;
    life.log->Append(Creation(11), {11}, {1});
    life.RunUntilAsked(gateway_, 2);
  }
  OnceGateway fresh;
  JournalState state;
  Life life(&fresh, OldJournal(&state));
  ASSERT_EQ(state.numbered.begin()->first, 2u);
  life.log->Restore(state);
  ASSERT_TRUE(life.log->Continue(0));
  life.log->Start();
  life.DrainAndStop();
  ASSERT_EQ(fresh.applied.size(), 1u);
  EXPECT_EQ(std::get<CreateOp>(fresh.applied[1].op).inode, 11u);
}

// Its content was noted as clean, and that its number is settled was not: nothing else is left.
TEST_F(MutationLogTest, ANumberThatIsLeftOfContentIsWaitedFor) {
  JournalState state;
  state.next_ticket = 6;
  state.next_sequence = 2;
  state.numbered[1] = {.ticket = 5, .content_inode = 10};
  Life life(&gateway_, NewJournal());
  life.log->Restore(state);
  ASSERT_TRUE(life.log->Continue(1));
  gateway_.applied[1] = Mutation();
  gateway_.silent = true;  // it does not answer at once
  life.log->Start();
  life.RunUntilAsked(gateway_, 1);
  gateway_.silent = false;
  auto run = [](MutationLog* log) -> Task<size_t> {
    co_await log->Drain();
    const size_t left = log->pending();
    co_await log->Stop();
    co_return left;
  };
  EXPECT_EQ(RunTask(life.loop, run(life.log.get())), 0u);
}

// Without a restart.
TEST_F(MutationLogTest, AGatewayThatForgetsTheSessionGetsNewNumbersAtOnce) {
  gateway_.forgets = true;
  auto drain = [](MutationLog* all) -> Task<bool> {
    co_await all->Drain();
    co_return true;
  };
  {
    Life life(&gateway_, NewJournal());
    life.log->Start();
    life.log->Append(Creation(10), {10}, {1});
    life.log->Append(Creation(11), {11}, {1});
    std::optional<bool> drained;
    Spawn(life.loop.get_executor(), Store(drain(life.log.get()), &drained));
    while (!drained) life.loop.run_one();
    gateway_.applied.clear();
    life.log->Append(Creation(12), {12}, {1});
    life.log->Append(Creation(13), {13}, {1});
    life.DrainAndStop();
  }
  ASSERT_EQ(gateway_.applied.size(), 2u);
  EXPECT_EQ(std::get<CreateOp>(gateway_.applied[1].op).inode, 12u);
  EXPECT_EQ(std::get<CreateOp>(gateway_.applied[2].op).inode, 13u);
  JournalState state;
  OldJournal(&state);
  EXPECT_TRUE(state.empty());
  EXPECT_EQ(state.next_sequence, 3u);
}

TEST_F(MutationLogTest, UnderALeaseOnlyWhatMayBeOlderHasAPrecondition) {
  Life life(&gateway_, NewJournal());
  life.contents.version = 7;
  life.contents.must_match = true;
  life.log->SetLease(5);
  life.log->AppendContent(10);
  life.log->Start();
  life.DrainAndStop();
  ASSERT_EQ(gateway_.applied.size(), 1u);
  EXPECT_EQ(gateway_.applied[1].if_inode, 10u);
  EXPECT_EQ(gateway_.applied[1].if_content_version, 7u);
}

// The precondition of a second change is what the first one leaves.
TEST_F(MutationLogTest, WithoutTheLeaseABatchIsCutWhereContentChangesAgain) {
  Life life(&gateway_, NewJournal());
  life.contents.version = 7;
  life.log->SetLease(5);
  bool told = false;
  life.log->OnLeaseLost([&told] { told = true; });
  gateway_.lease_ended = true;
  for (const uint64_t inode : {10, 11, 12}) {
    life.log->Append(Creation(inode), {inode}, {1});
    life.log->Append(Cut(inode), {inode}, {});
  }
  life.log->Append(Cut(11), {11}, {});
  life.log->Append(Creation(13), {13}, {1});
  life.log->Start();
  life.DrainAndStop();
  EXPECT_TRUE(told);
  EXPECT_EQ(gateway_.batches, (std::vector<size_t>{6, 2}));
  ASSERT_EQ(gateway_.applied.size(), 8u);
  EXPECT_EQ(gateway_.applied[7].if_inode, 11u);
  EXPECT_EQ(gateway_.applied[7].if_content_version, 7u);
}

// Of which lease a change is goes by the zone that it lies in.
TEST_F(MutationLogTest, ABatchNamesTheLeasesOfItsZones) {
  Life life(&gateway_, NewJournal());
  life.contents.version = 7;
  life.log->SetZones(
      [](const Mutation& mutation) {
        const auto* create = std::get_if<CreateOp>(&mutation.op);
        return create == nullptr ? uint64_t{0} : create->inode;
      },
      {});
  bool told = false;
  life.log->OnLeaseLost([&told] { told = true; });
  life.log->SetZoneLease(10, 100);
  life.log->SetZoneLease(11, 110);
  for (const uint64_t inode : {10, 11, 12}) life.log->Append(Creation(inode), {inode}, {1});
  EXPECT_EQ(life.log->last_zone(), 12u);
  EXPECT_TRUE(life.log->HoldsZone(10));
  EXPECT_FALSE(life.log->HoldsZone(12));
  life.log->EndZoneLease(10);
  EXPECT_FALSE(life.log->HoldsZone(10)) << "it is about to be given back";
  life.log->Append(Cut(11), {11}, {});
  life.log->Append(Cut(11), {11}, {});
  life.log->Start();
  life.DrainAndStop();
  ASSERT_EQ(gateway_.batches, (std::vector<size_t>{4, 1})) << "a second change without a lease";
  EXPECT_EQ(gateway_.under[0], (std::vector<uint64_t>{100, 110}));
  EXPECT_TRUE(gateway_.under[1].empty());
  EXPECT_EQ(gateway_.applied[4].if_content_version, 7u);
  EXPECT_FALSE(told);
}

TEST_F(MutationLogTest, OfLeasesThatHaveEndedNoneIsBelievedInThatWasNamed) {
  Life life(&gateway_, NewJournal());
  life.log->SetZones([](const Mutation&) { return uint64_t{10}; }, {});
  bool told = false;
  life.log->OnLeaseLost([&told] { told = true; });
  life.log->SetZoneLease(10, 100);
  life.log->SetZoneLease(11, 110);
  gateway_.lease_ended = true;
  life.log->Append(Creation(10), {10}, {1});
  life.log->Start();
  life.DrainAndStop();
  EXPECT_TRUE(told);
  EXPECT_EQ(gateway_.applied.size(), 1u) << "it is sent without";
  EXPECT_FALSE(life.log->HoldsZone(10));
  EXPECT_TRUE(life.log->HoldsZone(11));
}

// Two logs that wait for each other's leases would do so for ever.
TEST_F(MutationLogTest, WhoWaitsForAnotherOnesLeaseIsNotWaitedFor) {
  Life life(&gateway_, NewJournal());
  life.log->SetZones([](const Mutation&) { return uint64_t{10}; }, {});
  life.log->OnLeaseLost([] {});
  life.log->SetZoneLease(10, 100);
  gateway_.held_by_other = true;
  life.log->Append(Creation(10), {10}, {1});
  life.log->Start();
  auto drain = [](MutationLog* all) -> Task<bool> { co_return co_await all->DrainUnlessHeldUp(); };
  std::optional<bool> drained;
  Spawn(life.loop.get_executor(), Store(drain(life.log.get()), &drained));
  while (!drained) life.loop.run_one();
  EXPECT_FALSE(*drained);
  life.log->SetZoneLease(10, 0);
  gateway_.lease_ended = true;
  gateway_.held_by_other = false;
  life.DrainAndStop();
  EXPECT_EQ(gateway_.applied.size(), 1u) << "it was not lost with the lease";
}

TEST_F(MutationLogTest, WhoWaitsForContentWaitsUntilItWasSentAgain) {
  gateway_.write_error = EIO;  // OneByte wants it sent again then
  Life life(&gateway_, NewJournal());
  life.log->Start();
  const Ticket ticket = life.log->AppendContent(10);
  auto wait = [](MutationLog* log, Ticket until) -> Task<int> {
    const int refused = co_await log->WaitSettled(until, 10);
    EXPECT_EQ(log->PendingOf(10), 0u);
    co_return refused;
  };
  std::optional<int> refused;
  Spawn(life.loop.get_executor(), Store(wait(life.log.get(), ticket), &refused));
  while (!refused) life.loop.run_one();
  EXPECT_EQ(*refused, 0);
  EXPECT_EQ(gateway_.applied.size(), 2u);
  EXPECT_EQ(life.contents.settled, (std::vector<uint64_t>{10, 10}));
  life.DrainAndStop();
}

TEST_F(MutationLogTest, PartsOfAContentComeBeforeWhatIsQueuedBehindIt) {
  {
    Life life(&gateway_, NewJournal());
    life.contents.parts = 3;
    life.log->Append(Creation(10), {10}, {1});
    const Ticket ticket = life.log->AppendContent(10);
    life.log->Append(Creation(11), {11}, {1});
    life.log->Start();
    auto wait = [](MutationLog* log, Ticket until) -> Task<int> {
      co_return co_await log->WaitSettled(until, 10);
    };
    std::optional<int> refused;
    Spawn(life.loop.get_executor(), Store(wait(life.log.get(), ticket), &refused));
    while (!refused) life.loop.run_one();
    EXPECT_EQ(*refused, 0);
    EXPECT_EQ(life.contents.settled, std::vector<uint64_t>{10});
    life.DrainAndStop();
  }
  ASSERT_EQ(gateway_.applied.size(), 5u);
  EXPECT_EQ(std::get<CreateOp>(gateway_.applied[1].op).inode, 10u);
  for (const uint64_t part : {2, 3, 4}) {
    EXPECT_EQ(std::get<WriteOp>(gateway_.applied[part].op).inode, 10u);
  }
  EXPECT_EQ(std::get<CreateOp>(gateway_.applied[5].op).inode, 11u);
  JournalState state;
  OldJournal(&state);
  EXPECT_TRUE(state.empty());
  EXPECT_EQ(state.next_sequence, 6u);
}

// What is in the file by then belongs behind the cut, and who waits for the content waits for that.
TEST_F(MutationLogTest, ACutBetweenPartsPutsTheRestBehindIt) {
  Life life(&gateway_, NewJournal());
  life.contents.parts = 3;
  life.contents.on_build = [&, first = true]() mutable {
    if (!std::exchange(first, false)) return;
    Mutation cut;
    SetattrOp to_nothing;
    to_nothing.inode = 10;
    to_nothing.size = 0;
    cut.op = to_nothing;
    life.log->Append(std::move(cut), {10}, {});
  };
  const Ticket ticket = life.log->AppendContent(10);
  life.log->Start();
  auto wait = [](MutationLog* log, Ticket until) -> Task<int> {
    co_return co_await log->WaitSettled(until, 10);
  };
  std::optional<int> refused;
  Spawn(life.loop.get_executor(), Store(wait(life.log.get(), ticket), &refused));
  while (!refused) life.loop.run_one();
  EXPECT_EQ(life.contents.settled, std::vector<uint64_t>{10});
  ASSERT_EQ(gateway_.applied.size(), 3u);
  EXPECT_TRUE(std::holds_alternative<WriteOp>(gateway_.applied[1].op));
  EXPECT_TRUE(std::holds_alternative<SetattrOp>(gateway_.applied[2].op));
  EXPECT_TRUE(std::holds_alternative<WriteOp>(gateway_.applied[3].op));
  life.DrainAndStop();
}

// What the file is then, is of behind the cut.
TEST_F(MutationLogTest, ACutWhileEarlierChangesAreOnTheirWayComesBeforeContent) {
  Life life(&gateway_, NewJournal());
  life.contents.builds_on_pending = true;
  gateway_.silent = true;
  life.log->Append(Creation(10), {10}, {1});
  life.log->AppendContent(10);
  life.log->Start();
  life.RunUntilAsked(gateway_, 1);
  EXPECT_FALSE(life.log->TakeContent(10));
  life.log->Append(Cut(10), {10}, {});
  gateway_.silent = false;
  life.DrainAndStop();
  ASSERT_EQ(gateway_.applied.size(), 3u);
  EXPECT_TRUE(std::holds_alternative<CreateOp>(gateway_.applied[1].op));
  EXPECT_TRUE(std::holds_alternative<SetattrOp>(gateway_.applied[2].op));
  EXPECT_TRUE(std::holds_alternative<WriteOp>(gateway_.applied[3].op));
}

// What comes behind it in its batch is what it was, for whoever refers to it.
TEST_F(MutationLogTest, OfContentInABatchThatIsInFlightWhoseTurnHasCome) {
  Life life(&gateway_, NewJournal());
  std::vector<std::pair<bool, bool>> in_flight;
  life.contents.on_build = [&] {
    in_flight.emplace_back(life.log->ContentInFlight(10), life.log->ContentInFlight(11));
    EXPECT_TRUE(life.log->ContentPending(11));
  };
  life.log->AppendContent(10);
  life.log->AppendContent(11);
  life.log->Start();
  life.DrainAndStop();
  EXPECT_EQ(in_flight, (std::vector<std::pair<bool, bool>>{{true, false}, {true, true}}));
  EXPECT_FALSE(life.log->ContentInFlight(10));
}

// Parts of a content have numbers of their own: more than a batch takes.
TEST_F(MutationLogTest, ASuccessorSendsNoMoreAtOnceThanIsTaken) {
  const SessionLimits limits{.max_batch_mutations = 4};
  gateway_.most = 4;
  {
    Life life(&gateway_, NewJournal());
    life.log->SetLimits(limits);
    life.contents.parts = 4;
    for (const uint64_t inode : {10, 11, 12}) life.log->Append(Creation(inode), {inode}, {1});
    life.log->AppendContent(12);
    gateway_.silent_from = 6;
    life.log->Start();
    life.RunUntilAsked(gateway_, 4);
  }
  gateway_.silent_from = 0;
  ASSERT_EQ(gateway_.applied.size(), 5u);
  JournalState state;
  auto journal = OldJournal(&state);
  EXPECT_TRUE(state.pending.empty()) << "they were answered";
  EXPECT_LE(state.numbered.size(), 1u);
  Life life(&gateway_, std::move(journal));
  life.log->SetLimits(limits);
  life.log->Restore(state);
  ASSERT_TRUE(life.log->Continue(5));
  life.log->AppendContent(12);
  life.log->Start();
  life.DrainAndStop();
  EXPECT_EQ(gateway_.applied.size(), 7u);
}

// Of a journal that has more than a batch takes; and what has a precondition is made of the answer
// to what comes before.
TEST_F(MutationLogTest, ASuccessorSendsWhatIsNumberedInRuns) {
  {
    Life life(&gateway_, NewJournal());
    gateway_.silent = true;
    for (const uint64_t inode : {10, 11, 12}) life.log->Append(Creation(inode), {inode}, {1});
    for (int times = 0; times < 2; ++times) life.log->Append(Cut(10), {10}, {});
    life.log->SetLease(5);
    life.log->Start();
    life.RunUntilAsked(gateway_, 1);
  }
  gateway_.silent = false;
  gateway_.batches.clear();
  gateway_.most = 3;
  JournalState state;
  auto journal = OldJournal(&state);
  ASSERT_EQ(state.numbered.size(), 5u);
  Life life(&gateway_, std::move(journal));
  life.log->SetLimits({.max_batch_mutations = 3});
  life.contents.version = 7;
  life.contents.must_match = true;
  life.log->SetLease(5);
  life.log->Restore(state);
  ASSERT_TRUE(life.log->Continue(0));
  life.log->Start();
  life.DrainAndStop();
  EXPECT_EQ(gateway_.batches, (std::vector<size_t>{3, 1, 1}));
  EXPECT_EQ(gateway_.applied.size(), 5u);
  JournalState after;
  OldJournal(&after);
  EXPECT_TRUE(after.empty());
}

// Also what a predecessor has numbered.
TEST_F(MutationLogTest, WhatIsTooLongForAMessageIsSentInMore) {
  const SessionLimits limits{.max_batch_bytes = 100'000};
  gateway_.most_bytes = limits.max_batch_bytes;
  const auto append = [](MutationLog* log) {
    for (uint64_t inode = 100; inode < 300; ++inode) {
      Mutation mutation = Creation(inode);
      std::get<CreateOp>(mutation.op).symlink_target = std::string(4000, 't');
      log->Append(std::move(mutation), {inode}, {1});
    }
  };
  {
    Life life(&gateway_, NewJournal());
    gateway_.silent = true;
    append(life.log.get());
    life.log->Start();
    life.RunUntilAsked(gateway_, 1);
  }
  gateway_.silent = false;
  JournalState state;
  auto journal = OldJournal(&state);
  Life life(&gateway_, std::move(journal));
  life.log->SetLimits(limits);
  life.log->Restore(state);
  ASSERT_TRUE(life.log->Continue(0));
  life.log->Start();
  life.DrainAndStop();
  EXPECT_EQ(gateway_.applied.size(), 200u);
}

TEST_F(MutationLogTest, ARefusedPartIsTheLast) {
  gateway_.write_error = EIO;  // OneByte wants it sent again then
  Life life(&gateway_, NewJournal());
  life.contents.parts = 3;
  life.contents.on_build = [&, builds = 0]() mutable {
    if (++builds == 2) life.contents.parts = 0;
  };
  life.log->AppendContent(10);
  life.log->Start();
  life.DrainAndStop();
  EXPECT_EQ(gateway_.applied.size(), 2u);
  EXPECT_EQ(life.contents.settled, (std::vector<uint64_t>{10, 10}));
}

TEST_F(MutationLogTest, DrainingWaitsForContentThatWasQueuedAnew) {
  gateway_.write_error = EIO;
  Life life(&gateway_, NewJournal());
  life.log->AppendContent(10);
  life.log->Start();
  life.DrainAndStop();
  EXPECT_EQ(gateway_.applied.size(), 2u);
}

// Both are told at once: the first to run must not take what the second still has to do for
// something that is pending.
TEST_F(MutationLogTest, DrainingWaitsForContentThatWasMovedBehindAChange) {
  Life life(&gateway_, NewJournal());
  gateway_.silent = true;
  life.log->Append(Creation(10), {10}, {1});
  life.log->Start();
  life.RunUntilAsked(gateway_, 1);
  life.log->AppendContent(10);
  auto drain = [](MutationLog* log) -> Task<int> {
    co_await log->Drain();
    co_return 0;
  };
  std::optional<int> drained;
  Spawn(life.loop.get_executor(), Store(drain(life.log.get()), &drained));
  life.loop.poll();
  ASSERT_TRUE(life.log->TakeContent(10));
  life.log->Append(Cut(10), {10}, {});
  life.log->AppendContent(10);
  gateway_.silent = false;
  while (!drained) life.loop.run_one();
  EXPECT_EQ(life.contents.settled, std::vector<uint64_t>{10});
  life.DrainAndStop();
}

TEST_F(MutationLogTest, WhatIsSettledIsNotPendingForWhoComesFirst) {
  Life life(&gateway_, NewJournal());
  life.log->Start();
  const Ticket ticket = life.log->AppendContent(10);
  auto wait_idle = [](MutationLog* log) -> Task<bool> {
    co_await log->WaitIdle(10);
    co_return log->PendingOf(10) == 0;
  };
  auto wait_settled = [](MutationLog* log, Ticket until) -> Task<int> {
    co_return co_await log->WaitSettled(until, 10);
  };
  std::optional<bool> idle;
  std::optional<int> settled;
  Spawn(life.loop.get_executor(), Store(wait_idle(life.log.get()), &idle));
  Spawn(life.loop.get_executor(), Store(wait_settled(life.log.get(), ticket), &settled));
  while (!idle || !settled) life.loop.run_one();
  EXPECT_TRUE(*idle);
  EXPECT_EQ(*settled, 0);
  life.DrainAndStop();
}

TEST_F(MutationLogTest, WhoeverWaitsHearsThatContentCannotBeRead) {
  Life life(&gateway_, NewJournal());
  life.contents.build_error = EIO;
  const Ticket ticket = life.log->AppendContent(10);
  auto wait = [](MutationLog* log, Ticket until) -> Task<int> {
    co_return co_await log->WaitSettled(until, 10);
  };
  std::optional<int> errors[2];
  for (auto& error : errors) {
    Spawn(life.loop.get_executor(), Store(wait(life.log.get(), ticket), &error));
  }
  life.log->Start();
  while (!errors[0] || !errors[1]) life.loop.run_one();
  EXPECT_EQ(*errors[0], EIO);
  EXPECT_EQ(*errors[1], EIO);
  EXPECT_TRUE(gateway_.applied.empty());
  life.DrainAndStop();
}

// It is removed without a look whether it is there.
TEST_F(MutationLogTest, AnAttributeThatWasNotThereIsNoRefusal) {
  Life life(&gateway_, NewJournal());
  life.log->Start();
  life.log->Append(Mutation{.op = RemoveXattrOp{.inode = 10, .name = "security.capability"}}, {10},
                   {});
  life.DrainAndStop();
  EXPECT_EQ(gateway_.applied.size(), 1u);
}

TEST_F(MutationLogTest, UnsentAttributesHaveALimit) {
  constexpr size_t kMost = 1000;
  constexpr int64_t kPatienceNs = 20'000'000;
  Life life(&gateway_, NewJournal());
  gateway_.silent = true;
  life.log->Start();
  auto admit = [](MutationLog* log, size_t bytes) -> Task<int> {
    const auto admitted = co_await log->AdmitValue(bytes, kMost, kPatienceNs);
    co_return admitted ? 0 : admitted.error().code;
  };
  const auto admitted = [&](size_t bytes) {
    std::optional<int> error;
    Spawn(life.loop.get_executor(), Store(admit(life.log.get(), bytes), &error));
    while (!error) life.loop.run_one();
    return *error;
  };
  ASSERT_EQ(admitted(600), 0);
  life.log->Append(
      Mutation{.op =
                   SetXattrOp{
                       .inode = 10, .name = "user.a", .value = std::string(600, 'a'), .mode = {}}},
      {10}, {});
  life.RunUntilAsked(gateway_, 1);
  EXPECT_EQ(admitted(400), 0);
  EXPECT_EQ(admitted(401), ENOSPC);
  gateway_.silent = false;
  while (life.log->pending() != 0) life.loop.run_one();
  EXPECT_EQ(admitted(1000), 0);
  life.DrainAndStop();
}

TEST_F(MutationLogTest, AFileMadeAndRemovedIsNotReplayed) {
  {
    Life life(&gateway_, NewJournal());
    life.log->Append(Creation(10), {10}, {1});
    life.log->Append(Creation(11), {11}, {1});
    ASSERT_NE(life.log->Elide(10, 1, 5), 0u);
  }
  JournalState state;
  OldJournal(&state);
  ASSERT_EQ(state.pending.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<CreateOp>(state.pending.begin()->second.mutation.op));
  EXPECT_TRUE(std::holds_alternative<TouchOp>(state.pending.rbegin()->second.mutation.op));
}

}  // namespace
}  // namespace airstore::broker
