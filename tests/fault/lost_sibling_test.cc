// SPDX-License-Identifier: Apache-2.0
//
// A broker and one of two mounts die together. What that mount had written comes from its lane, and
// the other one's kernel must not show what was there before.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <future>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

class LostSibling : public e2e::HostTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  Switchboard board_;
};

TEST_F(LostSibling, WhatItWroteIsSeen) {
  host().CreateWorkspace("work");
  const std::string lost = host().Mount("work", "lost", {"--passthrough", "off"});
  const std::string stays = host().Mount("work", "stays", {"--passthrough", "off"});
  std::string content = e2e::RandomBytes(4, 3'000'000);
  e2e::WriteFile(lost + "/file", content);
  const pid_t frontend = host().MountStatus(lost).at("frontend_pid").get<pid_t>();
  UniqueFd writer = e2e::Open(lost + "/file", O_WRONLY);
  writer.reset();
  EXPECT_EQ(e2e::ReadFile(stays + "/file"), content);  // its kernel keeps the pages
  writer = e2e::Open(lost + "/file", O_WRONLY);
  board_.Arm(FaultPoint::kContentBeforeWrite, FaultAction::kKill, 0, 0, 1);
  const std::string text(5000, 'n');
  auto written = std::async(std::launch::async, [&writer, &text] {
    return pwrite(writer.get(), text.data(), text.size(), 100);
  });
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] { return !host().BrokerRuns(); }));
  ASSERT_EQ(board_.fired(FaultPoint::kContentBeforeWrite), 1u);
  board_.Disarm(FaultPoint::kContentBeforeWrite);
  kill(frontend, SIGKILL);
  host().KillBroker();
  host().StartBroker();
  EXPECT_LT(written.get(), 0);
  content.replace(100, text.size(), text);
  EXPECT_TRUE(
      e2e::WaitUntil(seconds(10), [&] { return e2e::ReadFile(stays + "/file") == content; }));
}

}  // namespace
}  // namespace airstore::fault
