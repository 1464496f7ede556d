// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/statistics.h"

#include <gtest/gtest.h>

namespace airstore::bench {
namespace {

TEST(Statistics, TakesTheMiddleOfAnOddCount) {
  const Summary summary = Summarize({9, 1, 5});
  EXPECT_DOUBLE_EQ(summary.median, 5);
  EXPECT_DOUBLE_EQ(summary.min, 1);
  EXPECT_DOUBLE_EQ(summary.max, 9);
}

TEST(Statistics, AveragesTheMiddleTwoOfAnEvenCount) {
  EXPECT_DOUBLE_EQ(Summarize({4, 1, 2, 100}).median, 3);
}

TEST(Statistics, IsNotMovedByOneOutlier) {
  EXPECT_DOUBLE_EQ(Summarize({10, 10, 10, 10, 9000}).median, 10);
}

TEST(Statistics, SpreadIsRelativeToTheMedian) {
  EXPECT_DOUBLE_EQ(Summarize({8, 10, 13}).spread, 0.5);
  EXPECT_DOUBLE_EQ(Summarize({7}).spread, 0);
}

TEST(Statistics, IsZeroForNoValues) {
  const Summary summary = Summarize({});
  EXPECT_EQ(summary.median, 0);
  EXPECT_EQ(summary.spread, 0);
}

}  // namespace
}  // namespace airstore::bench
