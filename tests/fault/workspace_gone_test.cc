// SPDX-License-Identifier: Apache-2.0
//
// The workspace is deleted at the gateway, while there is a broker or while there is none: its
// mounts say so, nothing that was unsent is lost, and they can be unmounted.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::fault {
namespace {

using e2e::ErrnoOf;
using std::chrono::seconds;

class Gone : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "3"}};
  }
  nlohmann::json Lost() { return host().AirctlJson({"recover"}).at("items"); }
};

class WorkspaceGone : public Gone, public testing::WithParamInterface<bool> {};

TEST_P(WorkspaceGone, IsSaidAndNothingUnsentIsLost) {
  const bool restarted = GetParam();
  mkdir(At("dir").c_str(), 0755);
  e2e::WriteFile(At("dir/sent"), "sent");
  ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] {
    return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
  }));
  EXPECT_EQ(e2e::NamesIn(mount()).size(), 1u);
  const std::string unsent = e2e::RandomBytes(1, 200'000);
  host().FreezeGateway();
  e2e::WriteFile(At("unsent"), unsent);
  if (restarted) {
    host().KillBroker();
  }
  host().ThawGateway();
  if (restarted) {
    e2e::OtherBroker other(host());
    ASSERT_EQ(other
                  .Airctl({"workspace", "delete", "work", "--gateway", host().gateway_address(),
                           "--token-file", host().admin_token_file()})
                  .code,
              0);
    host().StartBroker();
  } else {
    ASSERT_TRUE(e2e::WaitUntil(seconds(20), [&] {
      return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
    }));
    ASSERT_EQ(host()
                  .Airctl({"workspace", "delete", "work", "--gateway", host().gateway_address(),
                           "--token-file", host().admin_token_file()})
                  .code,
              0);
    e2e::WriteFile(At("unsent"), unsent);
  }
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] {
    return host().SessionStatus("work").at("state") == "gone";
  })) << host().SessionStatus("work");
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    return host().SessionStatus("work").at("last_error").get<std::string>().find("exist") !=
           std::string::npos;
  })) << host().SessionStatus("work");
  EXPECT_NE(host().Airctl({"status"}).out.find("airctl recover"), std::string::npos);
  const auto kept = [&] {
    const nlohmann::json items = Lost();
    return std::any_of(items.begin(), items.end(), [&](const auto& item) {
      return item.at("what") == "content" && item.at("path") == "/unsent" &&
             e2e::ReadFile(item.at("location").template get<std::string>()) == unsent;
    });
  };
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), kept)) << Lost();
  // Changes fail, and soon.
  const auto begun = e2e::Now();
  EXPECT_EQ(ErrnoOf(mkdir(At("another").c_str(), 0755)), ESTALE);
  const int opened = ErrnoOf(open(At("nothing").c_str(), O_RDONLY));
  EXPECT_TRUE(opened == ENOENT || opened == ESTALE) << strerror(opened);
  EXPECT_LT(e2e::Now() - begun, seconds(10));
  const auto unmounted = host().Airctl({"unmount", mount()});
  EXPECT_EQ(unmounted.code, 0) << unmounted.All();
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return host().Status().at("sessions").empty(); }));
  EXPECT_TRUE(kept());
  // A minute each, however often it tries.
  size_t warnings = 0;
  const std::string log = e2e::ReadFile(host().Path("broker.log"));
  for (size_t at = 0; (at = log.find("resuming the session failed", at)) != std::string::npos;
       ++at) {
    ++warnings;
  }
  EXPECT_LE(warnings, 1u);
}

INSTANTIATE_TEST_SUITE_P(, WorkspaceGone, testing::Bool(), [](const auto& mode) {
  return mode.param ? "WhileThereWasNoBroker" : "UnderOne";
});

// Meanwhile the token does not hold any more: what waits goes with another one.
TEST_F(Gone, TokenThatWasRevokedWhileThereWasNoBroker) {
  EXPECT_EQ(e2e::NamesIn(mount()).size(), 0u);
  const nlohmann::json tokens =
      host().AirctlJson({"token", "list", "work", "--gateway", host().gateway_address(),
                         "--token-file", host().admin_token_file()});
  const std::string id = tokens.at("tokens").at(0).at("id").get<std::string>();
  host().FreezeGateway();
  e2e::WriteFile(At("unsent"), "kept");
  host().KillBroker();
  host().ThawGateway();
  {
    e2e::OtherBroker other(host());
    ASSERT_EQ(other
                  .Airctl({"token", "revoke", id, "--gateway", host().gateway_address(),
                           "--token-file", host().admin_token_file()})
                  .code,
              0);
  }
  host().StartBroker();
  EXPECT_TRUE(e2e::WaitUntil(
      seconds(20), [&] { return host().SessionStatus("work").at("state") == "refused"; }));
  EXPECT_EQ(e2e::ReadFile(At("unsent")), "kept");
  const std::string token = host().Path("another.token");
  host().CreateToken("work", token);
  const auto mounted = host().Airctl({"mount", mount(), "--token-file", token});
  EXPECT_EQ(mounted.code, 0) << mounted.All();
  EXPECT_EQ(host().Airctl({"flush", mount(), "--timeout", "30"}).code, 0);
  EXPECT_EQ(host().SessionStatus("work").at("state"), "connected");
  host().Unmount(mount());
  EXPECT_EQ(e2e::ReadFile(host().MountWith(token, "again", {}) + "/unsent"), "kept");
}

}  // namespace
}  // namespace airstore::fault
