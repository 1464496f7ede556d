// SPDX-License-Identifier: Apache-2.0
//
// A change is made in the tables here, and before the gateway has heard of it another host has
// changed the same names. Both hosts show the same in the end, and nobody is told a thing that is
// not so.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <string>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

using e2e::ErrnoOf;
using std::chrono::seconds;

class Overtaken : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  std::string MountThere() {
    other_ = std::make_unique<e2e::OtherBroker>(host());
    std::string there = other_->Mount("work", "there");
    EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return !other_->HoldsLease(); }));
    EXPECT_FALSE(host().SessionStatus("work").at("write_lease"));
    return there;
  }
  // `ours` is made here and numbered, then `theirs`, one change, is made there, then the gateway
  // hears of ours.
  int Overtake(const std::function<int()>& ours, const std::function<void()>& theirs) {
    const uint64_t fired = board_.fired(FaultPoint::kLogAfterNumber);
    board_.Arm(FaultPoint::kLogAfterNumber, FaultAction::kDelay, 2000, 0, 1);
    std::future<int> outcome = std::async(std::launch::async, ours);
    EXPECT_TRUE(e2e::WaitUntil(seconds(5),
                               [&] { return board_.fired(FaultPoint::kLogAfterNumber) != fired; }));
    theirs();  // returns when we have heard of it
    return outcome.get();
  }

  Switchboard board_;
  std::unique_ptr<e2e::OtherBroker> other_;
};

TEST_F(Overtaken, ARenameMovesWhatWasMeantOrWhatIsThere) {
  e2e::WriteFile(At("f.new"), "ours");
  const std::string there = MountThere();
  ASSERT_EQ(e2e::ReadFile(there + "/f.new"), "ours");
  e2e::WriteFile(there + "/theirs", "theirs");
  const int error = Overtake(
      [&] { return ErrnoOf(rename(At("f.new").c_str(), At("f").c_str())); },
      [&] { ASSERT_EQ(rename((there + "/theirs").c_str(), (there + "/f.new").c_str()), 0); });
  // The kernel asks again when the name is not what it was, once.
  EXPECT_TRUE(error == 0 || error == ESTALE) << strerror(error);
  const std::string moved = error == 0 ? "f" : "f.new", left = error == 0 ? "f.new" : "f";
  EXPECT_EQ(e2e::ReadFile(At(moved)), "theirs");
  EXPECT_FALSE(e2e::Exists(At(left)));
  EXPECT_EQ(e2e::ReadFile(there + "/" + moved), "theirs");
  EXPECT_FALSE(e2e::Exists(there + "/" + left));
}

TEST_F(Overtaken, AnExchangeIsOfWhatWasMeantOrWhatIsThere) {
  e2e::WriteFile(At("a"), "first");
  e2e::WriteFile(At("b"), "second");
  const std::string there = MountThere();
  ASSERT_EQ(e2e::ReadFile(there + "/b"), "second");
  e2e::WriteFile(there + "/third", "third");
  const int error = Overtake(
      [&] {
        return ErrnoOf(
            renameat2(AT_FDCWD, At("a").c_str(), AT_FDCWD, At("b").c_str(), RENAME_EXCHANGE));
      },
      [&] { ASSERT_EQ(rename((there + "/third").c_str(), (there + "/b").c_str()), 0); });
  EXPECT_TRUE(error == 0 || error == ESTALE) << strerror(error);
  EXPECT_EQ(e2e::ReadFile(At("a")), error == 0 ? "third" : "first");
  EXPECT_EQ(e2e::ReadFile(At("b")), error == 0 ? "first" : "third");
  for (const char* name : {"/a", "/b"}) {
    EXPECT_EQ(e2e::ReadFile(mount() + name), e2e::ReadFile(there + name));
  }
}

// The broker dies between the gateway's answer and its own.
TEST_F(Overtaken, ARefusalSurvivesTheBroker) {
  e2e::WriteFile(At("source"), "ours");
  const std::string there = MountThere();
  struct Change {
    const char* name;
    int expected;
    std::function<int(const std::string&)> make;
  };
  const Change changes[] = {
      {"directory", EEXIST,
       [](const std::string& path) { return ErrnoOf(mkdir(path.c_str(), 0755)); }},
      {"file", EEXIST,
       [](const std::string& path) {
         return ErrnoOf(
             UniqueFd(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644)).get());
       }},
      {"link", EEXIST,
       [&](const std::string& path) { return ErrnoOf(link(At("source").c_str(), path.c_str())); }},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(change.name);
    const std::string mine = At(change.name), other = there + "/" + change.name;
    const uint64_t fired = board_.fired(FaultPoint::kLogBeforeSettle);
    std::future<void> restarted;
    const int error =
        Overtake([&] { return change.make(mine); },
                 [&] {
                   board_.Arm(FaultPoint::kLogBeforeSettle, FaultAction::kKill, 0, 0, 1);
                   restarted = std::async(std::launch::async, [&] {
                     EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return !host().BrokerRuns(); }));
                     host().KillBroker();
                     host().StartBroker();
                   });
                   ASSERT_EQ(mkdir(other.c_str(), 0700), 0);
                 });
    restarted.get();
    EXPECT_NE(board_.fired(FaultPoint::kLogBeforeSettle), fired);
    EXPECT_EQ(error, change.expected) << strerror(error);
    EXPECT_EQ(e2e::Stat(mine).st_mode, e2e::Stat(other).st_mode);
  }
}

}  // namespace
}  // namespace airstore::fault
