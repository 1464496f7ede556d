// SPDX-License-Identifier: Apache-2.0
//
// A broker hands over to another one, or goes on when that is not to be had.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/bad_successor.h"
#include "tests/fault/stall_probe.h"
#include "tests/fault/worker.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class BrokerUpgrade : public e2e::MountTest {
 protected:
  pid_t Pid() { return host().Status().at("broker").at("pid").get<pid_t>(); }
  void ExpectGoesOn(const e2e::Finished& said, pid_t pid) {
    EXPECT_NE(said.code, 0) << said.All();
    EXPECT_EQ(Pid(), pid);
    const std::string name = At("after" + std::to_string(++names_));
    e2e::WriteFile(name, "content");
    EXPECT_EQ(e2e::ReadFile(name), "content");
  }
  // Ours under another name.
  std::string BadSuccessor(const std::string& name) {
    const std::string path = host().Path(name);
    std::filesystem::create_symlink(std::filesystem::read_symlink("/proc/self/exe"), path);
    return path;
  }

 private:
  int names_ = 0;
};

TEST_F(BrokerUpgrade, OpenFilesGoOn) {
  e2e::WriteFile(At("file"), e2e::RandomBytes(1, 300'000));
  UniqueFd kept = e2e::Open(At("file"), O_RDWR);
  const auto frontends = host().FrontendPids();
  for (const std::string& program : {std::string(), e2e::Program("airstored-next")}) {
    e2e::Finished said;
    ASSERT_TRUE(host().UpgradeBroker(program, &said)) << said.All();
    EXPECT_EQ(said.code, 0) << said.All();
    EXPECT_EQ(host().FrontendPids(), frontends);
    e2e::WriteAt(kept.get(), "CONTENT", 1000);
    EXPECT_EQ(e2e::ReadSome(kept.get(), 7, 1000), "CONTENT");
    ASSERT_EQ(fsync(kept.get()), 0) << strerror(errno);
  }
  EXPECT_NE(e2e::ReadFile(host().Path("broker.log")).find("airstored 0.0.0-next"),
            std::string::npos);
  kept.reset();
  RemountFresh();
  std::string expected = e2e::RandomBytes(1, 300'000);
  expected.replace(1000, 7, "CONTENT");
  EXPECT_EQ(e2e::ReadFile(At("file")), expected);
}

// What it had cached is served from its memory until the last of it has changed or gone.
TEST_F(BrokerUpgrade, MemoryOfTheOldOneComesBack) {
  constexpr int kFiles = 20;
  const auto name = [this](int i) { return At("small" + std::to_string(i)); };
  for (int i = 0; i < kFiles; ++i) e2e::WriteFile(name(i), "content " + std::to_string(i));
  RemountFresh();
  const auto slabs = [this] {
    const std::string maps = "/proc/" + std::to_string(host().FrontendPids().at(0)) + "/maps";
    int count = 0;
    std::ifstream lines(maps);
    for (std::string line; std::getline(lines, line);) count += line.find("slab") != line.npos;
    return count;
  };
  const auto read_all = [&] {
    for (int i = 0; i < kFiles; ++i) {
      EXPECT_EQ(e2e::ReadFile(name(i)), "content " + std::to_string(i));
    }
  };
  read_all();
  ASSERT_EQ(slabs(), 1);
  e2e::Finished said;
  ASSERT_TRUE(host().UpgradeBroker("", &said)) << said.All();
  read_all();
  EXPECT_EQ(slabs(), 1);
  for (int i = 0; i < kFiles; ++i) ASSERT_EQ(unlink(name(i).c_str()), 0) << strerror(errno);
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return slabs() == 0; })) << slabs();
}

// One that somebody has taken away is still known, until airctl unmounts it.
TEST_F(BrokerUpgrade, ADeadMountDoesNotTakeTheOthersAlong) {
  const std::string taken = host().Mount("work", "taken");
  e2e::WriteFile(taken + "/file", "content");
  const UniqueFd kept = e2e::Open(At("file"), O_RDWR);
  ASSERT_EQ(umount2(taken.c_str(), MNT_DETACH), 0) << strerror(errno);
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    const nlohmann::json status = host().Status();
    return std::any_of(status.at("mounts").begin(), status.at("mounts").end(),
                       [](const auto& mount) { return mount.at("state") == "dead"; });
  })) << host().Status();
  e2e::Finished said;
  ASSERT_TRUE(host().UpgradeBroker("", &said)) << said.All();
  EXPECT_EQ(e2e::ReadSome(kept.get(), 7, 0), "content");
  e2e::WriteAt(kept.get(), "CONTENT", 0);
  ASSERT_EQ(fsync(kept.get()), 0) << strerror(errno);
  EXPECT_EQ(e2e::ReadFile(At("file")), "CONTENT");
}

