// SPDX-License-Identifier: Apache-2.0
//
// Frontends of four mounts killed again and again under fio, git, a writer through a map and one of
// random blocks: none of them sees an error, and nobody waits long.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/ack_log.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kMounts = 4;

class FrontendStorm : public e2e::HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    if (!e2e::Exists("/usr/bin/fio")) GTEST_SKIP() << "fio is not installed";
    host().CreateWorkspace("work");
    for (size_t i = 0; i < kMounts; ++i) {
      mounts_.push_back(host().Mount("work", "mnt" + std::to_string(i)));
    }
  }
  const std::string& mount(size_t i) const { return mounts_[i]; }

  // How long a call took that was made at once.
  milliseconds Kill(size_t i) {
    const auto before = host().MountStatus(mount(i));
    const auto begun = e2e::Now();
    kill(before.at("frontend_pid").get<pid_t>(), SIGKILL);
    const std::string unheard = mount(i) + "/name" + std::to_string(++probes_);
    EXPECT_EQ(access(unheard.c_str(), F_OK), -1);
    EXPECT_EQ(errno, ENOENT);
    const auto took = std::chrono::duration_cast<milliseconds>(e2e::Now() - begun);
    const auto restarts = before.at("frontend_restarts").get<uint64_t>();
    EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] {
      const auto now = host().MountStatus(mount(i));
      return now.at("frontend_restarts").get<uint64_t>() > restarts && now.at("state") == "ready";
    }));
    return took;
  }

  e2e::Process StartFio(const std::string& directory) {
    mkdir(directory.c_str(), 0755);
    return e2e::Process(
        {"/usr/bin/fio", "--name=storm", "--directory=" + directory, "--rw=randrw", "--bs=4k",
         "--size=4m", "--nrfiles=4", "--fsync=64", "--ioengine=psync", "--rate_iops=400",
         "--time_based", "--runtime=3600", "--verify=crc32c", "--verify_backlog=32",
         "--verify_fatal=1", "--aux-path=" + host().directory()},
        {.directory = host().directory(), .output_file = FioLog()});
  }
  std::string FioLog() { return host().Path("fio.log"); }

 private:
  std::vector<std::string> mounts_;
  int probes_ = 0;
};

TEST_F(FrontendStorm, NobodySeesIt) {
  const uint64_t kills = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 12);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  std::mt19937_64 random(seed);
  e2e::Process fio = StartFio(mount(0) + "/fio");
  std::vector<std::unique_ptr<Load>> loads;
  size_t at = 1;
  for (const char* kind : {"git", "maps", "blocks"}) {
    loads.push_back(MakeLoggedLoad(kind, mount(at), host().Path(kind), seed, true));
    loads.back()->Start();
    ++at;
  }
  for (const auto& load : loads) {
    ASSERT_TRUE(e2e::WaitUntil(seconds(30), [&] { return load->acknowledged() > 0; }))
        << load->name();
  }
  std::vector<milliseconds> stalls;
  for (uint64_t i = 0; i < kills && !HasFailure(); ++i) {
    std::this_thread::sleep_for(milliseconds(20 + random() % 100));
    stalls.push_back(Kill(random() % kMounts));
  }
  EXPECT_TRUE(fio.running()) << e2e::ReadFile(FioLog());
  fio.Signal(SIGINT);
  EXPECT_TRUE(fio.Wait(seconds(30)));
  const std::string report = e2e::ReadFile(FioLog());
  EXPECT_NE(report.find("err= 0"), std::string::npos) << report;
  EXPECT_EQ(report.find("verify:"), std::string::npos) << report;
  uint64_t acknowledged = 0;
  for (const auto& load : loads) {
    load->Join();
    acknowledged += load->acknowledged();
    for (const LoadError& error : load->errors())
      ADD_FAILURE() << load->name() << ": " << error.what;
    EXPECT_EQ(load->Check(mount(0), Kept::kAcknowledged), "") << load->name();
  }
  std::sort(stalls.begin(), stalls.end());
  const auto median = stalls[stalls.size() / 2];
  std::cout << "seed " << seed << ": " << kills << " kills, " << acknowledged
            << " acknowledged calls; stall median " << median.count() << " ms, longest "
            << stalls.back().count() << " ms\n";
  EXPECT_LT(median, milliseconds(200));
}

}  // namespace
}  // namespace airstore::fault
