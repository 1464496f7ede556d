// SPDX-License-Identifier: Apache-2.0
//
// A broker dies while it asks the kernel who has a content file open. The lease that answers that
// stays with what the kernel keeps of it, and must not hold up the next broker.
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

class LeaseLeft : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  Switchboard board_;
};

TEST_F(LeaseLeft, TheNextBrokerIsAtOnceThere) {
  if (!host().MountStatus(mount()).at("passthrough").get<bool>()) {
    GTEST_SKIP() << "the kernel keeps nothing without passthrough";
  }
  const std::string content = e2e::RandomBytes(1, 3'000'000);
  UniqueFd file = e2e::Open(At("file"), O_RDWR | O_CREAT);
  e2e::WriteAt(file.get(), content, 0);
  board_.Arm(FaultPoint::kContentLeased, FaultAction::kKill, 0, 0, 1);
  file.reset();
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    return board_.fired(FaultPoint::kContentLeased) != 0 && !host().BrokerRuns();
  }));
  host().KillBroker();
  const auto begun = e2e::Now();
  host().StartBroker();
  EXPECT_LT(e2e::Now() - begun, seconds(5));
  file = e2e::Open(At("file"), O_RDWR);
  EXPECT_EQ(e2e::ReadSome(file.get(), content.size(), 0), content);
  e2e::WriteAt(file.get(), "written", 0);
  file.reset();
  RemountFresh();
  EXPECT_EQ(e2e::ReadFile(At("file")), "written" + content.substr(7));
}

}  // namespace
}  // namespace airstore::fault
