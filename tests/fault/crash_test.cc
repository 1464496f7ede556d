// SPDX-License-Identifier: Apache-2.0
//
// A quick selection of crash runs; airstore_fault --soak does many.
#include <gtest/gtest.h>

#include <iostream>

#include "tests/fault/crash_rig.h"

namespace airstore::fault {
namespace {

class Crash : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string missing = e2e::WhatIsMissing(); !missing.empty()) GTEST_SKIP() << missing;
  }
};

TEST_P(Crash, NothingAcknowledgedIsLost) {
  const uint64_t runs = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 4);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  const Category* category = FindCategory(GetParam());
  CrashRig rig(std::chrono::seconds(240));
  for (uint64_t i = 0; i < runs && !HasFailure(); ++i) {
    // Every second one at a fault point.
    std::optional<FaultPoint> point;
    const auto points = PointsOf(*category);
    if (i % 2 == 0) point = points[(seed + i * 7) % points.size()];
    const CrashPlan plan = PlanOf(seed + i, category, point);
    SCOPED_TRACE(plan.Describe());
    const CrashResult result = rig.Run(plan);
    std::cout << plan.Describe() << ": " << result.acknowledged << " acknowledged, "
              << result.at_stake.total() << " at stake, " << result.took.count() << " ms\n";
    for (const std::string& problem : result.problems) ADD_FAILURE() << problem;
    EXPECT_EQ(result.at_point, plan.point.has_value()) << "it was not killed at its point";
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Crash, testing::Values("frontend", "gateway", "broker", "all"),
                         [](const auto& category) { return std::string(category.param); });

}  // namespace
}  // namespace airstore::fault
