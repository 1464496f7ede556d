// SPDX-License-Identifier: Apache-2.0
//
// Gateways that keep nothing: what they know is in Redis and S3, and another one goes on with it.
// Only with AIRSTORE_TEST_STORE=scaled.
#include <algorithm>
#include <filesystem>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/stores.h"

namespace airstore::e2e {
namespace {

class Gateways : public MountTest {
 protected:
  void SetUp() override {
    const char* store = getenv("AIRSTORE_TEST_STORE");
    if (store == nullptr || std::string(store) != "scaled") {
      GTEST_SKIP() << "only with AIRSTORE_TEST_STORE=scaled";
    }
    MountTest::SetUp();
  }
  // All that a gateway has on its own disk, but for the administrator's token.
  void LoseTheGatewaysDisk() {
    for (const auto& entry : std::filesystem::directory_iterator(host().Path("gateway"))) {
      if (entry.path().filename() != "admin-token") std::filesystem::remove_all(entry.path());
    }
  }
  // On the same store as the first one.
  Process StartAnother(const std::string& listen, const std::string& parameters) {
    std::string why;
    const S3Server& s3 = *S3Server::Get(&why);
    std::string place = host().directory();
    std::replace(place.begin(), place.end(), '/', '-');
    return Process(
        {Program("airstore-gateway"), "--data", host().Path("other"), "--listen", listen,
         "--port-file", host().Path("other-port"), "--admin-token-file", host().admin_token_file(),
         "--metadata", "redis://" + host().Path("redis/redis.sock") + parameters, "--blocks",
         "s3://" + s3.bucket() + "/" + place + "?endpoint=" + s3.endpoint()},
        {.env = s3.environment(), .output_file = host().Path("other.log")});
  }
  bool AnotherServes() { return std::filesystem::exists(host().Path("other-port")); }
};

TEST_F(Gateways, AnotherOneGoesOnWhereTheFirstDied) {
  const std::string before = RandomBytes(1, 3 << 20);
  WriteFile(At("before"), before);
  WriteFile(At("meanwhile"), "");
  RunOk({"sync", At("before"), At("meanwhile")});
  host().KillGateway();
  WriteFile(At("meanwhile"), "under the lease");
  LoseTheGatewaysDisk();
  host().StartGateway();
  RunOk({"sync", At("meanwhile")});
  WriteFile(At("after"), "text");
  RemountFresh();
  EXPECT_EQ(ReadFile(At("before")), before);
  EXPECT_EQ(ReadFile(At("meanwhile")), "under the lease");
  EXPECT_EQ(ReadFile(At("after")), "text");
}

TEST_F(Gateways, OneThatWasStoppedAndReplacedCommitsNothingAndEnds) {
  WriteFile(At("file"), "first");
  RunOk({"sync", At("file")});
  host().FreezeGateway();
  // Queued for the stopped one: it is going to find this when it wakes.
  WriteFile(At("file"), "second");
  // The store is taken over by another one, on a port of its own, and with it the work.
  const Process other = StartAnother("127.0.0.1:0", "");
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(60), [&] { return AnotherServes(); }));
  host().ThawGateway();
  EXPECT_TRUE(WaitUntil(std::chrono::seconds(60), [&] { return !host().GatewayRuns(); }))
      << "it serves what is not its own any more";
  // The broker finds one at the address that it knows, and the change arrives once.
  host().StartGateway();
  RunOk({"sync", At("file")});
  RemountFresh();
  EXPECT_EQ(ReadFile(At("file")), "second");
}

TEST_F(Gateways, OneOnStandbyTakesOverByItself) {
  WriteFile(At("file"), "first");
  RunOk({"sync", At("file")});
  // At the first one's address, which it needs only when it is its turn.
  const Process standby = StartAnother(host().gateway_address(), "?standby=3");
  WriteFile(At("file"), "second");
  RunOk({"sync", At("file")});
  EXPECT_FALSE(AnotherServes());
  host().KillGateway();
  WriteFile(At("file"), "third");
  RunOk({"sync", At("file")});
  EXPECT_TRUE(AnotherServes());
  RemountFresh();
  EXPECT_EQ(ReadFile(At("file")), "third");
}

}  // namespace
}  // namespace airstore::e2e
