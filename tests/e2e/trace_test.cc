// SPDX-License-Identifier: Apache-2.0
//
// What a mount is asked can be watched while it is used, and logged from its start.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sstream>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

class Trace : public MountTest {};

TEST_F(Trace, ShowsCallsOfARunningMount) {
  Process tracer({Program("airctl"), "--socket", host().socket(), "--json", "trace", mount(),
                  "--slow", "0", "--for", "8"},
                 {.output_file = host().Path("trace")});
  int made = 0;
  // From the tracer's first question on.
  const bool seen = WaitUntil(seconds(60), [&] {
    WriteFile(At("file-" + std::to_string(++made)), "x");
    return Exists(host().Path("trace")) &&
           ReadFile(host().Path("trace")).find("/file-") != std::string::npos;
  });
  EXPECT_TRUE(seen);
  EXPECT_EQ(tracer.Wait(seconds(60)), 0);
  const std::string text = ReadFile(host().Path("trace"));
  EXPECT_NE(text.find("\"op\":\"create\""), std::string::npos) << text;
  EXPECT_NE(text.find("\"ops\""), std::string::npos) << "no totals: " << text;
  EXPECT_EQ(host().Airctl({"trace", host().Path("nowhere"), "--for", "1"}).code, 3);
}

class LoggedTrace : public HostTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.environment = {{"AIRSTORE_FUSE_TRACE", " Yes "},
                           {"AIRSTORE_FUSE_TRACE_INTERVAL", "200ms"},
                           {"AIRSTORE_FUSE_TRACE_SLOW_MS", "1"}};
    return options;
  }
};

TEST_F(LoggedTrace, SaysWhatTheVariablesAskFor) {
  host().CreateWorkspace("work");
  const std::string mount = host().Mount("work", "mnt");
  const auto logged = [&](const std::string& what) {
    return ReadFile(host().Path("broker.log")).find(what) != std::string::npos;
  };
  EXPECT_TRUE(logged("fuse trace enabled (AIRSTORE_FUSE_TRACE=1) mount=" + mount));
  EXPECT_TRUE(WaitUntil(seconds(60), [&] {
    (void)NamesIn(mount);
    WriteFile(mount + "/file", "x");
    // fsync waits for the gateway: over a millisecond.
    const UniqueFd file(Open(mount + "/file", O_RDWR));
    (void)fsync(file.get());
    return logged("fuse trace (interval) mount=" + mount) && logged("fuse slow op op=fsync");
  })) << ReadFile(host().Path("broker.log"));
  EXPECT_TRUE(logged(" open="));
  EXPECT_TRUE(logged(" getattr_avg="));
}

}  // namespace
}  // namespace airstore::e2e
