// SPDX-License-Identifier: Apache-2.0
//
// What each command of airctl does.
// Threads: one.
#pragma once

#include <ostream>

#include "tools/airctl/command_line.h"

namespace airstore::airctl {

struct Surroundings {
  std::ostream& out;
  std::ostream& err;
  GetEnv getenv;
  bool colours = false;  // on `out`
};

// The exit code. Failures are printed to err, or as JSON to out.
int Run(const Invocation& invocation, const Surroundings& around);

}  // namespace airstore::airctl
