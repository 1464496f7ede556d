// SPDX-License-Identifier: Apache-2.0
//
// Of two mounts of a session one is lost together with the broker. Programs that have files open in
// it may write on, past us, into content files: what they reach is their own file and no other.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <vector>

#include "tests/e2e/support/host_test.h"

namespace airstore::fault {
namespace {

TEST(LostMount, ItsWritersReachNoOtherFile) {
  if (const std::string missing = e2e::WhatIsMissing(); !missing.empty()) GTEST_SKIP() << missing;
  e2e::Host host;
  host.CreateWorkspace("work");
  const std::string kept = host.Mount("work", "kept");
  const std::string lost = host.Mount("work", "lost");
  constexpr int kFiles = 40;
  const auto content = [](int seed) {
    return e2e::RandomBytes(static_cast<uint64_t>(seed), 90'000);
  };
  const std::string stale(90'000, '!');
  std::vector<UniqueFd> writers;
  for (int i = 0; i < kFiles; ++i) {
    e2e::WriteFile(lost + "/old" + std::to_string(i), content(i));
    writers.push_back(e2e::Open(lost + "/old" + std::to_string(i), O_RDWR));
  }
  ASSERT_EQ(fsync(writers.back().get()), 0);
  const pid_t frontend = host.MountStatus(lost).at("frontend_pid").get<pid_t>();
  host.KillBroker();
  kill(frontend, SIGKILL);
  host.StartBroker();
  EXPECT_EQ(host.MountStatus(kept).at("state"), "ready");
  EXPECT_EQ(host.Status().at("mounts").size(), 1u);
  size_t written = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kFiles; ++i) {
      const std::string name = "/new" + std::to_string(round) + "-" + std::to_string(i);
      e2e::WriteFile(kept + name, content(1000 * (round + 1) + i));
      if (i % 2 == 0) unlink((kept + "/old" + std::to_string(i)).c_str());
      const UniqueFd& writer = writers[static_cast<size_t>(i)];
      if (pwrite(writer.get(), stale.data(), stale.size(), 0) > 0) ++written;
    }
    EXPECT_EQ(host.Airctl({"flush", kept}).code, 0);
  }
  std::cout << written << " writes of the lost mount's programs succeeded\n";
  writers.clear();
  host.RemountFresh("work", kept);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kFiles; ++i) {
      const std::string name = "/new" + std::to_string(round) + "-" + std::to_string(i);
      EXPECT_TRUE(e2e::ReadFile(kept + name) == content(1000 * (round + 1) + i)) << name;
    }
  }
  for (int i = 1; i < kFiles; i += 2) {
    const std::string found = e2e::ReadFile(kept + "/old" + std::to_string(i));
    EXPECT_TRUE(found == content(i) || found == stale) << i;
  }
}

}  // namespace
}  // namespace airstore::fault
