// SPDX-License-Identifier: Apache-2.0
//
// A gateway that has died while two hosts work in a workspace, so that it decides about changes and
// locks: what is asked of it ends after io_timeout, and has not happened.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <set>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/locker.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Locker::Kind;

class TwoHostsOutage : public MountTest {
 protected:
  static constexpr seconds kIoTimeout{1};
  static constexpr seconds kLimit = kIoTimeout + seconds(2);
  HostOptions Options() const override {
    HostOptions options;
    options.broker_arguments = {"--io-timeout", std::to_string(kIoTimeout.count()) + "s"};
    options.gateway_arguments = {"--session-seconds", "60"};
    options.one_gateway = true;
    return options;
  }
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    other_ = std::make_unique<OtherBroker>(host());
    there_ = other_->Mount("work", "there");
    ASSERT_TRUE(WaitUntil(seconds(10), [&] { return !Leased(); }));
  }
  bool Leased() { return host().SessionStatus("work").at("write_lease").get<bool>(); }
  std::string There(const std::string& name) const { return there_ + "/" + name; }
  void LoseGateway() {
    host().KillGateway();
    ASSERT_TRUE(WaitUntil(
        seconds(5), [&] { return host().SessionStatus("work").at("state") == "unreachable"; }));
  }

 private:
  std::unique_ptr<OtherBroker> other_;
  std::string there_;
};

TEST_F(TwoHostsOutage, ChangesEndInTimeAndHaveNotHappened) {
  for (const char* name : {"gone", "old", "cut", "emptied", "mode", "linked", "attribute"}) {
    WriteFile(At(name), "content");
  }
  ASSERT_EQ(mkdir(At("olddir").c_str(), 0755), 0);
  const auto path = [this](const char* name) { return At(name); };
  const std::vector<std::function<int()>> changes = {
      [&] { return mkdir(path("newdir").c_str(), 0755); },
      [&] { return rmdir(path("olddir").c_str()); },
      [&] { return open(path("new").c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600); },
      [&] { return unlink(path("gone").c_str()); },
      [&] { return rename(path("old").c_str(), path("older").c_str()); },
      [&] { return truncate(path("cut").c_str(), 1); },
      [&] { return open(path("emptied").c_str(), O_TRUNC | O_WRONLY | O_CLOEXEC); },
      [&] { return chmod(path("mode").c_str(), 0600); },
      [&] { return link(path("linked").c_str(), path("link").c_str()); },
      [&] { return symlink("linked", path("symlink").c_str()); },
      [&] { return mknod(path("pipe").c_str(), S_IFIFO | 0600, 0); },
      [&] { return setxattr(path("attribute").c_str(), "user.a", "b", 1, 0); },
  };
  const std::set<std::string> names = NamesIn(mount());
  const mode_t mode = Stat(At("mode")).st_mode;
  LoseGateway();
  for (size_t i = 0; i < changes.size(); ++i) {
    const auto begun = Now();
    EXPECT_EQ(ErrnoOf(changes[i]()), ETIMEDOUT) << i;
    EXPECT_GE(Now() - begun, kIoTimeout) << i;
    EXPECT_LT(Now() - begun, kLimit) << i;
  }

  host().StartGateway();
  ASSERT_TRUE(WaitUntil(seconds(20), [&] {
    (void)mkdir(There("later").c_str(), 0755);
    return Exists(There("later")) && Exists(At("later"));
  }));
  ASSERT_EQ(host().Airctl({"flush"}).code, 0);
  for (const std::string& where : {mount(), There("")}) {
    std::set<std::string> now = NamesIn(where);
    now.erase("later");
    EXPECT_EQ(now, names) << where;
    EXPECT_EQ(Stat(where + "/cut").st_size, 7) << where;
    EXPECT_EQ(Stat(where + "/emptied").st_size, 7) << where;
    EXPECT_EQ(Stat(where + "/mode").st_mode, mode) << where;
    EXPECT_EQ(Stat(where + "/linked").st_nlink, 1u) << where;
    EXPECT_EQ(getxattr((where + "/attribute").c_str(), "user.a", nullptr, 0), -1) << where;
  }
}

