// SPDX-License-Identifier: Apache-2.0
//
// Runs workloads over targets, round by round, so that whatever else the machine does hits all of
// them alike: in each round every target has its turn, and the first one changes. Threads: the
// benchmark's only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shm/base/result.h"
#include "tools/bench/workload.h"

namespace airstore::bench {

struct WorkloadResult {
  std::string name;
  std::string unit;
  std::string skipped;                                // why, if it did not run
  std::map<std::string, std::vector<double>> values;  // by target, one per turn of a round
};

struct RunnerOptions {
  unsigned rounds = 5;
  std::function<bool()> stopped;                     // asked between measurements
  std::function<void(const std::string&)> progress;  // one line for people
};

// Targets in the order of their turns in this round.
std::vector<size_t> TurnsOfRound(size_t targets, unsigned round);

Result<std::vector<WorkloadResult>> RunWorkloads(
    const RunnerOptions& options, const std::vector<Target>& targets,
    const std::vector<std::unique_ptr<Workload>>& workloads);

}  // namespace airstore::bench
