// SPDX-License-Identifier: Apache-2.0
//
// What the first mounts lost: uploads that failed once, and what was still to be sent at an
// unmount.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

class V1Loss : public MountTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.gateway_arguments = {"--protocol", "v1"};
    options.broker_arguments = {"--v1-freshness", "300ms", "--io-timeout", "2s"};
    return options;
  }
};

// An upload that fails is said, by fsync and by close, and is tried until it has succeeded.
TEST_F(V1Loss, AFailedUploadIsReportedAndKept) {
  UniqueFd file = Open(At("f"), O_CREAT | O_RDWR);
  WriteAt(file.get(), "before", 0);
  ASSERT_EQ(fsync(file.get()), 0);
  host().StopGateway();
  WriteAt(file.get(), "AFTERWARDS", 0);
  EXPECT_EQ(ErrnoOf(fsync(file.get())), ETIMEDOUT);
  EXPECT_EQ(ErrnoOf(fsync(file.get())), ETIMEDOUT) << "one attempt is not all";
  EXPECT_EQ(ReadSome(file.get(), 100, 0), "AFTERWARDS") << "who reads sees what was written";
  EXPECT_NE(ErrnoOf(close(file.release())), 0) << "a close that says nothing";
  const auto dirty = host().AirctlJson({"dirty"})["files"];
  ASSERT_EQ(dirty.size(), 1u) << dirty;
  EXPECT_EQ(dirty[0]["bytes"], 10);
  host().StartGateway();
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "60"}).code, 0);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("f")), "AFTERWARDS");
}

// Also what nobody has closed or synced: a store to a map, right before the unmount.
TEST_F(V1Loss, AnUnmountSendsWhatIsLeft) {
  WriteFile(At("mapped"), std::string(8192, 'a'));
  {
    const UniqueFd file = Open(At("mapped"), O_RDWR);
    void* map = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    memset(static_cast<char*>(map) + 4000, 'b', 500);
    ASSERT_EQ(munmap(map, 8192), 0);
  }
  RemountFresh();
  std::string expected(8192, 'a');
  expected.replace(4000, 500, 500, 'b');
  EXPECT_TRUE(ReadFile(At("mapped")) == expected);

  // Without a gateway it waits.
  host().StopGateway();
  {
    const UniqueFd file = Open(At("mapped"), O_WRONLY);
    WriteAt(file.get(), "late", 0);
  }
  Process unmounting({Program("airctl"), "--socket", host().socket(), "unmount", mount()},
                     {.output_file = host().Path("unmounting")});
  EXPECT_FALSE(unmounting.Wait(std::chrono::milliseconds(500))) << "it is gone unsent";
  host().StartGateway();
  EXPECT_EQ(unmounting.Wait(seconds(60)), 0) << ReadFile(host().Path("unmounting"));
  host().StopBroker();
  host().WipeBrokerState();
  host().StartBroker();
  host().Mount("work", "mnt");
  expected.replace(0, 4, "late");
  EXPECT_TRUE(ReadFile(At("mapped")) == expected);
}

}  // namespace
}  // namespace airstore::e2e
