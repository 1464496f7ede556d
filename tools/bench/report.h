// SPDX-License-Identifier: Apache-2.0
//
// What a run says: a table for people, the same as JSON, and warnings about noise.
// Threads: plain functions.
#pragma once

#include <string>
#include <vector>

#include "shm/base/result.h"
#include "tools/bench/assertion.h"
#include "tools/bench/runner.h"

namespace airstore::bench {

struct Report {
  unsigned rounds = 0;
  uint64_t file_mib = 0;
  std::string product;               // ratios are of this target to each other one
  std::vector<std::string> targets;  // in the order given
  std::vector<WorkloadResult> results;
  std::vector<Verdict> verdicts;
  std::vector<std::string> warnings;
};

SummaryTable Summaries(const std::vector<WorkloadResult>& results);

// Results whose spread is too large to be believed.
std::vector<std::string> NoiseWarnings(const std::vector<WorkloadResult>& results);

std::string FormatTable(const Report& report);
Result<void> WriteJson(const Report& report, const std::string& path);

}  // namespace airstore::bench
