// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/watchdog.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

namespace airstore::e2e {
namespace {

constexpr int kHung = 99;

// What each of our threads waits for.
void PrintThreads() {
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    std::string wchan;
    std::ifstream(task.path() / "wchan") >> wchan;
    std::ifstream syscall_file(task.path() / "syscall");
    std::string call;
    std::getline(syscall_file, call);
    std::cerr << "thread " << task.path().filename().string() << ": " << wchan << "; " << call
              << "\n";
  }
}

}  // namespace

Watchdog::Watchdog(std::chrono::seconds patience, std::function<void()> report)
    : thread_([this, patience, report = std::move(report)] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, patience, [this] { return over_; })) return;
        std::cerr << "the test hangs: not done after " << patience.count() << " s\n";
        PrintThreads();
        report();
        std::cerr.flush();
        _exit(kHung);
      }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace airstore::e2e
