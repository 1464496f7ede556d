// SPDX-License-Identifier: Apache-2.0
//
// What doctor finds without a broker: the kernel, limits, the clock, files of the configuration.
// Threads: any. Changes nothing.
#pragma once

#include <string>
#include <vector>

#include "tools/airctl/doctor.h"

namespace airstore::airctl {

// Where to look; others are for tests.
struct HostPaths {
  std::string configuration = "/etc/airstore/airstored.toml";
  std::string tokens = "/etc/airstore/tokens";
  std::string broker_program = "";  // empty: beside airctl, or where a package has it
  std::string sandbox = "/proc/sys/kernel/seccomp/actions_avail";
};
std::vector<Finding> LookAtHost(const HostPaths& paths);

}  // namespace airstore::airctl
