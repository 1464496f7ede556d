// SPDX-License-Identifier: Apache-2.0
//
// Locks among processes of one mount, of two mounts of one host, and across the death of the
// frontend. Each scenario runs on one mount and over two.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <thread>

#include "tests/e2e/support/locker.h"
#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Locker::Kind;

constexpr Locker::Range kWrite{F_WRLCK, 0, 0};
constexpr Locker::Range kRead{F_RDLCK, 0, 0};
constexpr Locker::Range kUnlock{F_UNLCK, 0, 0};
constexpr milliseconds kSoon{5000};
constexpr milliseconds kNotYet{150};

// The parameter is the mount of the second process.
class Locks : public TwoMounts, public testing::WithParamInterface<int> {
 protected:
  void SetUp() override {
    TwoMounts::SetUp();
    if (IsSkipped()) return;
    WriteFile(Mine(), std::string(100, 'x'));
  }
  std::string Mine() const { return At(0, "file"); }
  std::string Theirs() const { return At(GetParam(), "file"); }
  // Kills the frontend of a mount and waits until another one serves.
  void KillFrontend(int index) {
    const auto before = host().MountStatus(mount(index));
    kill(before.at("frontend_pid").get<pid_t>(), SIGKILL);
    const auto restarts = before.at("frontend_restarts").get<uint64_t>();
    ASSERT_TRUE(WaitUntil(seconds(20), [&] {
      const auto now = host().MountStatus(mount(index));
      return now.at("frontend_restarts").get<uint64_t>() > restarts && now.at("state") == "ready";
    }));
  }
};

const auto kMounts = testing::Values(0, 1);
std::string MountName(const testing::TestParamInfo<int>& info) {
  return info.param == 0 ? "OneMount" : "TwoMounts";
}
INSTANTIATE_TEST_SUITE_P(, Locks, kMounts, MountName);

TEST_P(Locks, ExcludeAndShare) {
  for (const Kind kind : {Kind::kProcess, Kind::kOpenFile, Kind::kFlock}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Locker a;
    Locker b;
    const int mine = a.Open(Mine(), O_RDWR);
    const int theirs = b.Open(Theirs(), O_RDWR);
    EXPECT_EQ(a.TryLock(mine, kind, kWrite), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kRead), EAGAIN);
    EXPECT_EQ(b.TryLock(theirs, kind, kWrite), EAGAIN);
    EXPECT_EQ(a.TryLock(mine, kind, kRead), 0);  // downgrade
    EXPECT_EQ(b.TryLock(theirs, kind, kRead), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kWrite), EAGAIN);
    EXPECT_EQ(a.TryLock(mine, kind, kUnlock), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kWrite), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kUnlock), 0);
  }
}

TEST_P(Locks, TheKindsDoNotSeeEachOther) {
  Locker a;
  Locker b;
  const int mine = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  EXPECT_EQ(a.TryLock(mine, Kind::kFlock, kWrite), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, kWrite), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kFlock, kRead), EAGAIN);
  EXPECT_EQ(a.TryLock(mine, Kind::kOpenFile, kRead), EAGAIN);
}

TEST_P(Locks, RangesSplitAndAreTold) {
  Locker a;
  Locker b;
  const int mine = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 10, 30}), 0);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_UNLCK, 20, 10}), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_WRLCK, 20, 10}), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_RDLCK, 19, 1}), EAGAIN);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_RDLCK, 30, 1}), EAGAIN);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_WRLCK, 40, 0}), 0);
  pid_t holder = 0;
  const auto first = b.Test(theirs, Kind::kProcess, {F_WRLCK, 0, 0}, &holder);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->type, F_WRLCK);
  EXPECT_EQ(first->start, 10);
  EXPECT_EQ(first->length, 10);
  EXPECT_EQ(holder, a.pid());
  EXPECT_FALSE(b.Test(theirs, Kind::kProcess, {F_WRLCK, 0, 10}));
  const auto open_end = a.Test(mine, Kind::kProcess, {F_RDLCK, 1000, 1});
  ASSERT_TRUE(open_end);
  EXPECT_EQ(open_end->start, 40);
  EXPECT_EQ(open_end->length, 0) << "to the end";
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 2, 3}), 0);
  const auto smallest = b.Test(theirs, Kind::kProcess, {F_WRLCK, 0, 0});
  ASSERT_TRUE(smallest);
  EXPECT_EQ(smallest->start, 2) << "of several the first in the file";
}

