// SPDX-License-Identifier: Apache-2.0
//
// A mount whose gateway is not reached: it waits for one that is on its way, and says so soon of
// one that is not there.
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class MountWaits : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    command_ = {"mount", host().Path("two"), "--token-file", host().CreateWorkspace("two")};
    mkdir(host().Path("two").c_str(), 0755);
    host().KillGateway();
  }
  const Arguments& command() const { return command_; }

 private:
  Arguments command_;
};

// The broker's connection pauses for seconds by then, after many tries.
TEST_F(MountWaits, AGatewayThatIsBackIsFoundAtOnce) {
  std::this_thread::sleep_for(seconds(9));
  host().StartGateway();
  const auto begin = Now();
  const Finished mounted = host().Airctl(command());
  EXPECT_EQ(mounted.code, 0) << mounted.All();
  EXPECT_LT(Now() - begin, seconds(3));
  WriteFile(host().Path("two/file"), "content");
}

TEST_F(MountWaits, AGatewayThatComesIsWaitedFor) {
  Arguments airctl{Program("airctl"), "--socket", host().socket()};
  airctl.insert(airctl.end(), command().begin(), command().end());
  airctl.push_back("--verbose");
  Process waiting(airctl, {.output_file = host().Path("waiting.log")});
  EXPECT_FALSE(waiting.Wait(milliseconds(1500)));
  host().StartGateway();
  EXPECT_EQ(waiting.Wait(seconds(5)), 0) << ReadFile(host().Path("waiting.log"));
  EXPECT_NE(ReadFile(host().Path("waiting.log")).find("waiting for the gateway at "),
            std::string::npos);
}

TEST_F(MountWaits, AGatewayThatIsNotThereIsSaidSoSoon) {
  const auto begin = Now();
  const Finished mounted = host().Airctl(command());
  EXPECT_EQ(mounted.code, 6) << mounted.All();
  EXPECT_NE(mounted.err.find("cannot reach the gateway at "), std::string::npos) << mounted.All();
  EXPECT_LT(Now() - begin, seconds(7));
}

}  // namespace
}  // namespace airstore::e2e
