// SPDX-License-Identifier: Apache-2.0
//
// Mounts go on when the next broker's programs are of another shared-memory ABI, whichever way it
// comes to be the next one.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <set>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/stall_probe.h"
#include "tests/fault/switchboard.h"
#include "tests/fault/worker.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string Other() {
  const char* directory = getenv("AIRSTORE_OTHER_ABI_DIR");
  return directory != nullptr ? std::string(directory) + "/airstored"
                              : e2e::Program("other-abi/airstored");
}

class OtherAbi : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.broker_arguments = {"--on-stop", "leave"},
            .environment = {{"AIRSTORE_FAULT", board_.path()}}};
  }
  pid_t Pid() { return host().Status().at("broker").at("pid").get<pid_t>(); }
  void Upgrade(const std::string& program) {
    e2e::Finished said;
    ASSERT_TRUE(host().UpgradeBroker(program, &said)) << said.All();
    EXPECT_EQ(said.code, 0) << said.All();
  }
  void StartOther() {
    host().StartBrokerWith({"/bin/sh", "-c", "shift; exec " + Other() + " \"$@\"", "sh"});
  }
  // Of the only session.
  std::string Spool() {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(host().Path("state"))) {
      if (entry.path().filename() == "mount-0.json") return entry.path().parent_path();
    }
    return {};
  }
  // One that is expected to end.
  int RunOther() {
    e2e::Process other(
        {Other(), "--state-dir", host().Path("state"), "--gateway", host().gateway_address(),
         "--on-stop", "leave"},
        {.env = {{"AIRSTORE_FAULT", board_.path()}}, .output_file = host().Path("other.log")});
    return other.Wait(seconds(60)).value_or(-1);
  }

  Switchboard board_;
};

// All that a program may have of a mount.
class Everything {
 public:
  Everything(std::string mount, std::string sibling)
      : mount_(std::move(mount)), sibling_(std::move(sibling)) {
    e2e::WriteFile(At("file"), content_);
    file_ = e2e::Open(At("file"), O_RDWR);
    nameless_ = e2e::Open(At("unlinked"), O_RDWR | O_CREAT);
    e2e::WriteAt(nameless_.get(), content_, 0);
    EXPECT_EQ(unlink(At("unlinked").c_str()), 0);
    appended_ = e2e::Open(At("log"), O_WRONLY | O_CREAT | O_APPEND);
    EXPECT_EQ(symlink("file", At("link").c_str()), 0);
    EXPECT_EQ(mkdir(At("many").c_str(), 0755), 0);
    for (int i = 0; i < 3000; ++i) {
      const std::string name = "many/" + std::to_string(i) + std::string(i % 7 == 0 ? 90 : 5, 'n');
      EXPECT_TRUE(e2e::Open(At(name), O_WRONLY | O_CREAT));
    }
    directory_ = opendir(At("many").c_str());
    for (int i = 0; i < 100; ++i) seen_.insert(readdir(directory_)->d_name);
    map_ = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    EXPECT_NE(map_, MAP_FAILED);
    locked_ = e2e::Open(At("locked"), O_RDWR | O_CREAT);
    EXPECT_EQ(flock(locked_.get(), LOCK_EX), 0);
    // One that waits for a lock all the while.
    waiter_ = std::thread([this] {
      const UniqueFd mine = e2e::Open(sibling_ + "/locked", O_RDWR);
      got_lock_ = flock(mine.get(), LOCK_EX) == 0;
    });
    struct stat info {};
    EXPECT_EQ(stat(mount_.c_str(), &info), 0);
    device_ = info.st_dev;
  }
  ~Everything() {
    locked_.reset();
    waiter_.join();
    EXPECT_TRUE(got_lock_);
    munmap(map_, 4096);
    closedir(directory_);
  }