TEST_P(Locks, WaitersGetItWhenItIsFree) {
  for (const Kind kind : {Kind::kProcess, Kind::kOpenFile, Kind::kFlock}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Locker a;
    Locker b;
    Locker c;
    const int mine = a.Open(Mine(), O_RDWR);
    const int theirs = b.Open(Theirs(), O_RDWR);
    const int third = c.Open(Mine(), O_RDWR);
    ASSERT_EQ(a.TryLock(mine, kind, kWrite), 0);
    b.StartLock(theirs, kind, kRead);
    EXPECT_FALSE(b.Result(kNotYet));
    c.StartLock(third, kind, kRead);
    EXPECT_FALSE(c.Result(kNotYet));
    ASSERT_EQ(a.TryLock(mine, kind, kUnlock), 0);
    EXPECT_EQ(b.Result(kSoon), 0);
    EXPECT_EQ(c.Result(kSoon), 0);
  }
}

// More than a frontend has workers, or a lane slots.
TEST_P(Locks, AnyNumberMayWait) {
  constexpr size_t kWaiters = 100;
  Locker holder;
  const int mine = holder.Open(Mine(), O_RDWR);
  ASSERT_EQ(holder.TryLock(mine, Kind::kProcess, kWrite), 0);
  std::vector<Locker> waiters(kWaiters);
  for (size_t i = 0; i < kWaiters; ++i) {
    const int fd = waiters[i].Open(i % 2 == 0 ? Mine() : Theirs(), O_RDWR);
    waiters[i].StartLock(fd, Kind::kProcess, kWrite);
  }
  EXPECT_FALSE(waiters.back().Result(kNotYet));
  // Others are served meanwhile.
  WriteFile(At(0, "other"), "content");
  EXPECT_EQ(ReadFile(At(GetParam(), "other")), "content");
  ASSERT_EQ(holder.TryLock(mine, Kind::kProcess, kUnlock), 0);
  // One after the other.
  std::vector<bool> served(kWaiters);
  for (size_t round = 0; round < kWaiters; ++round) {
    std::vector<size_t> holders;
    const auto look = [&] {
      for (size_t i = 0; i < kWaiters; ++i) {
        if (served[i]) continue;
        if (const auto result = waiters[i].Result(milliseconds(0))) {
          EXPECT_EQ(*result, 0);
          holders.push_back(i);
          served[i] = true;
        }
      }
      return !holders.empty();
    };
    ASSERT_TRUE(WaitUntil(kSoon, look)) << round;
    ASSERT_EQ(holders.size(), 1u);
    waiters[holders[0]].Kill();
  }
}

TEST_P(Locks, ASignalEndsWaitingAtOnce) {
  for (const Kind kind : {Kind::kProcess, Kind::kOpenFile, Kind::kFlock}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Locker a;
    Locker b;
    const int mine = a.Open(Mine(), O_RDWR);
    const int theirs = b.Open(Theirs(), O_RDWR);
    ASSERT_EQ(a.TryLock(mine, kind, kWrite), 0);
    b.StartLock(theirs, kind, kWrite);
    EXPECT_FALSE(b.Result(kNotYet));
    const auto begun = Now();
    b.Interrupt();
    EXPECT_EQ(b.Result(kSoon), EINTR);
    EXPECT_LT(Now() - begun, milliseconds(1000));
    // It does not get it afterwards either.
    ASSERT_EQ(a.TryLock(mine, kind, kUnlock), 0);
    EXPECT_EQ(a.TryLock(mine, kind, kWrite), 0);
  }
}

TEST_P(Locks, WhoIsKilledLetsGo) {
  for (const Kind kind : {Kind::kProcess, Kind::kOpenFile, Kind::kFlock}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Locker a;
    Locker b;
    Locker c;
    const int mine = a.Open(Mine(), O_RDWR);
    const int theirs = b.Open(Theirs(), O_RDWR);
    const int third = c.Open(Mine(), O_RDWR);
    ASSERT_EQ(a.TryLock(mine, kind, kWrite), 0);
    b.StartLock(theirs, kind, kWrite);
    EXPECT_FALSE(b.Result(kNotYet));
    b.Kill();  // a waiter
    a.Kill();  // the holder
    EXPECT_EQ(c.TryLock(third, kind, kWrite), 0) << "at once, when it has been reaped";
  }
}

TEST_P(Locks, AnyCloseReleasesWhatTheProcessHolds) {
  Locker a;
  Locker b;
  const int one = a.Open(Mine(), O_RDWR);
  const int other = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  ASSERT_EQ(a.TryLock(one, Kind::kProcess, kWrite), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, kRead), EAGAIN);
  ASSERT_EQ(a.Close(other), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, kRead), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, kUnlock), 0);
  // Not those of open files.
  const int third = a.Open(Mine(), O_RDWR);
  for (const Kind kind : {Kind::kOpenFile, Kind::kFlock}) {
    ASSERT_EQ(a.TryLock(one, kind, kWrite), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kRead), EAGAIN);
  }
  ASSERT_EQ(a.Close(third), 0);
  for (const Kind kind : {Kind::kOpenFile, Kind::kFlock}) {
    EXPECT_EQ(b.TryLock(theirs, kind, kRead), EAGAIN);
  }
  ASSERT_EQ(a.Close(one), 0);
  for (const Kind kind : {Kind::kOpenFile, Kind::kFlock}) {
    EXPECT_EQ(b.TryLock(theirs, kind, kWrite), 0) << "at once";
  }
}

