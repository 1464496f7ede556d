// SPDX-License-Identifier: Apache-2.0
//
// Appends of two mounts to one file, of which one is told its place and brings its bytes late: the
// other one waits for them, however long that takes, and goes behind them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class AppendsWait : public e2e::HostTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    first_ = host().Mount("work", "first", {"--passthrough", "off"});
    second_ = host().Mount("work", "second", {"--passthrough", "off"});
    e2e::WriteFile(first_ + "/log", kBegin);
    here_ = e2e::Open(first_ + "/log", O_WRONLY | O_APPEND);
    there_ = e2e::Open(second_ + "/log", O_WRONLY | O_APPEND);
    ASSERT_EQ(write(there_.get(), "-", 1), 1);  // what is asked once has been asked
    ASSERT_EQ(write(here_.get(), "-", 1), 1);
  }
  std::future<ssize_t> Append(const UniqueFd& file, const std::string& text) {
    return std::async(std::launch::async,
                      [&file, text] { return write(file.get(), text.data(), text.size()); });
  }
  void ExpectBoth() {
    const std::string begin = kBegin + std::string("--");
    for (const std::string& mount : {first_, second_}) {
      EXPECT_EQ(e2e::ReadFile(mount + "/log"), begin + kLate + kSoon);
    }
  }

  static constexpr char kBegin[] = "begin";
  static constexpr char kLate[] = "this one is late;";
  static constexpr char kSoon[] = "this one is not;";
  Switchboard board_;
  std::string first_;
  std::string second_;
  UniqueFd here_;
  UniqueFd there_;
};

TEST_F(AppendsWait, ForOneWhoIsSlow) {
  board_.Arm(FaultPoint::kFrontendCallAnswered, FaultAction::kDelay, 3000, 0, 1);
  auto late = Append(here_, kLate);
  ASSERT_TRUE(e2e::WaitUntil(seconds(5),
                             [&] { return board_.fired(FaultPoint::kFrontendCallAnswered) == 1; }));
  auto soon = Append(there_, kSoon);
  EXPECT_EQ(late.get(), static_cast<ssize_t>(sizeof kLate - 1));
  EXPECT_EQ(soon.get(), static_cast<ssize_t>(sizeof kSoon - 1));
  ExpectBoth();
}

TEST_F(AppendsWait, AlsoWhenTheBrokerIsAnotherOne) {
  board_.Arm(FaultPoint::kFrontendCallAnswered, FaultAction::kDelay, 3000, 0, 1);
  auto late = Append(here_, kLate);
  ASSERT_TRUE(e2e::WaitUntil(seconds(5),
                             [&] { return board_.fired(FaultPoint::kFrontendCallAnswered) == 1; }));
  host().KillBroker();
  host().StartBroker();
  auto soon = Append(there_, kSoon);
  EXPECT_EQ(late.get(), static_cast<ssize_t>(sizeof kLate - 1));
  EXPECT_EQ(soon.get(), static_cast<ssize_t>(sizeof kSoon - 1));
  ExpectBoth();
}

// Its kernel has said where the end is, as it knew it; what the sibling has appended since stays,
// though nobody is there any more to be asked.
TEST_F(AppendsWait, ForOneThatIsGoneByThen) {
  board_.Arm(FaultPoint::kFrontendRequestRead, FaultAction::kDelay, 5000, 0, 1);
  auto behind = Append(here_, kLate);
  ASSERT_TRUE(e2e::WaitUntil(seconds(5),
                             [&] { return board_.fired(FaultPoint::kFrontendRequestRead) == 1; }));
  EXPECT_EQ(Append(there_, kSoon).get(), static_cast<ssize_t>(sizeof kSoon - 1));
  EXPECT_EQ(fsync(there_.get()), 0);
  there_.reset();
  host().Unmount(second_);
  EXPECT_EQ(behind.get(), static_cast<ssize_t>(sizeof kLate - 1));
  EXPECT_EQ(e2e::ReadFile(first_ + "/log"), kBegin + std::string("--") + kSoon + kLate);
}

// Somebody has stopped its frontend: its bytes keep their place, and others go on behind it.
TEST_F(AppendsWait, NotForOneThatIsStopped) {
  board_.Arm(FaultPoint::kFrontendCallAnswered, FaultAction::kStop, 0, 0, 1);
  auto late = Append(here_, kLate);
  ASSERT_TRUE(e2e::WaitUntil(seconds(5),
                             [&] { return board_.fired(FaultPoint::kFrontendCallAnswered) == 1; }));
  auto soon = Append(there_, kSoon);
  EXPECT_EQ(soon.wait_for(seconds(20)), std::future_status::ready);
  kill(board_.fired_in(FaultPoint::kFrontendCallAnswered), SIGCONT);
  EXPECT_EQ(late.get(), static_cast<ssize_t>(sizeof kLate - 1));
  EXPECT_EQ(soon.get(), static_cast<ssize_t>(sizeof kSoon - 1));
  ExpectBoth();
}

// Its frontend dies before the bytes are queued; the next one brings them.
TEST_F(AppendsWait, ForTheNextFrontend) {
  board_.Arm(FaultPoint::kFrontendCallAnswered, FaultAction::kStop, 0, 0, 1);
  auto late = Append(here_, kLate);
  ASSERT_TRUE(e2e::WaitUntil(seconds(5),
                             [&] { return board_.fired(FaultPoint::kFrontendCallAnswered) == 1; }));
  auto soon = Append(there_, kSoon);
  std::this_thread::sleep_for(milliseconds(1500));
  kill(board_.fired_in(FaultPoint::kFrontendCallAnswered), SIGKILL);
  EXPECT_EQ(late.get(), static_cast<ssize_t>(sizeof kLate - 1));
  EXPECT_EQ(soon.get(), static_cast<ssize_t>(sizeof kSoon - 1));
  ExpectBoth();
}

}  // namespace
}  // namespace airstore::fault
