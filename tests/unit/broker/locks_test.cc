// SPDX-License-Identifier: Apache-2.0
//
// Locks of a session: who waits, and what a later broker goes on with. End-to-end tests do the
// rest.
#include "broker/locks.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

#include "tests/unit/broker/fake_mount.h"
#include "tests/unit/broker/log_life.h"
#include "tests/unit/broker/run_task.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

constexpr uint64_t kFile = 20;

LockCall Range(uint64_t owner, LockType type, uint64_t first, uint64_t last, uint32_t mount = 0) {
  return {kFile, false, {{mount, owner}, type, first, last, 99}, owner};
}

using Answers = std::vector<std::pair<uint64_t, int>>;

// Gives every lock.
class GivingGateway : public OnceGateway {
 public:
  Task<Result<AssertedLocks>> AssertLocks(std::vector<LockCall> held) override {
    asserted = held.size();
    co_return AssertedLocks{};
  }
  size_t asserted = 0;  // as it was told last
};

// A broker's locks; Die() leaves the journal to the next one.
class LocksOfSession : public testing::Test {
 protected:
  LocksOfSession() {
    mounts_.Add(&first);
    mounts_.Add(&second);
    auto journal = SessionJournal::Create(path(), {.session = {}});
    AIRSTORE_CHECK(journal.has_value());
    journal_ = std::move(*journal);
    Begin();
  }
  std::string path() const { return directory_.path() + "/journal"; }
  void Begin() {
    auto meta = shm::MetaWriter::Create({}, {64, 64, 16});
    AIRSTORE_CHECK(meta.has_value());
    inodes_ = std::make_unique<InodeCache>(std::move(*meta), shm::SessionId{}, 1 << 20, &mounts_,
                                           [](const shm::Segment&) {});
    Attr attr;
    attr.inode = kFile;
    attr.mode = S_IFREG | 0644;
    AIRSTORE_CHECK(inodes_->Insert(attr, false).has_value());
    locks_ = std::make_unique<Locks>(loop_.get_executor(), &tasks_, &gateway, journal_.get(),
                                     inodes_.get(), &mounts_, 1'000'000'000);
    locks_->Alone();
  }
  void Restart() {
    locks_.reset();
    journal_.reset();
    JournalState state;
    auto journal = SessionJournal::Open(path(), {.session = {}}, &state);
    AIRSTORE_CHECK(journal.has_value());
    journal_ = std::move(*journal);
    Begin();
    locks_->Resume();
    loop_.restart();
    loop_.run();
  }
  Locks& locks() { return *locks_; }
  int Set(const LockCall& call, uint64_t unique, bool wait = false) {
    return locks_->Set(call, {unique, 0, wait});
  }
  bool Marked() const { return (inodes_->Get(kFile)->flags & shm::kHasLocks) != 0; }

  FakeMount first{0};
  FakeMount second{1};
  GivingGateway gateway;
  MountSet mounts_;
  boost::asio::io_context loop_;

 private:
  TempDir directory_;
  Tasks tasks_{loop_.get_executor()};
  std::unique_ptr<SessionJournal> journal_;
  std::unique_ptr<InodeCache> inodes_;
  std::unique_ptr<Locks> locks_;
};

TEST_F(LocksOfSession, WaitersAreServedAsTheyCame) {
  EXPECT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0);
  EXPECT_TRUE(Marked());
  EXPECT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 20), EAGAIN);
  EXPECT_EQ(Set(Range(2, LockType::kExclusive, 0, 9, 1), 22, true), Locks::kDeferred);
  EXPECT_EQ(Set(Range(3, LockType::kShared, 0, 9), 30, true), Locks::kDeferred);
  EXPECT_EQ(Set(Range(3, LockType::kShared, 0, 9), 30, true), Locks::kDeferred) << "sent again";
  EXPECT_EQ(Set(Range(1, LockType::kUnlock, 0, 9), 12), 0);
  EXPECT_EQ(second.answers, (Answers{{22, 0}}));
  EXPECT_TRUE(first.answers.empty());
  EXPECT_EQ(Set(Range(2, LockType::kExclusive, 0, 9, 1), 22, true), 0) << "its answer was lost";
  locks().ReleaseMount(1);
  EXPECT_EQ(first.answers, (Answers{{30, 0}}));
}

TEST_F(LocksOfSession, AnInterruptComesBeforeOrAfterItsRequest) {
  ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0);
  ASSERT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 20, true), Locks::kDeferred);
  locks().Interrupt(1, 20);
  EXPECT_TRUE(first.answers.empty()) << "a request of another mount";
  locks().Interrupt(0, 20);
  EXPECT_EQ(first.answers, (Answers{{20, EINTR}}));
  locks().Interrupt(0, 24);
  EXPECT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 24, true), EINTR);
}

// While we were away its frontend has let its client go.
TEST_F(LocksOfSession, WhatNobodyHearsOfIsTakenBack) {
  for (const bool asks_again : {false, true}) {
    ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0);
    ASSERT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 20, true), Locks::kDeferred);
    first.answers_are_lost = true;
    EXPECT_EQ(Set(Range(1, LockType::kUnlock, 0, 9), 12), 0);
    EXPECT_EQ(Set(Range(3, LockType::kShared, 0, 9, 1), 30), EAGAIN);
    if (asks_again) {
      EXPECT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 20, true), 0);
    }
    locks().Interrupt(0, 20);
    EXPECT_EQ(Set(Range(3, LockType::kShared, 0, 9, 1), 32), asks_again ? EAGAIN : 0);
    EXPECT_EQ(Set(Range(3, LockType::kUnlock, 0, 9, 1), 34), 0);
    first.answers_are_lost = false;
  }
}

