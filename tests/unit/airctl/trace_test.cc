// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/trace.h"

#include <gtest/gtest.h>

#include "broker/call_trace.h"
#include "shm/counters.h"

namespace airstore::airctl {
namespace {

TEST(Trace, KnowsTheBrokersNames) {
  std::set<std::string> names(std::begin(shm::kHistogramNames), std::end(shm::kHistogramNames));
  for (uint32_t op = 1; op < 256; ++op) {
    const std::string name = broker::NameOfOp(static_cast<shm::Op>(op));
    if (name != "unknown") names.insert(name);
  }
  EXPECT_EQ(names, TracedOps());
}

}  // namespace
}  // namespace airstore::airctl
