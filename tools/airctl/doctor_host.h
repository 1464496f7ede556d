// SPDX-License-Identifier: Apache-2.0
//
// What doctor finds without a broker: the kernel, limits, the clock, files of the configuration.
// Threads: any. Changes nothing.
#pragma once

#include <string>
#include <vector>

#include "tools/airctl/command_line.h"
#include "tools/airctl/doctor.h"

namespace airstore::airctl {

inline constexpr char kHostConfiguration[] = "/etc/airstore/airstored.toml";
// What airstored is configured with: AIRSTORE_CONFIG, a user's own file when there is one, or the
// host's.
std::string ConfigurationFile(const GetEnv& getenv);

// Where to look; others are for tests.
struct HostPaths {
  std::string configuration = kHostConfiguration;
  std::string tokens = "/etc/airstore/tokens";
  std::string broker_program = "";  // empty: beside airctl, or where a package has it
  std::string sandbox = "/proc/sys/kernel/seccomp/actions_avail";
};
std::vector<Finding> LookAtHost(const HostPaths& paths);

}  // namespace airstore::airctl
