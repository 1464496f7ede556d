// SPDX-License-Identifier: Apache-2.0
//
// Progress: one line on stderr that says what takes so long.
//
// On a terminal it appears after a second and is wiped away at the end. When asked for details,
// each new message is a line of its own. Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace airstore::airctl {

class Progress {
 public:
  Progress(std::string what, bool verbose);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(const std::string& message, uint64_t done, uint64_t total);
  // For who draws the screen.
  void KeepQuiet() { quiet_ = true; }
  // Call a few times a second.
  void Tick();

 private:
  std::string what_;
  const bool terminal_;
  const bool verbose_;
  const std::chrono::steady_clock::time_point start_;
  std::string detail_;
  std::string last_message_;
  bool shown_ = false;
  bool quiet_ = false;
};

}  // namespace airstore::airctl