TEST_P(Locks, ReadersCloseToo) {
  Locker a;
  Locker b;
  const int theirs = b.Open(Theirs(), O_RDWR);
  for (const Kind kind : {Kind::kProcess, Kind::kOpenFile, Kind::kFlock}) {
    SCOPED_TRACE(static_cast<int>(kind));
    const int mine = a.Open(Mine(), O_RDONLY);
    ASSERT_EQ(a.TryLock(mine, kind, kRead), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kWrite), EAGAIN);
    ASSERT_EQ(a.Close(mine), 0);
    // The kernel does not say that a process has closed what it only read: it says when nobody has
    // it open any more, at about the same time.
    EXPECT_TRUE(WaitUntil(kSoon, [&] { return b.TryLock(theirs, kind, kWrite) == 0; }));
    EXPECT_EQ(b.TryLock(theirs, kind, kUnlock), 0);
  }
}

TEST_P(Locks, ForkSharesOpenFiles) {
  Locker a;
  Locker b;
  const int mine = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kFlock, kWrite), 0);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 0, 10}), 0);
  const pid_t child = a.Fork();
  ASSERT_GT(child, 0);
  ASSERT_EQ(a.Close(mine), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_WRLCK, 0, 10}), 0) << "a process's";
  EXPECT_EQ(b.TryLock(theirs, Kind::kFlock, kRead), EAGAIN) << "the child has it open";
  a.Kill();
  EXPECT_EQ(b.TryLock(theirs, Kind::kFlock, kRead), EAGAIN);
  kill(child, SIGKILL);
  EXPECT_TRUE(WaitUntil(kSoon, [&] { return b.TryLock(theirs, Kind::kFlock, kWrite) == 0; }));
}

TEST_P(Locks, ADeadlockIsRefused) {
  Locker a;
  Locker b;
  Locker c;
  const int mine = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  const int third = c.Open(Mine(), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 0, 1}), 0);
  ASSERT_EQ(b.TryLock(theirs, Kind::kProcess, {F_WRLCK, 1, 1}), 0);
  ASSERT_EQ(c.TryLock(third, Kind::kProcess, {F_WRLCK, 2, 1}), 0);
  a.StartLock(mine, Kind::kProcess, {F_WRLCK, 1, 1});
  EXPECT_FALSE(a.Result(kNotYet));
  b.StartLock(theirs, Kind::kProcess, {F_WRLCK, 2, 1});
  EXPECT_FALSE(b.Result(kNotYet));
  c.StartLock(third, Kind::kProcess, {F_WRLCK, 0, 1});
  EXPECT_EQ(c.Result(kSoon), EDEADLK);
  ASSERT_EQ(c.TryLock(third, Kind::kProcess, {F_UNLCK, 2, 1}), 0);
  EXPECT_EQ(b.Result(kSoon), 0);
}

// Of open files nobody can say: another thread may unlock.
TEST_P(Locks, OpenFilesDoNotDeadlock) {
  Locker a;
  Locker b;
  const int mine = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kOpenFile, {F_WRLCK, 0, 1}), 0);
  ASSERT_EQ(b.TryLock(theirs, Kind::kOpenFile, {F_WRLCK, 1, 1}), 0);
  a.StartLock(mine, Kind::kOpenFile, {F_WRLCK, 1, 1});
  EXPECT_FALSE(a.Result(kNotYet));
  b.StartLock(theirs, Kind::kOpenFile, {F_WRLCK, 0, 1});
  EXPECT_FALSE(b.Result(kNotYet));
  b.Interrupt();
  EXPECT_EQ(b.Result(kSoon), EINTR);
}

// Two that share and both want it alone: each gives up what it has first.
TEST_P(Locks, FlockUpgradesOneByOne) {
  Locker a;
  Locker b;
  const int mine = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kFlock, kRead), 0);
  ASSERT_EQ(b.TryLock(theirs, Kind::kFlock, kRead), 0);
  a.StartLock(mine, Kind::kFlock, kWrite);
  EXPECT_FALSE(a.Result(kNotYet));
  EXPECT_EQ(b.TryLock(theirs, Kind::kFlock, kWrite), 0);
  EXPECT_FALSE(a.Result(kNotYet));
  ASSERT_EQ(b.TryLock(theirs, Kind::kFlock, kUnlock), 0);
  EXPECT_EQ(a.Result(kSoon), 0);
}

