// SPDX-License-Identifier: Apache-2.0
//
// Running a program of the host that mounts or unmounts, and hearing what it says.
// Threads: any; blocks until it has ended.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct ProgramSpec {
  std::vector<std::string> arguments;    // the first one is looked for in PATH
  std::vector<std::string> environment;  // besides PATH and LANG: tokens may be in ours
  UniqueFd at_three;                     // becomes the program's descriptor 3
  std::function<void()> on_started;      // while it runs
  std::optional<std::chrono::milliseconds> patience;  // then it is killed
};

struct ProgramRun {
  bool success = false;  // exit status 0
  bool late = false;     // it was killed because it took too long
  std::string output;    // of stdout and stderr, in one line
};

// ENOENT: there is no such program.
Result<ProgramRun> RunProgram(ProgramSpec spec);

}  // namespace airstore::broker
