// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/stall_probe.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace airstore::fault {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

StallProbe::StallProbe(const std::vector<std::string>& mountpoints)
    : longest_(1, std::vector<milliseconds>(mountpoints.size())) {
  for (size_t i = 0; i < mountpoints.size(); ++i) {
    threads_.emplace_back([this, mountpoint = mountpoints[i], i] { Run(mountpoint, i); });
  }
}

StallProbe::~StallProbe() { Stop(); }

void StallProbe::Run(const std::string& mountpoint, size_t index) {
  const std::string path = mountpoint + "/probe" + std::to_string(index);
  while (!over_) {
    size_t round;
    {
      const std::lock_guard lock(mutex_);
      round = longest_.size() - 1;
    }
    const auto begun = steady_clock::now();
    if (mkdir(path.c_str(), 0755) != 0) ++errors_;
    if (rmdir(path.c_str()) != 0) ++errors_;
    const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
    {
      const std::lock_guard lock(mutex_);
      longest_[round][index] = std::max(longest_[round][index], took);
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
}

void StallProbe::BeginRound() {
  const std::lock_guard lock(mutex_);
  longest_.emplace_back(longest_[0].size());
}

std::vector<milliseconds> StallProbe::Stop() {
  over_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::vector<milliseconds> all;
  for (size_t round = 1; round < longest_.size(); ++round) {
    all.insert(all.end(), longest_[round].begin(), longest_[round].end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace airstore::fault