  void Check(int round) {
    SCOPED_TRACE(round);
    struct stat info {};
    ASSERT_EQ(stat(mount_.c_str(), &info), 0);
    EXPECT_EQ(info.st_dev, device_);
    const std::string mark = "round" + std::to_string(round);
    e2e::WriteAt(file_.get(), mark, 8192);
    content_.replace(8192, mark.size(), mark);
    memcpy(static_cast<char*>(map_) + 100, mark.data(), mark.size());
    content_.replace(100, mark.size(), mark);
    EXPECT_EQ(e2e::ReadSome(file_.get(), content_.size(), 0), content_);
    EXPECT_EQ(e2e::ReadFile(sibling_ + "/link"), content_);
    EXPECT_EQ(fsync(file_.get()), 0) << strerror(errno);
    EXPECT_EQ(e2e::ReadSome(nameless_.get(), 9000, 300'000 - 9000).size(), 9000u);
    EXPECT_EQ(write(appended_.get(), "line\n", 5), 5);
    lines_ += "line\n";
    EXPECT_EQ(e2e::ReadFile(sibling_ + "/log"), lines_);
    for (int i = 0; i < 200; ++i) {
      const dirent* entry = readdir(directory_);
      ASSERT_NE(entry, nullptr);
      EXPECT_TRUE(seen_.insert(entry->d_name).second) << entry->d_name;
    }
    const UniqueFd mine = e2e::Open(sibling_ + "/locked", O_RDWR);
    EXPECT_EQ(flock(mine.get(), LOCK_EX | LOCK_NB), -1);
    EXPECT_EQ(errno, EWOULDBLOCK);
    EXPECT_FALSE(got_lock_);
  }
  void ListRest() {
    while (const dirent* entry = readdir(directory_)) {
      EXPECT_TRUE(seen_.insert(entry->d_name).second) << entry->d_name;
    }
    EXPECT_EQ(seen_.size(), 3002u);  // with the directory itself and its parent
  }

 private:
  std::string At(const std::string& name) const { return mount_ + "/" + name; }

  std::string mount_;
  std::string sibling_;
  std::string content_ = e2e::RandomBytes(1, 300'000);
  std::string lines_;
  UniqueFd file_;
  UniqueFd nameless_;
  UniqueFd appended_;
  UniqueFd locked_;
  DIR* directory_ = nullptr;
  std::set<std::string> seen_;
  void* map_ = nullptr;
  std::thread waiter_;
  std::atomic<bool> got_lock_{false};
  dev_t device_ = 0;
};

TEST_F(OtherAbi, OpenFilesLocksAndMapsGoOn) {
  const std::string sibling = host().Mount("work", "mnt2");
  {
    Everything everything(mount(), sibling);
    everything.Check(0);
    const auto frontends = host().FrontendPids();
    Upgrade(Other());
    EXPECT_NE(host().FrontendPids(), frontends);
    everything.Check(1);
    Upgrade(e2e::Program("airstored"));
    everything.Check(2);
    // As a service manager does it.
    host().StopBroker();
    StartOther();
    everything.Check(3);
    // A crash, and another version is installed before it is started.
    host().KillBroker();
    host().StartBroker();
    everything.Check(4);
    // A frontend that is killed afterwards is replaced as ever.
    for (const pid_t pid : host().FrontendPids()) kill(pid, SIGKILL);
    everything.Check(5);
    everything.ListRest();
  }
  const e2e::TreeEntries here = e2e::Tree(mount());
  host().Unmount(sibling);
  RemountFresh();
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount())), "");
}

TEST_F(OtherAbi, ASuccessorThatDiesLeavesAllAsItWas) {
  const std::string sibling = host().Mount("work", "mnt2");
  {
    Everything everything(mount(), sibling);
    const auto frontends = host().FrontendPids();
    const pid_t pid = Pid();
    int round = 0;
    for (const FaultPoint point : {FaultPoint::kRemapRead, FaultPoint::kRemapInPlace}) {
      SCOPED_TRACE(NameOf(point));
      board_.Arm(point, FaultAction::kKill, 0, 0, 1);
      e2e::Finished said;
      EXPECT_FALSE(host().UpgradeBroker(Other(), &said)) << said.All();
      EXPECT_EQ(board_.fired(point), 1u);
      EXPECT_EQ(Pid(), pid);
      EXPECT_EQ(host().FrontendPids(), frontends);
      everything.Check(++round);
    }
    // With nobody to go on at once: whoever comes next.
    board_.Arm(FaultPoint::kRemapInPlace, FaultAction::kKill, 0, 0, 1);
    host().StopBroker();
    EXPECT_EQ(RunOther(), 128 + SIGKILL);
    EXPECT_EQ(board_.fired(FaultPoint::kRemapInPlace), 2u);
    host().StartBroker();
    EXPECT_EQ(host().FrontendPids(), frontends);
    everything.Check(++round);
  }
  RemountFresh();
}

TEST_F(OtherAbi, LinksThatTheGatewayHasNotHeardOfSayWhereTheyLead) {
  e2e::WriteFile(At("file"), "content");
  EXPECT_EQ(e2e::NamesIn(mount()).size(), 1u);
  host().FreezeGateway();
  ASSERT_EQ(symlink("there", At("link").c_str()), 0);
  Upgrade(Other());
  char target[16] = {};
  EXPECT_EQ(readlink(At("link").c_str(), target, sizeof(target)), 5) << strerror(errno);
  EXPECT_STREQ(target, "there");
  host().ThawGateway();
  RemountFresh();
  EXPECT_EQ(readlink(At("link").c_str(), target, sizeof(target)), 5) << strerror(errno);
}

