// SPDX-License-Identifier: Apache-2.0
//
// A gateway that does not answer: what is cached goes on, the rest waits for io_timeout and no
// longer, and whoever waits can be killed.
#include <fcntl.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

milliseconds Since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(Now() - begin);
}

class Outage : public MountTest {
 protected:
  static constexpr seconds kIoTimeout{3};
  HostOptions Options() const override {
    return {.broker_arguments = {"--io-timeout", std::to_string(kIoTimeout.count()) + "s"}};
  }
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_EQ(mkdir(At("dir").c_str(), 0755), 0);
    for (int i = 0; i < 5; ++i) WriteFile(At("dir/" + std::to_string(i)), "content");
    WriteFile(At("large"), RandomBytes(1, 1 << 20));
    RemountFresh();
    EXPECT_EQ(NamesIn(mount()).size(), 2u);
    struct statvfs space {};
    EXPECT_EQ(statvfs(mount().c_str(), &space), 0);
    host().FreezeGateway();
  }
  void TearDown() override {
    if (!IsSkipped()) host().ThawGateway();
  }

  // How long a process that does this and waits needs to die of SIGKILL.
  template <typename Wait>
  static milliseconds TimeToKill(const Wait& wait) {
    const pid_t child = fork();
    if (child == 0) {
      wait();
      _exit(0);
    }
    std::this_thread::sleep_for(milliseconds(500));
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, WNOHANG), 0) << "it did not wait";
    const auto begin = Now();
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
    return Since(begin);
  }

  // What `wait` returns in a process that does it while signals come that it has a handler for, and
  // the gateway is back only then.
  template <typename Wait>
  int Signalled(const Wait& wait) {
    host().FreezeGateway();
    const pid_t child = fork();
    if (child == 0) {
      struct sigaction action {};
      action.sa_handler = [](int) {};
      sigaction(SIGUSR1, &action, nullptr);
      _exit(wait());
    }
    std::this_thread::sleep_for(milliseconds(300));
    for (int i = 0; i < 20; ++i) {
      kill(child, SIGUSR1);
      std::this_thread::sleep_for(milliseconds(10));
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, WNOHANG), 0) << "it did not wait";
    host().ThawGateway();
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

TEST_F(Outage, WhatIsCachedIsAnsweredAtOnce) {
  auto begin = Now();
  EXPECT_EQ(NamesIn(mount()).size(), 2u);
  EXPECT_EQ(Stat(At("large")).st_size, 1 << 20);
  EXPECT_LT(Since(begin), seconds(1));
  begin = Now();
  struct statvfs space {};
  EXPECT_EQ(statvfs(mount().c_str(), &space), 0);
  EXPECT_LT(Since(begin), seconds(1));
  begin = Now();
  EXPECT_EQ(host().Airctl({"status"}).code, 0);
  EXPECT_LT(Since(begin), seconds(1));
}

