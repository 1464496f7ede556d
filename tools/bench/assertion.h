// SPDX-License-Identifier: Apache-2.0
//
// Budgets as text: "seq_read_1m:airstore>=0.8*tmpfs" holds when the median of target airstore in
// workload seq_read_1m is at least 0.8 times that of target tmpfs (more is always better).
// Threads: plain values.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/result.h"
#include "tools/bench/statistics.h"

namespace airstore::bench {

struct Assertion {
  std::string workload;
  std::string target;
  double ratio = 0;
  std::string other;

  std::string ToString() const;
};

Result<Assertion> ParseAssertion(std::string_view text);

// The budgets of a named profile for the product target; an unknown name is an error that lists the
// known ones.
Result<std::vector<Assertion>> ProfileAssertions(std::string_view profile,
                                                 const std::string& product);

// Results by workload, then target.
using SummaryTable = std::map<std::string, std::map<std::string, Summary>>;

struct Verdict {
  Assertion assertion;
  bool met = false;
  double ratio = 0;     // measured; 0 when not judged
  std::string message;  // for people
};

// An assertion about something that was not measured is not met.
Verdict Judge(const Assertion& assertion, const SummaryTable& results);

}  // namespace airstore::bench