TEST_F(OtherAbi, WhatCannotBeBroughtOverIsRefused) {
  const std::string file = Spool() + "/mount-0.json";
  std::string manifest = e2e::ReadFile(file);
  const std::string said_so = "\"portable\": \"1\"";
  ASSERT_NE(manifest.find(said_so), std::string::npos) << manifest;
  manifest.replace(manifest.find(said_so), said_so.size(), "\"portable\": \"0\"");
  e2e::WriteFile(file, manifest);
  const pid_t pid = Pid();
  e2e::Finished said;
  EXPECT_FALSE(host().UpgradeBroker(Other(), &said));
  EXPECT_EQ(Pid(), pid);
  for (const char* part : {"mnt", "shared-memory ABI ", "10"}) {
    EXPECT_NE(said.All().find(part), std::string::npos) << said.All();
  }
  e2e::WriteFile(At("after"), "content");
  EXPECT_EQ(e2e::ReadFile(At("after")), "content");
}

// A session is left alone when it is this host that has no room or no luck.
TEST_F(OtherAbi, ABrokerThatCannotBringItOverEndsAndLeavesAllAsItWas) {
  Everything everything(mount(), mount());
  const auto frontends = host().FrontendPids();
  const std::string in_the_way = Spool() + "/lane-0.new";
  ASSERT_EQ(mkdir(in_the_way.c_str(), 0700), 0);
  e2e::WriteFile(in_the_way + "/x", "");
  host().StopBroker();
  EXPECT_EQ(RunOther(), 1);
  std::filesystem::remove_all(in_the_way);
  host().StartBroker();
  EXPECT_EQ(host().FrontendPids(), frontends);
  everything.Check(1);
}

// Nothing is open here: who starts a program closes its own descriptors first, and would wait.
TEST_F(OtherAbi, FrontendsThatSomebodyHasStoppedGoOn) {
  const std::string sibling = host().Mount("work", "mnt2");
  e2e::WriteFile(At("file"), "content");
  struct stat before {};
  ASSERT_EQ(stat(mount().c_str(), &before), 0);
  const auto expect_served = [&] {
    struct stat info {};
    ASSERT_EQ(stat(mount().c_str(), &info), 0);
    EXPECT_EQ(info.st_dev, before.st_dev);
    EXPECT_EQ(e2e::ReadFile(At("file")), "content");
    e2e::WriteFile(sibling + "/more", "more");
    EXPECT_EQ(e2e::ReadFile(At("more")), "more");
  };
  for (const std::string& program : {Other(), e2e::Program("airstored-next")}) {
    kill(host().FrontendPids().front(), SIGSTOP);
    Upgrade(program);
    expect_served();
  }
  kill(host().FrontendPids().front(), SIGSTOP);
  host().KillBroker();
  StartOther();
  expect_served();
}

// The lane of a mount that nobody serves any more holds what was accepted.
TEST_F(OtherAbi, WhatDeadFrontendsHaveAcceptedIsNotLost) {
  host().CreateWorkspace("alone");
  const std::string second = host().Mount("alone", "mnt2", {"--passthrough", "off"});
  std::string content(50'000, 'a');
  e2e::WriteFile(second + "/file", content);
  const UniqueFd file = e2e::Open(second + "/file", O_RDWR);
  ASSERT_EQ(fsync(file.get()), 0);
  const auto frontends = host().FrontendPids();
  host().broker().Signal(SIGSTOP);
  for (size_t at = 0; at < 40'000; at += 1000) {
    e2e::WriteAt(file.get(), "accepted", at);
    content.replace(at, 8, "accepted");
  }
  host().KillBroker();
  for (const pid_t pid : frontends) kill(pid, SIGKILL);
  StartOther();
  const std::string third = host().Mount("alone", "mnt3");
  EXPECT_EQ(e2e::ReadFile(third + "/file"), content);
  EXPECT_NE(e2e::ReadFile(host().Path("broker.log")).find("40 queued writes applied"),
            std::string::npos);
}

TEST_F(OtherAbi, UnderLoadNothingIsSeen) {
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
    Upgrade(round % 2 == 0 ? Other() : e2e::Program("airstored"));
    if (HasFatalFailure()) break;
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

}  // namespace
}  // namespace airstore::fault