TEST_F(Outage, WhatIsNotCachedFailsAfterTheTimeout) {
  auto begin = Now();
  struct stat status {};
  EXPECT_EQ(ErrnoOf(stat(At("dir/1").c_str(), &status)), ETIMEDOUT);
  EXPECT_GE(Since(begin), kIoTimeout - milliseconds(100));
  EXPECT_LT(Since(begin), kIoTimeout + seconds(5));
  begin = Now();
  const UniqueFd fd(open(At("large").c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  const int error = fd ? ErrnoOf(read(fd.get(), &byte, 1)) : errno;
  EXPECT_TRUE(error == ETIMEDOUT || error == EIO) << error;
  EXPECT_LT(Since(begin), kIoTimeout + seconds(5));
}

// As with a local file system: PostgreSQL for one gives up when an fsync is interrupted.
TEST_F(Outage, SignalsEndNoCall) {
  const std::string name = At("dir/3");
  EXPECT_EQ(Signalled([&] {
              struct stat status {};
              return ErrnoOf(stat(name.c_str(), &status));
            }),
            0);
  const std::string large = At("large");
  EXPECT_EQ(Signalled([&] {
              const UniqueFd fd(open(large.c_str(), O_RDONLY | O_CLOEXEC));
              char byte = 0;
              return fd ? ErrnoOf(read(fd.get(), &byte, 1)) : errno;
            }),
            0);
  const UniqueFd fresh = Open(At("fresh"), O_WRONLY | O_CREAT);
  WriteAt(fresh.get(), "content", 0);
  EXPECT_EQ(Signalled([&] { return ErrnoOf(fsync(fresh.get())); }), 0);
}

TEST_F(Outage, WhoWaitsCanBeKilled) {
  const std::string name = At("dir/2");
  const std::string large = At("large");
  const std::string fresh = At("fresh");
  const auto limit = seconds(1);
  EXPECT_LT(TimeToKill([&] {
              struct stat status {};
              stat(name.c_str(), &status);
            }),
            limit);
  EXPECT_LT(TimeToKill([&] {
              const UniqueFd fd(open(large.c_str(), O_RDONLY | O_CLOEXEC));
              char byte = 0;
              [[maybe_unused]] const ssize_t got = read(fd.get(), &byte, 1);
            }),
            limit);
  EXPECT_LT(TimeToKill([&] { rename(name.c_str(), fresh.c_str()); }), limit);
  EXPECT_LT(TimeToKill([&] {
              const UniqueFd fd(open(fresh.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
              fsync(fd.get());
            }),
            limit);
}

TEST_F(Outage, WorkGoesOnAndArrivesAfterwards) {
  // The write lease makes these local.
  for (int i = 0; i < 20; ++i) WriteFile(At("new" + std::to_string(i)), "written meanwhile");
  EXPECT_GT(host().SessionStatus("work").at("pending_mutations").get<uint64_t>(), 0u);
  std::this_thread::sleep_for(kIoTimeout +
                              seconds(1));  // calls in flight time out and are sent again
  host().ThawGateway();
  RemountFresh();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(ReadFile(At("new" + std::to_string(i))), "written meanwhile");
  }
  EXPECT_EQ(ReadFile(At("dir/2")), "content");
}

TEST_F(Outage, WhoWaitsGetsTheAnswerWhenTheGatewayIsBackInTime) {
  std::thread later([this] {
    std::this_thread::sleep_for(kIoTimeout / 2);
    host().ThawGateway();
  });
  EXPECT_EQ(ReadFile(At("dir/3")), "content");
  EXPECT_EQ(ReadFile(At("large")), RandomBytes(1, 1 << 20));
  later.join();
}

TEST_F(Outage, GatewayThatIsKilledAndStartedAgainIsFoundAgain) {
  host().ThawGateway();
  host().KillGateway();
  for (int i = 0; i < 20; ++i) WriteFile(At("new" + std::to_string(i)), "written meanwhile");
  auto begin = Now();
  EXPECT_EQ(host().Airctl({"status"}).code, 0);
  struct statvfs space {};
  EXPECT_EQ(statvfs(mount().c_str(), &space), 0);
  EXPECT_LT(Since(begin), seconds(1));
  std::thread later([this] {
    std::this_thread::sleep_for(milliseconds(1000));
    host().StartGateway();
  });
  EXPECT_EQ(ReadFile(At("dir/4")), "content");
  later.join();
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "30"}).code, 0);
  EXPECT_EQ(host().SessionStatus("work").at("state"), "connected");
  RemountFresh();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(ReadFile(At("new" + std::to_string(i))), "written meanwhile");
  }
}

TEST_F(Outage, WhatIsUnsentIsListedAndCanBeWaitedFor) {
  WriteFile(At("unsent"), std::string(5000, 'x'));
  const auto files = host().AirctlJson({"dirty"}).at("files");
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].at("path"), "/unsent");
  EXPECT_EQ(files[0].at("bytes"), 5000);
  // Also where a name is no text.
  WriteFile(At("no \xff text"), "x");
  std::set<std::string> paths;
  const auto unsent = host().AirctlJson({"dirty"}).at("files");
  for (const auto& file : unsent) paths.insert(file.at("path"));
  EXPECT_EQ(paths, (std::set<std::string>{"/no \xef\xbf\xbd text", "/unsent"}));
  constexpr int kDirtyExit = 8;
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "0.5"}).code, kDirtyExit);
  host().ThawGateway();
  EXPECT_EQ(host().Airctl({"flush", mount()}).code, 0);
  EXPECT_EQ(host().AirctlJson({"dirty", mount()}).at("files").size(), 0u);
}

TEST_F(Outage, WhatAnEarlierBrokerLeftIsWaitedForToo) {
  WriteFile(At("unsent"), "x");
  host().KillBrokerAndMounts();
  host().StartBroker();
  const auto files = host().AirctlJson({"dirty"}).at("files");
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].at("earlier"), true);
  constexpr int kDirtyExit = 8;
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "0.3"}).code, kDirtyExit);
  host().ThawGateway();
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "60"}).code, 0);
  EXPECT_EQ(host().AirctlJson({"dirty"}).at("files").size(), 0u);
  EXPECT_EQ(ReadFile(host().Mount("work", "again") + "/unsent"), "x");
}

TEST_F(Outage, UnmountingWaitsWithTheMountInItsPlace) {
  WriteFile(At("unsent"), "x");
  Process unmounting({Program("airctl"), "--socket", host().socket(), "unmount", "-v", mount()},
                     {.output_file = host().Path("unmounting")});
  EXPECT_TRUE(WaitUntil(seconds(20), [&] {
    return ReadFile(host().Path("unmounting")).find("sending changes") != std::string::npos;
  }));
  EXPECT_EQ(ReadFile(At("unsent")), "x");
  host().ThawGateway();
  EXPECT_EQ(unmounting.Wait(seconds(60)), 0) << ReadFile(host().Path("unmounting"));
  EXPECT_FALSE(Exists(At("unsent")));
}

}  // namespace
}  // namespace airstore::e2e
