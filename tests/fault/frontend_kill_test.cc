// SPDX-License-Identifier: Apache-2.0
//
// A frontend that is killed is replaced, and nobody who uses its mount sees it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/worker.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class FrontendKill : public e2e::MountTest {
 protected:
  // Kills the mount's frontend and waits until another one serves. Returns how long a call took
  // that was made at once.
  milliseconds Kill(int signal = SIGKILL) {
    const auto before = host().MountStatus(mount());
    const auto begun = e2e::Now();
    kill(before.at("frontend_pid").get<pid_t>(), signal);
    const std::string unheard = At("name" + std::to_string(++probes_));
    EXPECT_EQ(access(unheard.c_str(), F_OK), -1);
    EXPECT_EQ(errno, ENOENT);
    const auto took = std::chrono::duration_cast<milliseconds>(e2e::Now() - begun);
    // The call may have been answered before the signal took effect.
    const auto restarts = before.at("frontend_restarts").get<uint64_t>();
    EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] {
      const auto now = host().MountStatus(mount());
      return now.at("frontend_restarts").get<uint64_t>() > restarts && now.at("state") == "ready";
    }));
    return took;
  }

 private:
  int probes_ = 0;
};

TEST_F(FrontendKill, UnderLoadNothingIsSeen) {
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 15);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  std::mt19937 random(static_cast<uint32_t>(seed));
  const auto device = e2e::Stat(mount()).st_dev;
  Crew crew(host().Path("worker-"));
  for (const char* kind : {"names", "names", "files", "readers", "maps", "holder"}) {
    crew.Start(kind, mount());
  }
  std::vector<milliseconds> stalls;
  for (uint64_t round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(milliseconds(50 + random() % 250));
    stalls.push_back(Kill());
  }
  const auto outcome = crew.Stop();
  for (const std::string& surprise : outcome.surprises) ADD_FAILURE() << surprise;
  EXPECT_GT(outcome.steps, rounds);
  EXPECT_EQ(e2e::Stat(mount()).st_dev, device);
  const auto status = host().MountStatus(mount());
  EXPECT_EQ(status.at("frontend_restarts").get<uint64_t>(), rounds);
  EXPECT_EQ(status.at("state"), "ready");
  std::sort(stalls.begin(), stalls.end());
  const auto median = stalls[stalls.size() / 2];
  const auto repeated = status.at("counters").at("repeated_requests").get<uint64_t>();
  const auto left_calls = status.at("counters").at("left_calls").get<uint64_t>();
  std::cout << "seed " << seed << ": " << rounds << " kills, " << outcome.steps << " steps, "
            << repeated << " requests sent again, " << left_calls
            << " of them answered by the dead one's call; stall median " << median.count()
            << " ms, longest " << stalls.back().count() << " ms\n";
  EXPECT_LT(median, milliseconds(200));
  EXPECT_GT(repeated, rounds / 4) << "the kills hit nothing";
  // And it is all at the gateway.
  const e2e::TreeEntries here = e2e::Tree(mount());
  RemountFresh();
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount())), "");
}

TEST_F(FrontendKill, IdleMountGoesOn) {
  e2e::WriteFile(At("file"), "content");
  const UniqueFd kept = e2e::Open(At("file"), O_RDWR);
  const auto device = e2e::Stat(mount()).st_dev;
  for (int i = 0; i < 3; ++i) {
    Kill();
    EXPECT_EQ(e2e::ReadFile(At("file")), "content");
    e2e::WriteAt(kept.get(), "CONTENT", 0);
    EXPECT_EQ(e2e::ReadSome(kept.get(), 100, 0), "CONTENT");
    e2e::WriteAt(kept.get(), "content", 0);
    EXPECT_EQ(e2e::Stat(mount()).st_dev, device);
  }
  EXPECT_EQ(host().MountStatus(mount()).at("frontend_restarts"), 3);
}

// What dead frontends have left must neither keep the mount busy nor changes from being sent.
TEST_F(FrontendKill, UnmountAfterKillsIsClean) {
  for (int i = 0; i < 3; ++i) {
    e2e::WriteFile(At("file" + std::to_string(i)), "content");
    Kill();
  }
  host().Unmount(mount());
  EXPECT_TRUE(host().Status().at("sessions").empty());
}

TEST_F(FrontendKill, CrashesInALoopArePausedAndEnd) {
  for (int i = 0; i < 8; ++i) Kill(SIGABRT);
  // Until another one serves: a call may be answered before the signal takes effect.
  const auto begun = e2e::Now();
  Kill(SIGABRT);
  const auto took = e2e::Now() - begun;
  EXPECT_GE(took, milliseconds(100));
  EXPECT_LT(took, seconds(20));
  e2e::WriteFile(At("file"), "content");
  EXPECT_EQ(host().MountStatus(mount()).at("problem"), "");
}

// Of which the frontend's program can be taken away.
class FrontendLost : public e2e::HostTest {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/airstore-fault-XXXXXX";
    programs_ = mkdtemp(pattern.data());
    Restore();
    HostTest::SetUp();
  }
  void TearDown() override { std::filesystem::remove_all(programs_); }
  e2e::HostOptions Options() const override {
    return {.broker_arguments = {"--frontend-dir", programs_}};
  }
  std::string Program() const { return programs_ + "/airstore-fuse"; }
  void Restore() { std::filesystem::create_symlink(e2e::Program("airstore-fuse"), Program()); }

 private:
  std::string programs_;
};

TEST_F(FrontendLost, MountIsDeadAndSaysWhy) {
  host().CreateWorkspace("work");
  const std::string mount = host().Mount("work", "mnt");
  e2e::WriteFile(mount + "/file", "content");
  std::filesystem::remove(Program());
  kill(host().MountStatus(mount).at("frontend_pid").get<pid_t>(), SIGKILL);
  EXPECT_TRUE(
      e2e::WaitUntil(seconds(30), [&] { return host().MountStatus(mount).at("state") == "dead"; }));
  const auto problem = host().MountStatus(mount).at("problem").get<std::string>();
  EXPECT_NE(problem.find("could not be replaced"), std::string::npos) << problem;
  EXPECT_FALSE(e2e::Exists(mount + "/file"));
  Restore();
  EXPECT_EQ(host().Mount("work", "mnt"), mount);
  EXPECT_EQ(e2e::ReadFile(mount + "/file"), "content");
}

}  // namespace
}  // namespace airstore::fault
