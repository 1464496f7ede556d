// SPDX-License-Identifier: Apache-2.0
//
// Gateways that keep nothing: what they know is in Redis and S3, and another one goes on with it.
// Only with AIRSTORE_TEST_STORE=scaled.
#include <filesystem>

#include "tests/e2e/support/host_test.h"

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

}  // namespace
}  // namespace airstore::e2e
