// SPDX-License-Identifier: Apache-2.0
//
// A broker that dies is followed by another one, and nobody who uses its mounts sees it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/stall_probe.h"
#include "tests/fault/worker.h"

namespace airstore::fault {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class BrokerRestart : public e2e::MountTest {
 protected:
  void Restart() {
    host().KillBroker();
    host().StartBroker();
  }
  void ExpectServed(const std::string& mountpoint) {
    const auto status = host().MountStatus(mountpoint);
    EXPECT_EQ(status.at("state"), "ready");
  }
};

// Everything that a program can hold of a mount.
TEST_F(BrokerRestart, WhatIsHeldStaysWhatItIs) {
  const std::string large = e2e::RandomBytes(3, 3'000'000);
  mkdir(At("dir").c_str(), 0755);
  e2e::WriteFile(At("dir/small"), "small");
  e2e::WriteFile(At("dir/large"), large);
  e2e::WriteFile(At("dir/gone"), large);
  const auto device = e2e::Stat(mount()).st_dev;
  const auto inode = e2e::Stat(At("dir/large")).st_ino;
  const UniqueFd small = e2e::Open(At("dir/small"), O_RDONLY);
  const UniqueFd written = e2e::Open(At("dir/large"), O_RDWR);
  const UniqueFd appended = e2e::Open(At("dir/new"), O_WRONLY | O_CREAT | O_APPEND);
  const UniqueFd unlinked = e2e::Open(At("dir/gone"), O_RDWR);
  ASSERT_EQ(unlink(At("dir/gone").c_str()), 0);
  const UniqueFd directory = e2e::Open(At("dir"), O_RDONLY | O_DIRECTORY);
  auto* map = static_cast<char*>(
      mmap(nullptr, large.size(), PROT_READ | PROT_WRITE, MAP_SHARED, written.get(), 0));
  ASSERT_NE(static_cast<void*>(map), MAP_FAILED);
  const auto frontends = host().FrontendPids();
  std::string expected = large;
  for (int round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    Restart();
    EXPECT_EQ(host().FrontendPids(), frontends);
    ExpectServed(mount());
    const auto at = static_cast<size_t>(round) * 5000;
    e2e::WriteAt(written.get(), "written", static_cast<off_t>(at));
    expected.replace(at, 7, "written");
    map[at + 100] = 'm';
    expected[at + 100] = 'm';
    ASSERT_EQ(write(appended.get(), "line\n", 5), 5) << strerror(errno);
    EXPECT_EQ(e2e::ReadSome(small.get(), 10, 0), "small");
    e2e::WriteAt(unlinked.get(), "orphan", 10);
    EXPECT_EQ(e2e::ReadSome(unlinked.get(), 6, 10), "orphan");
    EXPECT_EQ(e2e::ReadSome(unlinked.get(), 100, 2'000'000), large.substr(2'000'000, 100));
    EXPECT_EQ(e2e::ReadSome(written.get(), expected.size(), 0), expected);
    const std::string name = "made" + std::to_string(round);
    EXPECT_EQ(mkdirat(directory.get(), name.c_str(), 0755), 0) << strerror(errno);
    EXPECT_EQ(e2e::Stat(mount()).st_dev, device);
    EXPECT_EQ(e2e::Stat(At("dir/large")).st_ino, inode);
    // A second open of what is open, and a first one of what is not.
    EXPECT_EQ(e2e::ReadFile(At("dir/large")), expected);
    EXPECT_EQ(e2e::ReadFile(At("dir/small")), "small");
    ASSERT_EQ(fsync(written.get()), 0) << strerror(errno);
  }
  munmap(map, large.size());
  const e2e::TreeEntries here = e2e::Tree(mount());
  EXPECT_EQ(here.count("dir/gone"), 0u);
  EXPECT_EQ(e2e::ReadFile(At("dir/new")), "line\nline\nline\nline\n");
}

// The next broker does not know of which blocks the gateway has nothing.
TEST_F(BrokerRestart, HolesMadeAfterItAreHolesAtTheGateway) {
  const std::string before = e2e::RandomBytes(5, 1'000'000);
  e2e::WriteFile(At("file"), before);
  (void)host().AirctlJson({"flush"});
  Restart();
  constexpr size_t kBlock = 256u << 10;
  ASSERT_EQ(fallocate(e2e::Open(At("file"), O_RDWR).get(),
                      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock, kBlock),
            0);
  std::string after = before;
  after.replace(kBlock, kBlock, kBlock, '\0');
  EXPECT_TRUE(e2e::ReadFile(At("file")) == after);
  RemountFresh();
  EXPECT_TRUE(e2e::ReadFile(At("file")) == after);
}

TEST_F(BrokerRestart, AfterItAnUnmountIsClean) {
  e2e::WriteFile(At("file"), e2e::RandomBytes(1, 100'000));
  Restart();
  e2e::WriteFile(At("other"), "content");
  Restart();
  RemountFresh();
  EXPECT_EQ(e2e::ReadFile(At("file")), e2e::RandomBytes(1, 100'000));
  EXPECT_EQ(e2e::ReadFile(At("other")), "content");
}

// What is cached and what is pending is served and changed on; the rest waits for the gateway.
TEST_F(BrokerRestart, WithoutAGateway) {
  mkdir(At("dir").c_str(), 0755);
  e2e::WriteFile(At("dir/file"), "content");
  EXPECT_EQ(e2e::NamesIn(At("dir")), std::set<std::string>{"file"});
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
  }));
  host().FreezeGateway();
  e2e::WriteFile(At("dir/before"), "written before");
  Restart();
  EXPECT_EQ(e2e::ReadFile(At("dir/file")), "content");
  EXPECT_EQ(e2e::ReadFile(At("dir/before")), "written before");
  e2e::WriteFile(At("dir/after"), "written after");
  ASSERT_EQ(rename(At("dir/file").c_str(), At("dir/moved").c_str()), 0) << strerror(errno);
  EXPECT_EQ(e2e::NamesIn(At("dir")), (std::set<std::string>{"moved", "before", "after"}));
  Restart();
  EXPECT_EQ(e2e::NamesIn(At("dir")), (std::set<std::string>{"moved", "before", "after"}));
  host().ThawGateway();
  const e2e::TreeEntries here = e2e::Tree(mount());
  RemountFresh();
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount())), "");
}

