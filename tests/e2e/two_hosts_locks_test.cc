// SPDX-License-Identifier: Apache-2.0
//
// Locks between two brokers at one gateway, and what becomes of them when one of the three dies.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <iostream>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/locker.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Locker::Kind;

constexpr Locker::Range kWrite{F_WRLCK, 0, 0};
constexpr Locker::Range kRead{F_RDLCK, 0, 0};
constexpr Locker::Range kUnlock{F_UNLCK, 0, 0};
constexpr milliseconds kSoon{10'000};
constexpr milliseconds kNotYet{200};
constexpr int kSessionSeconds = 5;

class TwoHostsLocks : public HostTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.gateway_arguments = {"--session-seconds", std::to_string(kSessionSeconds)};
    return options;
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    here_ = host().Mount("work", "here");
    WriteFile(Here("file"), std::string(100, 'x'));
  }
  void Join() {
    other_ = std::make_unique<OtherBroker>(host());
    there_ = other_->Mount("work", "there");
  }
  OtherBroker& other() { return *other_; }
  std::string Here(const std::string& name) const { return here_ + "/" + name; }
  std::string There(const std::string& name) const { return there_ + "/" + name; }
  const std::string& there() const { return there_; }

 private:
  std::string here_;
  std::string there_;
  std::unique_ptr<OtherBroker> other_;
};

TEST_F(TwoHostsLocks, ExcludeEachOther) {
  Join();
  for (const Kind kind : {Kind::kProcess, Kind::kOpenFile, Kind::kFlock}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Locker a;
    Locker b;
    const int mine = a.Open(Here("file"), O_RDWR);
    const int theirs = b.Open(There("file"), O_RDWR);
    EXPECT_EQ(a.TryLock(mine, kind, kWrite), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kRead), EAGAIN);
    EXPECT_EQ(a.TryLock(mine, kind, kRead), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kRead), 0);
    EXPECT_EQ(b.TryLock(theirs, kind, kWrite), EAGAIN);
    if (kind != Kind::kFlock) {
      pid_t pid = -1;
      const auto held = b.Test(theirs, kind, kWrite, &pid);
      ASSERT_TRUE(held);
      EXPECT_EQ(held->type, F_RDLCK);
      EXPECT_EQ(pid, kind == Kind::kProcess ? 0 : -1) << "of another host";
    }
    // A waiter gets it when it is free, and that by closing.
    b.StartLock(theirs, kind, kWrite);
    EXPECT_FALSE(b.Result(kNotYet));
    const auto begun = Now();
    ASSERT_EQ(a.Close(mine), 0);
    EXPECT_EQ(b.Result(kSoon), 0);
    EXPECT_LT(Now() - begun, seconds(3)) << "it was not told, but asked again";
  }
}

TEST_F(TwoHostsLocks, WhatIsHeldAloneStaysHeldWhenAnotherHostComes) {
  Locker a;
  Locker c;
  const int mine = a.Open(Here("file"), O_RDWR);
  const int third = c.Open(Here("file"), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 0, 10}), 0);
  ASSERT_EQ(a.TryLock(mine, Kind::kFlock, kWrite), 0);
  c.StartLock(third, Kind::kProcess, {F_WRLCK, 5, 1});
  EXPECT_FALSE(c.Result(kNotYet));
  Join();
  Locker b;
  const int theirs = b.Open(There("file"), O_RDWR);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_RDLCK, 9, 1}), EAGAIN);
  EXPECT_EQ(b.TryLock(theirs, Kind::kFlock, kRead), EAGAIN);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_WRLCK, 10, 0}), 0);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_UNLCK, 0, 0}), 0);
  EXPECT_EQ(c.Result(kSoon), 0) << "who waited before the other host came";
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, {F_RDLCK, 5, 1}), EAGAIN);
  c.Kill();
  EXPECT_TRUE(WaitUntil(kSoon, [&] {
    return b.TryLock(theirs, Kind::kProcess, {F_WRLCK, 0, 0}) == 0;
  }));
  // And alone again, when the other one has gone.
  b.Kill();
  other().Unmount(there());
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    WriteFile(Here("probe"), "x");
    return host().SessionStatus("work").at("write_lease").get<bool>();
  }));
  EXPECT_EQ(a.TryLock(mine, Kind::kProcess, kWrite), 0);
}

TEST_F(TwoHostsLocks, ASignalEndsWaitingAtOnce) {
  Join();
  Locker a;
  Locker b;
  const int mine = a.Open(Here("file"), O_RDWR);
  const int theirs = b.Open(There("file"), O_RDWR);
  for (const bool frozen : {false, true}) {
    ASSERT_EQ(a.TryLock(mine, Kind::kProcess, kWrite), 0);
    b.StartLock(theirs, Kind::kProcess, kWrite);
    EXPECT_FALSE(b.Result(kNotYet));
    if (frozen) host().FreezeGateway();
    const auto begun = Now();
    b.Interrupt();
    EXPECT_EQ(b.Result(kSoon), EINTR);
    EXPECT_LT(Now() - begun, milliseconds(1000));
    if (frozen) host().ThawGateway();
    ASSERT_EQ(a.TryLock(mine, Kind::kProcess, kUnlock), 0);
    EXPECT_EQ(a.TryLock(mine, Kind::kProcess, kWrite), 0) << "the other one has it after all";
  }
}

