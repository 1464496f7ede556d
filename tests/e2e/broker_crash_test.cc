// SPDX-License-Identifier: Apache-2.0
//
// The broker is killed: what its mounts do meanwhile, and what becomes of them.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class BrokerCrash : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    mkdir(At("near").c_str(), 0755);
    mkdir(At("far").c_str(), 0755);
    WriteFile(At("near/small"), "content of a small file");
    WriteFile(At("near/large"), large_);
    WriteFile(At("far/file"), "never looked at");
    RemountFresh();
    // What the broker has told the frontend; the kernel's own caches would prove nothing.
    EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"near", "far"}));
    EXPECT_EQ(NamesIn(At("near")), (std::set<std::string>{"small", "large"}));
    EXPECT_EQ(ReadFile(At("near/small")), "content of a small file");
    EXPECT_EQ(ReadFile(At("near/large")), large_);
    frontend_ = host().FrontendPids().at(0);
  }
  bool FrontendLives() const { return kill(frontend_, 0) == 0; }
  bool Mounted() const {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string line; std::getline(mounts, line);) {
      if (line.find(" " + mount() + " ") != std::string::npos) return true;
    }
    return false;
  }
  // The kernel forgets what it has cached of all file systems.
  static void DropKernelCaches() { std::ofstream("/proc/sys/vm/drop_caches") << "3"; }

  const std::string large_ = RandomBytes(7, 2'000'000);
  pid_t frontend_ = -1;
};

TEST_F(BrokerCrash, WhatIsCachedIsServedWithoutABroker) {
  host().KillBroker();
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"near", "far"}));
    EXPECT_EQ(NamesIn(At("near")), (std::set<std::string>{"small", "large"}));
    EXPECT_EQ(Stat(At("near/small")).st_size, 23);
    EXPECT_EQ(ReadFile(At("near/small")), "content of a small file");
    DropKernelCaches();
  }
  EXPECT_TRUE(FrontendLives());
}

TEST_F(BrokerCrash, OpenFilesInPassthroughAreReadAndWrittenOn) {
  if (!host().MountStatus(mount()).at("passthrough").get<bool>()) {
    GTEST_SKIP() << "no passthrough here";
  }
  const UniqueFd file = Open(At("near/large"), O_RDWR);
  auto* map = static_cast<char*>(
      mmap(nullptr, large_.size(), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  ASSERT_NE(static_cast<void*>(map), MAP_FAILED);
  host().KillBroker();
  WriteAt(file.get(), "written without a broker", 1000);
  map[5000] = 'm';
  EXPECT_EQ(ReadSome(file.get(), 24, 1000), "written without a broker");
  EXPECT_EQ(ReadSome(file.get(), 1, 5000), "m");
  EXPECT_EQ(ReadSome(file.get(), 100'000, 1'000'000), large_.substr(1'000'000, 100'000));
  munmap(map, large_.size());
}

TEST_F(BrokerCrash, WhatIsNotCachedWaitsAndCanBeKilled) {
  host().KillBroker();
  for (const Arguments& command :
       {Arguments{"/usr/bin/stat", At("far/file")}, Arguments{"/bin/cat", At("far/file")},
        Arguments{"/bin/ls", At("far")}, Arguments{"/bin/mkdir", At("near/new")},
        Arguments{"/bin/rm", At("near/small")}}) {
    Process waiting(command, {.output_file = host().Path("waiting.log")});
    EXPECT_FALSE(waiting.Wait(milliseconds(300))) << command[0];
    waiting.Signal(SIGKILL);
    EXPECT_EQ(waiting.Wait(seconds(2)), 128 + SIGKILL) << command[0];
  }
  EXPECT_EQ(ReadFile(At("near/small")), "content of a small file");
}

TEST_F(BrokerCrash, AMountThatIsUnmountedByHandEnds) {
  host().KillBroker();
  EXPECT_TRUE(FrontendLives());
  ASSERT_EQ(umount2(mount().c_str(), 0), 0) << strerror(errno);
  EXPECT_TRUE(WaitUntil(seconds(5), [&] { return !FrontendLives(); }));
}

TEST_F(BrokerCrash, TheNextBrokerServesOn) {
  host().KillBroker();
  Process waiting({"/bin/ls", At("far")}, {.output_file = host().Path("waiting.log")});
  EXPECT_FALSE(waiting.Wait(milliseconds(300)));
  host().StartBroker();
  EXPECT_EQ(waiting.Wait(seconds(10)), 0);
  EXPECT_TRUE(FrontendLives());
  EXPECT_TRUE(Mounted());
  EXPECT_EQ(ReadFile(At("far/file")), "never looked at");
  EXPECT_EQ(ReadFile(At("near/small")), "content of a small file");
  WriteFile(At("near/new"), "content");
  EXPECT_EQ(NamesIn(At("near")), (std::set<std::string>{"small", "large", "new"}));
}

TEST_F(BrokerCrash, MountsWhoseFrontendsDiedTooAreDetached) {
  host().KillBroker();
  kill(frontend_, SIGKILL);
  EXPECT_TRUE(WaitUntil(seconds(5), [&] { return !FrontendLives(); }));
  ASSERT_TRUE(Mounted());
  host().StartBroker();
  EXPECT_FALSE(Mounted());
  host().Mount("work", "mnt");
  EXPECT_EQ(ReadFile(At("near/small")), "content of a small file");
}

TEST_F(BrokerCrash, ABrokerThatIsStoppedEndsItsMounts) {
  host().StopBroker();
  EXPECT_FALSE(FrontendLives());
  EXPECT_FALSE(Mounted());
}

}  // namespace
}  // namespace airstore::e2e