// Two mounts change the same directory, so that each has the other's kernel told of names in
// directories which requests under way have locked. A broker that waits there must be able to end.
TEST_F(BrokerRestart, WhileKernelsAreToldOfNames) {
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 6);
  const std::string second = host().Mount("work", "mnt2");
  mkdir(At("shared").c_str(), 0755);
  std::atomic<bool> over{false};
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> errors{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    const std::string name = (i % 2 == 0 ? mount() : second) + "/shared/" + std::to_string(i);
    threads.emplace_back([&, name] {
      while (!over) {
        if (mkdir(name.c_str(), 0755) != 0) ++errors;
        if (access((name + "x").c_str(), F_OK) == 0) ++errors;
        if (rename(name.c_str(), (name + "x").c_str()) != 0) ++errors;
        if (rmdir((name + "x").c_str()) != 0) ++errors;
        ++steps;
      }
    });
  }
  std::mt19937 random(5);
  for (uint64_t round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(milliseconds(50 + random() % 200));
    const auto begun = e2e::Now();
    host().KillBroker();
    EXPECT_LT(e2e::Now() - begun, seconds(2));
    host().StartBroker();
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0u);
  EXPECT_GT(steps, rounds);
  EXPECT_TRUE(e2e::NamesIn(At("shared")).empty());
}

TEST_F(BrokerRestart, UnderLoadNothingIsSeen) {
  const uint64_t rounds = e2e::EnvOr("AIRSTORE_FAULT_ROUNDS", 6);
  const uint64_t seed = e2e::EnvOr("AIRSTORE_FAULT_SEED", 1);
  std::mt19937 random(static_cast<uint32_t>(seed));
  const std::string second = host().Mount("work", "mnt2");
  host().CreateWorkspace("other");
  const std::string third = host().Mount("other", "mnt3");
  const auto device = e2e::Stat(mount()).st_dev;
  Crew crew(host().Path("worker-"));
  for (const char* kind : {"names", "files", "readers", "maps", "holder"}) {
    crew.Start(kind, mount());
  }
  crew.Start("names", second);
  crew.Start("files", second);
  crew.Start("names", third);
  crew.Start("maps", third);
  StallProbe probe({mount(), second, third});
  std::this_thread::sleep_for(seconds(2));  // all are at work
  for (uint64_t round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(milliseconds(100 + random() % 400));
    probe.BeginRound();
    Restart();
  }
  std::this_thread::sleep_for(milliseconds(500));
  const std::vector<milliseconds> stalls = probe.Stop();
  const auto outcome = crew.Stop();
  for (const std::string& surprise : outcome.surprises) ADD_FAILURE() << surprise;
  EXPECT_GT(outcome.steps, rounds);
  EXPECT_EQ(e2e::Stat(mount()).st_dev, device);
  for (const std::string& mountpoint : {mount(), second, third}) ExpectServed(mountpoint);
  std::cout << "seed " << seed << ": " << rounds << " broker kills, " << outcome.steps << " steps, "
            << probe.errors() << " errors; stall median " << stalls[stalls.size() / 2].count()
            << " ms, p99 " << stalls[stalls.size() * 99 / 100].count() << " ms, longest "
            << stalls.back().count() << " ms\n";
  EXPECT_EQ(probe.errors(), 0u);
  // And it is all at the gateway.
  const e2e::TreeEntries here = e2e::Tree(mount());
  const e2e::TreeEntries there = e2e::Tree(third);
  host().Unmount(second);
  host().Unmount(third);
  RemountFresh();
  EXPECT_EQ(e2e::Difference(here, e2e::Tree(mount())), "");
  host().Mount("other", "mnt3");
  EXPECT_EQ(e2e::Difference(there, e2e::Tree(third)), "");
}

}  // namespace
}  // namespace airstore::fault
