// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/assertion.h"

#include <gtest/gtest.h>

namespace airstore::bench {
namespace {

TEST(Assertion, ParsesItsParts) {
  auto parsed = ParseAssertion("seq_read_1m:airstore>=0.8*tmpfs");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->workload, "seq_read_1m");
  EXPECT_EQ(parsed->target, "airstore");
  EXPECT_DOUBLE_EQ(parsed->ratio, 0.8);
  EXPECT_EQ(parsed->other, "tmpfs");
  EXPECT_EQ(parsed->ToString(), "seq_read_1m:airstore>=0.8*tmpfs");
}

TEST(Assertion, AllowsSpacesBetweenParts) {
  auto parsed = ParseAssertion(" stat_cached : a >= 1.25 * b ");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->ToString(), "stat_cached:a>=1.25*b");
}

TEST(Assertion, RefusesWhatItDoesNotUnderstand) {
  for (const char* text :
       {"", "a", "a:b", "a:b>=0.5", "a:b>=*c", "a:b>=x*c", "a:b>=0.5x*c", "a:b>=-1*c", "a:b>=0*c",
        ":b>=1*c", "a:>=1*c", "a:b>=1*", "a:b>1*c", "a*b:c>=1", "a:b>=nan*c", "a:b>=inf*c"}) {
    EXPECT_FALSE(ParseAssertion(text)) << text;
  }
}

SummaryTable Table() {
  return {{"w",
           {{"ours", {.median = 80, .min = 0, .max = 0, .spread = 0}},
            {"theirs", {.median = 100, .min = 0, .max = 0, .spread = 0}}}}};
}

TEST(Assertion, IsMetAtTheExactRatio) {
  const Verdict verdict = Judge({"w", "ours", 0.8, "theirs"}, Table());
  EXPECT_TRUE(verdict.met);
  EXPECT_DOUBLE_EQ(verdict.ratio, 0.8);
}

TEST(Assertion, IsNotMetBelowTheRatioAndSaysWhatWasMeasured) {
  const Verdict verdict = Judge({"w", "ours", 0.81, "theirs"}, Table());
  EXPECT_FALSE(verdict.met);
  EXPECT_NE(verdict.message.find("NOT MET"), std::string::npos);
  EXPECT_NE(verdict.message.find("0.800"), std::string::npos);
}

TEST(Assertion, IsNotMetWithoutAResult) {
  EXPECT_FALSE(Judge({"w", "ours", 0.1, "nobody"}, Table()).met);
  EXPECT_FALSE(Judge({"nothing", "ours", 0.1, "theirs"}, Table()).met);
}

TEST(Assertion, ProfilesNameTheProduct) {
  auto profile = ProfileAssertions("foundation", "ours");
  ASSERT_TRUE(profile);
  ASSERT_FALSE(profile->empty());
  EXPECT_EQ(profile->front().ToString(), "seq_read_1m:ours>=0.8*tmpfs");
  EXPECT_FALSE(ProfileAssertions("nonsense", "ours"));
}

}  // namespace
}  // namespace airstore::bench
