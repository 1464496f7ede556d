// SPDX-License-Identifier: Apache-2.0
//
// What happens to workspaces and tokens at the gateway while there is no broker.
#include <fcntl.h>
#include <gtest/gtest.h>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

class Gone : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "3"}};
  }
};

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
