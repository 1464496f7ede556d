// SPDX-License-Identifier: Apache-2.0
//
// What several rounds of one measurement come to.
// Threads: plain functions.
#pragma once

#include <vector>

namespace airstore::bench {

struct Summary {
  double median = 0;
  double min = 0;
  double max = 0;
  double spread = 0;  // (max - min) / median
};

// A spread above this says more about the machine than about the code.
constexpr double kNoisySpread = 0.30;

// All zero for no values; the mean of the middle two for an even count.
Summary Summarize(std::vector<double> values);

}  // namespace airstore::bench
