// SPDX-License-Identifier: Apache-2.0
//
// Frontends of four mounts killed again and again under load: nobody sees an error, and nobody
// waits long.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <thread>

#include "tests/fault/storm.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class FrontendStorm : public StormTest {
 protected:
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

 private:
  int probes_ = 0;
};

TEST_F(FrontendStorm, NobodySeesIt) {
  const uint64_t kills = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 12);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  std::mt19937_64 random(seed);
  ASSERT_NO_FATAL_FAILURE(StartLoad(seed));
  std::vector<milliseconds> stalls;
  for (uint64_t i = 0; i < kills && !HasFailure(); ++i) {
    std::this_thread::sleep_for(milliseconds(20 + random() % 100));
    stalls.push_back(Kill(random() % kMounts));
  }
  const uint64_t acknowledged = EndLoad();
  std::sort(stalls.begin(), stalls.end());
  const auto median = stalls[stalls.size() / 2];
  std::cout << "seed " << seed << ": " << kills << " kills, " << acknowledged
            << " acknowledged calls; stall median " << median.count() << " ms, longest "
            << stalls.back().count() << " ms\n";
  EXPECT_LT(median, milliseconds(200));
  ExpectAllAtTheGateway();
}

}  // namespace
}  // namespace airstore::fault