TEST_F(LocksOfSession, WhatNobodyHearsOfIsAsItWasBefore) {
  ASSERT_EQ(Set(Range(1, LockType::kShared, 0, 9), 10), 0);
  ASSERT_EQ(Set(Range(2, LockType::kShared, 5, 20), 20), 0);
  ASSERT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 22, true), Locks::kDeferred);
  ASSERT_EQ(Set(Range(3, LockType::kExclusive, 0, 4), 30, true), Locks::kDeferred);
  first.answers_are_lost = true;
  EXPECT_EQ(Set(Range(1, LockType::kUnlock, 0, 9), 12), 0);
  first.answers_are_lost = false;
  locks().Interrupt(0, 22);
  EXPECT_EQ(first.answers, (Answers{{30, 0}})) << "nothing is in its way any more";
  EXPECT_EQ(Set(Range(4, LockType::kShared, 5, 20), 40), 0);
  EXPECT_EQ(Set(Range(5, LockType::kExclusive, 7, 7), 50), EAGAIN);
}

// Nor of what it had at once, without waiting.
TEST_F(LocksOfSession, WhatNobodyWaitedForIsTakenBack) {
  ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0);
  locks().Interrupt(0, 10);
  EXPECT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 20), EAGAIN) << "it has its answer";
  locks().TakeBack(0, 10);
  EXPECT_FALSE(Marked());
  EXPECT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 22), 0);
  locks().TakeBack(0, 10);
  EXPECT_EQ(Set(Range(3, LockType::kExclusive, 0, 9), 30), EAGAIN);
}

// Its frontend died meanwhile, and its process before it asked again: nobody interrupts it.
TEST_F(LocksOfSession, WhoClosesItsFileWaitsNoMore) {
  ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0);
  ASSERT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 20, true), Locks::kDeferred);
  ASSERT_EQ(Set(Range(3, LockType::kExclusive, 0, 9), 30, true), Locks::kDeferred);
  ASSERT_EQ(Set(Range(2, LockType::kExclusive, 0, 9, 1), 22, true), Locks::kDeferred);
  const auto release = [&](const LockCall& call) -> Task<bool> {
    co_await locks().Release(call);
    co_return true;
  };
  RunTask(loop_, release(Range(2, LockType::kUnlock, 0, 9)));
  EXPECT_EQ(Set(Range(1, LockType::kUnlock, 0, 9), 12), 0);
  EXPECT_EQ(first.answers, (Answers{{30, 0}}));
  RunTask(loop_, release(Range(3, LockType::kUnlock, 0, 9)));
  EXPECT_EQ(second.answers, (Answers{{22, 0}})) << "the same number, of another mount";
  Restart();
  EXPECT_EQ(first.answers.size(), 1u);
}

TEST_F(LocksOfSession, WhoClosesItsFileDoesNotWaitForTheNextBrokerEither) {
  ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0);
  ASSERT_EQ(Set(Range(2, LockType::kExclusive, 0, 9), 20, true), Locks::kDeferred);
  RunTask(loop_, [&]() -> Task<bool> {
    co_await locks().Release(Range(2, LockType::kUnlock, 0, 9));
    co_return true;
  }());
  Restart();
  EXPECT_EQ(Set(Range(1, LockType::kUnlock, 0, 9), 12), 0);
  EXPECT_TRUE(first.answers.empty());
  EXPECT_FALSE(Marked());
}

// What others wrote under it is to be read by whoever is given it.
TEST_F(LocksOfSession, ALockIsNotGivenWithoutWhatOthersWrote) {
  int error = ETIMEDOUT;
  locks().SetCoherence({[](uint64_t) -> Task<void> { co_return; },
                        [&error](uint64_t) -> Task<int> { co_return error; }});
  Spawn(loop_.get_executor(), locks().Share());
  const auto run = [&] {
    loop_.restart();
    loop_.run();
  };
  run();
  ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10, true), Locks::kDeferred);
  run();
  EXPECT_EQ(first.answers, (Answers{{10, ETIMEDOUT}}));
  EXPECT_FALSE(Marked());
  EXPECT_EQ(gateway.asserted, 0u);
  error = 0;
  ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 12, true), Locks::kDeferred);
  run();
  EXPECT_EQ(first.answers, (Answers{{10, ETIMEDOUT}, {12, 0}}));
  EXPECT_TRUE(Marked());
}

TEST_F(LocksOfSession, TheNextBrokerGoesOn) {
  ASSERT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0);
  ASSERT_EQ(Set(Range(2, LockType::kExclusive, 20, 29, 1), 20), 0);
  ASSERT_EQ(Set(Range(3, LockType::kExclusive, 0, 0), 30, true), Locks::kDeferred);
  ASSERT_EQ(Set(Range(4, LockType::kExclusive, 29, 29), 40, true), Locks::kDeferred);
  mounts_.Remove(&second);  // it does not survive
  Restart();
  EXPECT_TRUE(Marked());
  EXPECT_EQ(first.answers, (Answers{{40, 0}})) << "the mount that held it is gone";
  EXPECT_EQ(Set(Range(5, LockType::kShared, 0, 0), 50), EAGAIN);
  EXPECT_EQ(Set(Range(1, LockType::kExclusive, 0, 9), 10), 0) << "sent again";
  locks().Interrupt(0, 30);
  EXPECT_EQ(first.answers.back(), (std::pair<uint64_t, int>{30, EINTR}));
  Restart();
  EXPECT_EQ(first.answers.size(), 2u) << "both have been told";
  EXPECT_EQ(Set(Range(5, LockType::kShared, 29, 29), 52), EAGAIN);
}

}  // namespace
}  // namespace airstore::broker
