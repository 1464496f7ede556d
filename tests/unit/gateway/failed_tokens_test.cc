// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/failed_tokens.h"

#include <gtest/gtest.h>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/auth.h"

namespace airstore::gateway {
namespace {

using std::chrono::seconds;

TEST(FailedTokens, AddressesWithoutWhatChanges) {
  EXPECT_EQ(AddressOf("ipv4:192.0.2.1:4711"), "ipv4:192.0.2.1");
  EXPECT_EQ(AddressOf("ipv6:[2001:db8:1:2:3:4:5:6]:4711"), "ipv6:2001:db8:1:2::/64");
  EXPECT_EQ(AddressOf("ipv6:%5B2001:db8:1:2:9::1%5D:4711"), "ipv6:2001:db8:1:2::/64");
  EXPECT_EQ(AddressOf("ipv6:[::ffff:192.0.2.1]:4711"), "ipv4:192.0.2.1");
  EXPECT_EQ(AddressOf("unix:"), "unix");
  EXPECT_EQ(AddressOf("unix:/run/x.sock"), "unix");
}

TEST(FailedTokens, ABurstIsTakenThenOneASecond) {
  FailedTokens failed;
  SteadyTime now = SteadyNow();
  int told = 0;
  for (int i = 0; i < FailedTokens::kAtOnce; ++i) {
    EXPECT_FALSE(failed.Blocked("a", "bad", now)) << i;
    told += failed.Failed("a", now) ? 1 : 0;
  }
  EXPECT_EQ(told, 1) << "the log hears of it once";
  EXPECT_EQ(failed.Blocked("a", "bad", now), 1u);
  EXPECT_FALSE(failed.Blocked("b", "bad", now)) << "others go on";
  now += seconds(1);
  EXPECT_FALSE(failed.Blocked("a", "bad", now));
  EXPECT_FALSE(failed.Failed("a", now)) << "not told again within a minute";
  EXPECT_TRUE(failed.Blocked("a", "bad", now));
  now += seconds(3600);
  EXPECT_FALSE(failed.Blocked("a", "bad", now));
  EXPECT_EQ(failed.counts().failed, FailedTokens::kAtOnce + 1);
  EXPECT_EQ(failed.counts().turned_away, 2u);
}

TEST(FailedTokens, WhatWasAcceptedFromThereGoesOn) {
  FailedTokens failed;
  const SteadyTime now = SteadyNow();
  failed.Accepted("a", "good");
  for (int i = 0; i < 2 * FailedTokens::kAtOnce; ++i) failed.Failed("a", now);
  EXPECT_FALSE(failed.Blocked("a", "good", now));
  EXPECT_TRUE(failed.Blocked("a", "bad", now));
  failed.Accepted("b", "other");
  EXPECT_TRUE(failed.Blocked("a", "other", now)) << "only from there";
}

TEST(FailedTokens, TheAuthenticatorTurnsThemAway) {
  Bench b;
  Authenticator auth(*b.store, "ast_admin");
  const std::string peer = "ipv4:192.0.2.1:1";
  EXPECT_TRUE(auth.Authenticate("Bearer ast_admin", peer));
  int looked_at = 0;
  std::string said;
  for (int i = 0; i < 100; ++i) {
    const auto caller = auth.Authenticate("Bearer ast_guess" + std::to_string(i), peer);
    ASSERT_FALSE(caller);
    if (caller.error().code == EACCES) ++looked_at;
    if (caller.error().code == EAGAIN) said = caller.error().message;
  }
  EXPECT_GE(looked_at, FailedTokens::kAtOnce - 1);
  EXPECT_LT(looked_at, 60);
  EXPECT_NE(said.find("too many invalid tokens"), std::string::npos) << said;
  EXPECT_NE(said.find("try again in 1 s"), std::string::npos) << said;
  EXPECT_TRUE(auth.Authenticate("Bearer ast_admin", peer)) << "known from there";
  EXPECT_EQ(auth.Authenticate("Bearer ast_x", "ipv4:192.0.2.2:1").error().code, EACCES);
}

}  // namespace
}  // namespace airstore::gateway
