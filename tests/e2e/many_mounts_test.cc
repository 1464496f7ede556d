// SPDX-License-Identifier: Apache-2.0
//
// Many mounts of some workspaces on one broker with default settings: all of them work, and what
// they take is printed. AIRSTORE_MANY_MOUNTS=200 is for figures.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

class ManyMounts : public HostTest {
 protected:
  HostOptions Options() const override { return {.broker_arguments = {"--spool-limit", "9GiB"}}; }

  // CPU time of broker and frontends, of all their threads.
  uint64_t CpuNs() {
    std::vector<pid_t> all = host().FrontendPids();
    all.push_back(host().broker().pid());
    uint64_t sum = 0;
    for (const pid_t pid : all) {
      std::error_code gone;
      const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
      for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
        uint64_t ns = 0;
        std::ifstream(task.path() / "schedstat") >> ns;
        sum += ns;
      }
    }
    return sum;
  }
};

TEST_F(ManyMounts, OfSomeWorkspacesAllWork) {
  const uint64_t count = EnvOr("AIRSTORE_MANY_MOUNTS", 40);
  const uint64_t workspaces = std::max<uint64_t>(count / 10, 1);
  for (uint64_t w = 0; w < workspaces; ++w) host().CreateWorkspace("w" + std::to_string(w));
  const auto spool = [&] { return host().Status().at("broker").at("spool_bytes").get<uint64_t>(); };
  const uint64_t spool_before = spool();

  auto begun = Now();
  std::vector<std::string> mounts;
  for (uint64_t i = 0; i < count; ++i) {
    mounts.push_back(host().Mount("w" + std::to_string(i % workspaces), "mnt" + std::to_string(i)));
  }
  const auto mounted = duration_cast<milliseconds>(Now() - begun);

  const std::string content = RandomBytes(1, 100'000);
  for (uint64_t i = 0; i < count; ++i) WriteFile(mounts[i] + "/" + std::to_string(i), content);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t sibling = i + workspaces < count ? i + workspaces : i % workspaces;
    EXPECT_EQ(ReadFile(mounts[sibling] + "/" + std::to_string(i)), content) << i;
  }
  (void)host().AirctlJson({"flush"});

  const auto status = host().Status();
  const uint64_t each = (spool() - spool_before) / count;
  EXPECT_FALSE(status.at("broker").at("spool_full").get<bool>());
  const bool passthrough = host().MountStatus(mounts[0]).at("passthrough").get<bool>();
  EXPECT_LE(each, (passthrough ? 48u : 160u) << 20);
  uint64_t frontends = 0;
  for (const auto& mount : status.at("mounts")) {
    frontends += mount.at("frontend_rss_bytes").get<uint64_t>();
  }

  const milliseconds idle(EnvOr("AIRSTORE_MANY_MOUNTS_IDLE_MS", 1000));
  const uint64_t cpu_before = CpuNs();
  std::this_thread::sleep_for(idle);
  const double cpu = static_cast<double>(CpuNs() - cpu_before) / 1e6;
  EXPECT_LT(cpu, 0.02 * static_cast<double>(idle.count()) + 20) << "ms";

  begun = Now();
  host().StopBroker();
  std::cout << count << " mounts of " << workspaces << " workspaces: mounted in " << mounted.count()
            << " ms, broker " << (status.at("broker").at("rss_bytes").get<uint64_t>() >> 20)
            << " MiB, " << frontends / count / 1024 << " KiB and " << (each >> 20)
            << " MiB of the spool for each mount, " << cpu << " ms of CPU in " << idle.count()
            << " ms idle, ended in " << duration_cast<milliseconds>(Now() - begun).count()
            << " ms\n";
}

}  // namespace
}  // namespace airstore::e2e
