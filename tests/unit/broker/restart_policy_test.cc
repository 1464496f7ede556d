// SPDX-License-Identifier: Apache-2.0
#include "broker/restart_policy.h"

#include <gtest/gtest.h>

namespace airstore::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RestartPolicy, AFewCrashesAreReplacedAtOnce) {
  RestartPolicy policy;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(policy.Ended(milliseconds(0), false), milliseconds(0));
  EXPECT_GT(policy.Ended(milliseconds(0), false), milliseconds(0));
}

TEST(RestartPolicy, PausesDoubleUpToALimit) {
  RestartPolicy policy;
  milliseconds last{0};
  for (int i = 0; i < 30; ++i) {
    const milliseconds pause = policy.Ended(milliseconds(1), false);
    if (last.count() != 0) {
      EXPECT_EQ(pause, std::min(last * 2, milliseconds(10'000)));
    }
    last = pause;
  }
  EXPECT_EQ(last, milliseconds(10'000));
}

TEST(RestartPolicy, AFrontendThatLivesEndsThePauses) {
  RestartPolicy policy;
  for (int i = 0; i < 30; ++i) policy.Ended(milliseconds(1), false);
  EXPECT_EQ(policy.Ended(seconds(60), false), milliseconds(0));
}

TEST(RestartPolicy, KillsFromOutsideWeighLittle) {
  RestartPolicy policy;
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(policy.Ended(milliseconds(200), true), milliseconds(0)) << i;
  }
}

TEST(RestartPolicy, ARequestOfThreeCrashesInARowIsBlamed) {
  RestartPolicy policy;
  EXPECT_TRUE(policy.Blame({7, 8}).empty());
  EXPECT_TRUE(policy.Blame({7, 9}).empty());
  EXPECT_EQ(policy.Blame({7, 8, 9}), std::vector<uint64_t>{7});
}

TEST(RestartPolicy, ACrashWithoutARequestClearsIt) {
  RestartPolicy policy;
  EXPECT_TRUE(policy.Blame({7}).empty());
  EXPECT_TRUE(policy.Blame({7}).empty());
  EXPECT_TRUE(policy.Blame({8}).empty());
  EXPECT_TRUE(policy.Blame({7}).empty());
}

}  // namespace
}  // namespace airstore::broker
