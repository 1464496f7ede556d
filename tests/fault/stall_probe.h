// SPDX-License-Identifier: Apache-2.0
//
// StallProbe: makes calls on mounts all the time that only a broker can answer, and knows how long
// the slowest took in each round of a test.
// Threads: one for each mount; the rest is for the test's.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace airstore::fault {

class StallProbe {
 public:
  explicit StallProbe(const std::vector<std::string>& mountpoints);
  ~StallProbe();

  void BeginRound();
  // Ends it: the longest call of each mount in each round, shortest first.
  std::vector<std::chrono::milliseconds> Stop();
  uint64_t errors() const { return errors_; }  // calls that returned what they must not

 private:
  void Run(const std::string& mountpoint, size_t index);

  std::atomic<bool> over_{false};
  std::atomic<uint64_t> errors_{0};
  std::mutex mutex_;
  std::vector<std::vector<std::chrono::milliseconds>> longest_;  // by round and mount; guarded
  std::vector<std::thread> threads_;
};

}  // namespace airstore::fault
