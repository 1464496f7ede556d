// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm.h"

#include <signal.h>
#include <sys/stat.h>

namespace airstore::fault {

using std::chrono::seconds;

void StormTest::SetUp() {
  HostTest::SetUp();
  if (IsSkipped()) return;
  if (!e2e::Exists("/usr/bin/fio")) GTEST_SKIP() << "fio is not installed";
  host().CreateWorkspace("work");
  for (size_t i = 0; i < kMounts; ++i) {
    mounts_.push_back(host().Mount("work", "mnt" + std::to_string(i)));
  }
}

void StormTest::StartLoad(uint64_t seed) {
  const std::string directory = mount(0) + "/fio";
  ASSERT_EQ(mkdir(directory.c_str(), 0755), 0);
  fio_ =
      e2e::Process({"/usr/bin/fio", "--name=storm", "--directory=" + directory, "--rw=randrw",
                    "--bs=4k", "--size=4m", "--nrfiles=4", "--fsync=64", "--ioengine=psync",
                    "--rate_iops=400", "--time_based", "--runtime=3600", "--verify=crc32c",
                    "--verify_backlog=32", "--verify_fatal=1", "--aux-path=" + host().directory()},
                   {.directory = host().directory(), .output_file = host().Path("fio.log")});
  size_t at = 0;
  for (const char* kind : {"git", "maps", "blocks", "sqlite"}) {
    at = (at + 1) % kMounts;
    loads_.push_back(MakeLoggedLoad(kind, mount(at), host().Path(kind), seed, true));
    loads_.back()->Start();
  }
  for (const auto& load : loads_) {
    ASSERT_TRUE(e2e::WaitUntil(seconds(30), [&] { return load->acknowledged() > 0; }))
        << load->name();
  }
  // What is ended while it lays out its files reports nothing.
  ASSERT_TRUE(e2e::WaitUntil(seconds(60), [&] {
    size_t whole = 0;
    for (const std::string& name : e2e::NamesIn(directory)) {
      whole += e2e::Stat(directory + "/" + name).st_size == 1 << 20 ? 1 : 0;
    }
    return whole == 4;
  })) << e2e::ReadFile(host().Path("fio.log"));
}

uint64_t StormTest::EndLoad() {
  EXPECT_TRUE(fio_.running()) << e2e::ReadFile(host().Path("fio.log"));
  fio_.Signal(SIGINT);
  EXPECT_TRUE(fio_.Wait(seconds(30)));
  const std::string report = e2e::ReadFile(host().Path("fio.log"));
  EXPECT_NE(report.find("err= 0"), std::string::npos) << report;
  EXPECT_EQ(report.find("verify:"), std::string::npos) << report;
  uint64_t acknowledged = 0;
  for (const auto& load : loads_) {
    load->Join();
    acknowledged += load->acknowledged();
    for (const LoadError& error : load->errors()) {
      ADD_FAILURE() << load->name() << ": " << error.what;
    }
    EXPECT_EQ(load->Check(mount(0), Kept::kAcknowledged), "") << load->name();
  }
  return acknowledged;
}

void StormTest::ExpectAllAtTheGateway() {
  const e2e::TreeEntries here = e2e::Tree(mount(0));
  for (size_t i = 1; i < kMounts; ++i) host().Unmount(mount(i));
  const std::string fresh = host().RemountFresh("work", mount(0));
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(fresh)), "");
  for (const auto& load : loads_) {
    EXPECT_EQ(load->Check(fresh, Kept::kAcknowledged), "") << load->name();
  }
}

}  // namespace airstore::fault