TEST_F(BrokerUpgrade, ToWhatIsNoBrokerIsRefused) {
  const pid_t pid = Pid();
  e2e::Finished said;
  EXPECT_FALSE(host().UpgradeBroker("/nowhere/airstored", &said));
  ExpectGoesOn(said, pid);
  EXPECT_FALSE(host().UpgradeBroker("/bin/true", &said));
  EXPECT_NE(said.out.find("/bin/true"), std::string::npos) << said.All();
  ExpectGoesOn(said, pid);
}

// As with a configuration that was changed; nobody who serves is ended for it.
TEST_F(BrokerUpgrade, ToOneThatCouldNotServeIsRefused) {
  const pid_t pid = Pid();
  const struct {
    std::string command;
    const char* says;
  } cases[] = {
      {"exec " + e2e::Program("airstored") + " \"$@\" --store-dir /dev/null/store", "/dev/null"},
      {"shift 2; exec " + e2e::Program("airstored") + " --state-dir /nowhere \"$@\"", "state_dir"},
  };
  for (const auto& each : cases) {
    const std::string program = host().Path("successor");
    e2e::WriteFile(program, "#!/bin/sh\n" + each.command + "\n");
    ASSERT_EQ(chmod(program.c_str(), 0755), 0);
    e2e::Finished said;
    EXPECT_FALSE(host().UpgradeBroker(program, &said));
    EXPECT_NE(said.All().find(each.says), std::string::npos) << said.All();
    ExpectGoesOn(said, pid);
  }
}

TEST_F(BrokerUpgrade, ABrokerThatDoesNotTakeOverIsReplacedByTheOldOne) {
  const pid_t pid = Pid();
  const UniqueFd kept = e2e::Open(At("kept"), O_RDWR | O_CREAT);
  for (const std::string name : kBadSuccessors) {
    SCOPED_TRACE(name);
    e2e::Finished said;
    EXPECT_FALSE(host().UpgradeBroker(BadSuccessor(name), &said));
    ExpectGoesOn(said, pid);
    if (name == "incapable" || name == "demanding") {
      EXPECT_NE(said.out.find("9.9-test"), std::string::npos) << said.All();
    }
    e2e::WriteAt(kept.get(), name, 0);
    EXPECT_EQ(e2e::ReadSome(kept.get(), name.size(), 0), name);
  }
}

TEST_F(BrokerUpgrade, UnderLoadNothingIsSeen) {
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 4);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  std::mt19937 random(static_cast<uint32_t>(seed));
  const std::string second = host().Mount("work", "mnt2");
  host().CreateWorkspace("other");
  const std::string third = host().Mount("other", "mnt3");
  Crew crew(host().Path("worker-"));
  for (const char* kind : {"names", "files", "readers", "maps", "holder"}) {
    crew.Start(kind, mount());
  }
  crew.Start("files", second);
  crew.Start("names", third);
  StallProbe probe({mount(), second, third});
  std::this_thread::sleep_for(seconds(2));  // all are at work
  for (uint64_t round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(milliseconds(100 + random() % 400));
    probe.BeginRound();
    e2e::Finished said;
    ASSERT_TRUE(
        host().UpgradeBroker(e2e::Program(round % 2 == 0 ? "airstored-next" : "airstored"), &said))
        << said.All();
  }
  std::this_thread::sleep_for(milliseconds(500));
  const std::vector<milliseconds> stalls = probe.Stop();
  const auto outcome = crew.Stop();
  for (const std::string& surprise : outcome.surprises) ADD_FAILURE() << surprise;
  std::cout << "seed " << seed << ": " << rounds << " upgrades, " << outcome.steps << " steps, "
            << probe.errors() << " errors; stall median " << stalls[stalls.size() / 2].count()
            << " ms, p99 " << stalls[stalls.size() * 99 / 100].count() << " ms, longest "
            << stalls.back().count() << " ms\n";
  EXPECT_EQ(probe.errors(), 0u);
  const e2e::TreeEntries here = e2e::Tree(mount());
  host().Unmount(second);
  host().Unmount(third);
  RemountFresh();
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount())), "");
}

// SIGTERM as a service manager sends it before it starts the next one.
class BrokerService : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    e2e::HostOptions options;
    options.broker_arguments = {"--on-stop", "leave"};
    return options;
  }
};

TEST_F(BrokerService, ARestartLeavesMounts) {
  e2e::WriteFile(At("file"), "content");
  const UniqueFd kept = e2e::Open(At("file"), O_RDWR);
  const auto frontends = host().FrontendPids();
  host().StopBroker();
  host().StartBroker();
  EXPECT_EQ(host().FrontendPids(), frontends);
  e2e::WriteAt(kept.get(), "CONTENT", 0);
  EXPECT_EQ(e2e::ReadFile(At("file")), "CONTENT");
}

}  // namespace
}  // namespace airstore::fault