// It has no part in what is written, and does not know of what has no name.
TEST_F(TwoHostsOutage, WhatIsNotItsToDecideGoesOn) {
  const std::string served = host().Mount("work", "served", {"--passthrough", "off"});
  WriteFile(served + "/file", "content");
  ASSERT_EQ(setxattr((served + "/file").c_str(), "user.a", "b", 1, 0), 0);
  const UniqueFd file(open((served + "/file").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file);
  ASSERT_EQ(pwrite(file.get(), "C", 1, 0), 1);
  const UniqueFd nameless(open(served.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(nameless);
  LoseGateway();
  const auto begun = Now();
  EXPECT_EQ(pwrite(file.get(), "later", 5, 7), 5);
  EXPECT_EQ(ErrnoOf(ftruncate(nameless.get(), 100)), 0);
  EXPECT_EQ(ErrnoOf(fchmod(nameless.get(), 0640)), 0);
  EXPECT_EQ(ErrnoOf(fsetxattr(nameless.get(), "user.a", "b", 1, 0)), 0);
  EXPECT_LT(Now() - begun, kIoTimeout);
  host().StartGateway();
  EXPECT_TRUE(WaitUntil(seconds(20), [&] { return fsync(file.get()) == 0; }));
  EXPECT_EQ(ReadFile(There("file")), "Contentlater");
}

// Who has written under a lock has not unlocked before others would read it.
TEST_F(TwoHostsOutage, WhoUnlocksAfterAWriteWaitsUntilItIsSent) {
  WriteFile(At("file"), "early");
  Locker holder;
  const int held = holder.Open(At("file"), O_RDWR);
  ASSERT_EQ(holder.TryLock(held, Kind::kProcess, {F_WRLCK, 0, 10}), 0);
  Locker elsewhere;
  const int theirs = elsewhere.Open(There("file"), O_RDWR);
  const UniqueFd file(open(At("file").c_str(), O_WRONLY | O_CLOEXEC));
  LoseGateway();
  ASSERT_EQ(pwrite(file.get(), "after", 5, 0), 5);
  std::atomic<int> unlocked = -1;
  std::thread unlocking([&] { unlocked = holder.TryLock(held, Kind::kProcess, {F_UNLCK, 0, 0}); });
  std::this_thread::sleep_for(kLimit);
  EXPECT_EQ(unlocked, -1) << "it did not wait";
  host().StartGateway();
  elsewhere.StartLock(theirs, Kind::kProcess, {F_WRLCK, 0, 10});
  EXPECT_EQ(elsewhere.Result(seconds(30)), 0);
  EXPECT_EQ(ReadFile(There("file")), "after");
  unlocking.join();
  EXPECT_EQ(unlocked, 0);
}

TEST_F(TwoHostsOutage, LocksEndInTimeAndAreNotHeld) {
  WriteFile(At("file"), std::string(100, 'x'));
  Locker holder;
  const int held = holder.Open(At("file"), O_RDWR);
  ASSERT_EQ(holder.TryLock(held, Kind::kProcess, {F_WRLCK, 0, 10}), 0);
  std::vector<Locker> askers(3);
  std::vector<int> files;
  for (Locker& asker : askers) files.push_back(asker.Open(At("file"), O_RDWR));
  Locker waiter;
  const int waited = waiter.Open(At("file"), O_RDWR);
  Locker elsewhere;
  const int theirs = elsewhere.Open(There("file"), O_RDWR);
  LoseGateway();
  waiter.StartLock(waited, Kind::kProcess, {F_WRLCK, 0, 10});
  constexpr Kind kKinds[] = {Kind::kProcess, Kind::kOpenFile, Kind::kFlock};
  for (size_t i = 0; i < askers.size(); ++i) {
    const auto begun = Now();
    EXPECT_EQ(askers[i].TryLock(files[i], kKinds[i], {F_WRLCK, 50, 10}), ETIMEDOUT) << i;
    EXPECT_LT(Now() - begun, kLimit) << i;
  }
  EXPECT_FALSE(waiter.Result(milliseconds(0)));
  const auto begun = Now();
  EXPECT_EQ(holder.TryLock(held, Kind::kProcess, {F_UNLCK, 0, 0}), 0);
  EXPECT_LT(Now() - begun, kLimit);
  host().StartGateway();
  EXPECT_EQ(waiter.Result(seconds(30)), 0);
  EXPECT_EQ(elsewhere.TryLock(theirs, Kind::kProcess, {F_WRLCK, 0, 1}), EAGAIN);
  EXPECT_EQ(elsewhere.TryLock(theirs, Kind::kProcess, {F_WRLCK, 50, 10}), 0);
}

}  // namespace
}  // namespace airstore::e2e
