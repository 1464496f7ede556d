// SPDX-License-Identifier: Apache-2.0
//
// Ends the process when a test hangs, after saying so: a call into a mount that is not answered
// cannot be ended in any other way. The janitor cleans up then.
// Threads: has one of its own, which runs `report`.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace airstore::e2e {

class Watchdog {
 public:
  Watchdog(std::chrono::seconds patience, std::function<void()> report);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace airstore::e2e