TEST_F(TwoHostsLocks, ADeadlockAcrossHostsIsRefused) {
  Join();
  Locker a;
  Locker b;
  const int mine = a.Open(Here("file"), O_RDWR);
  const int theirs = b.Open(There("file"), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 0, 1}), 0);
  ASSERT_EQ(b.TryLock(theirs, Kind::kProcess, {F_WRLCK, 1, 1}), 0);
  a.StartLock(mine, Kind::kProcess, {F_WRLCK, 1, 1});
  EXPECT_FALSE(a.Result(kNotYet));
  b.StartLock(theirs, Kind::kProcess, {F_WRLCK, 0, 1});
  EXPECT_EQ(b.Result(kSoon), EDEADLK);
  ASSERT_EQ(b.Close(theirs), 0);
  EXPECT_EQ(a.Result(kSoon), 0);
}

TEST_F(TwoHostsLocks, AHostThatDiesLetsGoWhenItsSessionExpires) {
  Join();
  Locker a;
  const int mine = a.Open(Here("file"), O_RDWR);
  {
    Locker b;
    const int theirs = b.Open(There("file"), O_RDWR);
    ASSERT_EQ(b.TryLock(theirs, Kind::kProcess, kWrite), 0);
    a.StartLock(mine, Kind::kProcess, kWrite);
    EXPECT_FALSE(a.Result(kNotYet));
    other().Kill();
  }
  const auto begun = Now();
  EXPECT_EQ(a.Result(seconds(kSessionSeconds + 20)), 0);
  EXPECT_GT(Now() - begun, seconds(1)) << "it did not die with the lock";
}

TEST_F(TwoHostsLocks, TheGatewayMayBeRestarted) {
  Join();
  Locker a;
  Locker b;
  const int mine = a.Open(Here("file"), O_RDWR);
  const int theirs = b.Open(There("file"), O_RDWR);
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_WRLCK, 0, 10}), 0);
  b.StartLock(theirs, Kind::kProcess, {F_WRLCK, 5, 1});
  EXPECT_FALSE(b.Result(kNotYet));
  host().KillGateway();
  // Whoever unlocks need not wait for it.
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, {F_UNLCK, 8, 2}), 0);
  host().StartGateway();
  Locker c;
  const int third = c.Open(There("file"), O_RDWR);
  // A gateway that is alone waits for who had locks; of several none knows who is on his way.
  const auto deadline = Now() + kSoon;
  int got = EAGAIN;
  while (got == EAGAIN && Now() < deadline) {
    got = c.TryLock(third, Kind::kProcess, {F_WRLCK, 8, 1});
    if (getenv("AIRSTORE_TEST_STORE") == nullptr) break;
  }
  EXPECT_EQ(got, 0);
  EXPECT_EQ(c.TryLock(third, Kind::kProcess, {F_WRLCK, 7, 1}), EAGAIN);
  EXPECT_FALSE(b.Result(milliseconds(0)));
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, kUnlock), 0);
  EXPECT_EQ(b.Result(kSoon), 0);
}

// The gateway does not hear of a host for longer than a session lives.
TEST_F(TwoHostsLocks, LocksOfAHostThatWasAwayAreLostAndItIsTold) {
  Join();
  Locker a;
  Locker b;
  const int mine = a.Open(Here("file"), O_RDWR);
  const int theirs = b.Open(There("file"), O_RDWR);
  ASSERT_EQ(b.TryLock(theirs, Kind::kProcess, kWrite), 0);
  a.StartLock(mine, Kind::kProcess, kWrite);
  EXPECT_FALSE(a.Result(kNotYet));
  other().Signal(SIGSTOP);
  EXPECT_EQ(a.Result(seconds(kSessionSeconds + 20)), 0);
  other().Signal(SIGCONT);
  EXPECT_TRUE(WaitUntil(seconds(20), [&] {
    const int error = b.TryLock(theirs, Kind::kProcess, {F_RDLCK, 0, 1});
    EXPECT_TRUE(error == ENOLCK || error == EAGAIN) << error;
    return error == ENOLCK;
  }));
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, kWrite), EAGAIN) << "told once";
  ASSERT_EQ(a.TryLock(mine, Kind::kProcess, kUnlock), 0);
  EXPECT_EQ(b.TryLock(theirs, Kind::kProcess, kWrite), 0);
}

// Whoever has the lock adds 1 to a number in a file that all have open.
TEST_F(TwoHostsLocks, WhatIsWrittenUnderALockIsReadUnderTheNext) {
  constexpr int kProcesses = 4;
  const int rounds = static_cast<int>(EnvOr("AIRSTORE_E2E_LOCK_ROUNDS", 40));
  WriteFile(Here("counter"), std::string(8, '\0'));
  Join();
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const std::string path = i % 2 == 0 ? Here("counter") : There("counter");
    const pid_t child = fork();
    if (child == 0) {
      const int fd = open(path.c_str(), O_RDWR);
      for (int round = 0; round < rounds; ++round) {
        struct flock lock {};
        lock.l_type = F_WRLCK;
        if (fcntl(fd, F_SETLKW, &lock) != 0) _exit(2);
        uint64_t value = 0;
        if (pread(fd, &value, sizeof(value), 0) != sizeof(value)) _exit(3);
        ++value;
        if (pwrite(fd, &value, sizeof(value), 0) != sizeof(value)) _exit(4);
        lock.l_type = F_UNLCK;
        if (fcntl(fd, F_SETLK, &lock) != 0) _exit(5);
      }
      _exit(0);
    }
    children.push_back(child);
  }
  const auto begun = Now();
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  const auto took = std::chrono::duration_cast<milliseconds>(Now() - begun);
  std::cout << took.count() / (kProcesses * rounds) << " ms each\n";
  uint64_t value = 0;
  const std::string content = ReadFile(There("counter"));
  memcpy(&value, content.data(), sizeof(value));
  EXPECT_EQ(value, static_cast<uint64_t>(kProcesses * rounds));
}

}  // namespace
}  // namespace airstore::e2e