TEST_P(Locks, SurviveTheFrontend) {
  Locker a;
  Locker b;
  Locker c;
  const int mine = a.Open(Mine(), O_RDWR);
  const int theirs = b.Open(Theirs(), O_RDWR);
  const int third = c.Open(Theirs(), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 0, 10}), 0);
  ASSERT_EQ(a.TryLock(mine, Kind::kFlock, kWrite), 0);
  b.StartLock(theirs, Kind::kProcess, {F_WRLCK, 5, 1});
  EXPECT_FALSE(b.Result(kNotYet));
  for (int round = 0; round < 3; ++round) {
    for (const int index : {0, GetParam()}) ASSERT_NO_FATAL_FAILURE(KillFrontend(index));
    EXPECT_EQ(c.TryLock(third, Kind::kFlock, kRead), EAGAIN);
    EXPECT_EQ(c.TryLock(third, Kind::kProcess, {F_WRLCK, 9, 1}), EAGAIN);
    EXPECT_FALSE(b.Result(milliseconds(0)));
  }
  // A wait that was handed over by the dead one still ends by a signal, and by the lock.
  b.Interrupt();
  EXPECT_EQ(b.Result(kSoon), EINTR);
  b.StartLock(theirs, Kind::kProcess, {F_WRLCK, 5, 1});
  EXPECT_FALSE(b.Result(kNotYet));
  ASSERT_NO_FATAL_FAILURE(KillFrontend(GetParam()));
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_UNLCK, 0, 10}), 0);
  EXPECT_EQ(b.Result(kSoon), 0);
  EXPECT_EQ(a.Close(mine), 0);
  EXPECT_EQ(c.TryLock(third, Kind::kFlock, kWrite), 0);
}

// Whoever has the lock adds 1 to a number that all of them read first: none is lost, whatever
// frontends do meanwhile.
TEST_P(Locks, NobodyGetsInBetween) {
  constexpr int kProcesses = 4;
  constexpr int kRounds = 150;
  const std::string counter = At(0, "counter");
  WriteFile(counter, std::string(8, '\0'));
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const std::string path = At(i % 2 == 0 ? 0 : GetParam(), "counter");
    const pid_t child = fork();
    if (child == 0) {
      const int fd = open(path.c_str(), O_RDWR);
      for (int round = 0; round < kRounds; ++round) {
        struct flock lock {};
        lock.l_type = F_WRLCK;
        if (i < 2 ? fcntl(fd, F_SETLKW, &lock) != 0 : fcntl(fd, F_OFD_SETLKW, &lock) != 0) _exit(2);
        uint64_t value = 0;
        if (pread(fd, &value, sizeof(value), 0) != sizeof(value)) _exit(3);
        ++value;
        if (pwrite(fd, &value, sizeof(value), 0) != sizeof(value)) _exit(4);
        lock.l_type = F_UNLCK;
        lock.l_pid = 0;
        if (i < 2 ? fcntl(fd, F_SETLK, &lock) != 0 : fcntl(fd, F_OFD_SETLK, &lock) != 0) _exit(5);
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (int kills = 0; kills < 4; ++kills) {
    std::this_thread::sleep_for(milliseconds(50));
    KillFrontend(kills % 2 == 0 ? 0 : GetParam());
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  uint64_t value = 0;
  const std::string content = ReadFile(counter);
  memcpy(&value, content.data(), sizeof(value));
  EXPECT_EQ(value, uint64_t{kProcesses} * kRounds);
}

class LockCost : public MountTest {};

TEST_F(LockCost, APairIsTwoHops) {
  WriteFile(At("file"), "content");
  const UniqueFd file = Open(At("file"), O_RDWR);
  constexpr int kPairs = 2000;
  const auto calls = [&] {
    return host().MountStatus(mount()).at("counters").at("broker_calls").get<uint64_t>();
  };
  const uint64_t before = calls();
  const auto begun = Now();
  for (int i = 0; i < kPairs; ++i) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    ASSERT_EQ(fcntl(file.get(), F_SETLK, &lock), 0);
    lock.l_type = F_UNLCK;
    ASSERT_EQ(fcntl(file.get(), F_SETLK, &lock), 0);
  }
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Now() - begun);
  std::cout << took.count() / kPairs << " us for lock and unlock\n";
  EXPECT_EQ(calls() - before, 2u * kPairs);
}

}  // namespace
}  // namespace airstore::e2e
