// SPDX-License-Identifier: Apache-2.0
#include "broker/freshness.h"

#include <gtest/gtest.h>

namespace airstore::broker {
namespace {

TEST(Freshness, OnlyWhatChangedSinceTheQuestionIsStale) {
  Freshness freshness;
  freshness.Changed(1);
  Freshness::Question first(&freshness);
  EXPECT_TRUE(first.Holds(1));
  freshness.Changed(1);
  Freshness::Question second(&freshness);
  EXPECT_FALSE(first.Holds(1));
  EXPECT_TRUE(first.Holds(2));
  EXPECT_TRUE(second.Holds(1));
  first.AskAgain();
  EXPECT_TRUE(first.Holds(1));
  freshness.AllChanged();
  EXPECT_FALSE(first.Holds(2));
  EXPECT_FALSE(second.Holds(2));
  EXPECT_TRUE(Freshness::Question(&freshness).Holds(2));
}

}  // namespace
}  // namespace airstore::broker
