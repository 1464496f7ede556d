// SPDX-License-Identifier: Apache-2.0
//
// Two brokers at one gateway: two hosts that work in one workspace. What one has closed the other
// one finds; what was acknowledged is there, whoever dies.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "tests/e2e/support/environment.h"
#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kSessionSeconds = 5;

class TwoHosts : public HostTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.gateway_arguments = {"--session-seconds", std::to_string(kSessionSeconds)};
    options.patience += seconds(EnvOr("AIRSTORE_E2E_HOST_ROUNDS", 0) / 5);
    return options;
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    here_ = host().Mount("work", "here");
  }
  void Join(const Arguments& extra = {}) {
    other_ = std::make_unique<OtherBroker>(host());
    there_ = other_->Mount("work", "there", extra);
  }
  // Each with a list of gateways.
  void JoinWith(const Arguments& extra) {
    host().Unmount(here_);
    here_ = host().Mount("work", "here", extra);
    Join(extra);
  }
  OtherBroker& other() { return *other_; }
  bool LeaseHere() { return host().SessionStatus("work").at("write_lease").get<bool>(); }
  std::string Here(const std::string& name) const { return here_ + "/" + name; }
  std::string There(const std::string& name) const { return there_ + "/" + name; }
  std::string On(int side, const std::string& name) const {
    return side == 0 ? Here(name) : There(name);
  }
  const std::string& here() const { return here_; }
  const std::string& there() const { return there_; }
  // Both mounts, and then a fresh one.
  void ExpectSameEverywhere() {
    const TreeEntries mine = Tree(here_);
    EXPECT_EQ(Difference(mine, Tree(there_)), "");
    there_ = other().RemountFresh("work", there_);
    EXPECT_EQ(Difference(mine, Tree(there_)), "");
  }

 private:
  std::string here_;
  std::string there_;
  std::unique_ptr<OtherBroker> other_;
};

// What is known of where they hang goes round in a circle then.
TEST_F(TwoHosts, DirectoriesThatWereTurnedInsideOutAreNoTrap) {
  Join();
  for (const char* name : {"p", "p/q", "p/q/a", "p/q/b"}) {
    ASSERT_EQ(mkdir(Here(name).c_str(), 0755), 0);
  }
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(10), [&] { return Exists(There("p/q/b")); }));
  const UniqueFd inside = Open(Here("p/q"), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(rename(There("p/q").c_str(), There("q").c_str()), 0);
  ASSERT_EQ(rename(There("p").c_str(), There("q/p").c_str()), 0);
  EXPECT_EQ(NamesIn("/proc/self/fd/" + std::to_string(inside.get())),
            (std::set<std::string>{"a", "b", "p"}));
  EXPECT_EQ(ErrnoOf(renameat(inside.get(), "a", inside.get(), "c")), 0);
  EXPECT_TRUE(Exists(There("q/c")));
  EXPECT_EQ(ErrnoOf(renameat(inside.get(), "b", inside.get(), "c/b")), 0);
  EXPECT_TRUE(Exists(There("q/c/b")));
}

// What changes while the pages come does not have them come anew.
class LargeDirectories : public TwoHosts {};

TEST_F(LargeDirectories, AreListedWhileAnotherHostWorksInThem) {
  constexpr int kNames = 4'500;  // more than a page
  ASSERT_EQ(mkdir(Here("d").c_str(), 0755), 0);
  for (int i = 0; i < kNames; ++i) WriteFile(Here("d/" + std::to_string(i)), "");
  Join();
  std::jthread works([&](const std::stop_token& enough) {
    for (int i = 0; !enough.stop_requested(); ++i) {
      WriteFile(Here("d/new" + std::to_string(i)), "");
      if (i % 2 == 0) unlink(Here("d/" + std::to_string(i)).c_str());
    }
  });
  const auto begin = Now();
  const std::set<std::string> seen = NamesIn(There("d"));
  EXPECT_LT(Now() - begin, seconds(20));
  works.request_stop();
  works.join();
  EXPECT_GT(seen.size(), size_t{kNames / 2});
  const std::set<std::string> here = NamesIn(Here("d"));
  EXPECT_EQ(NamesIn(There("d")), here);
}

// It is not replaced, and what is written to it is sent.
TEST_F(TwoHosts, AFileThatWasNotReplacedGoesOn) {
  Join();
  WriteFile(Here("f"), RandomBytes(1, 200'000));
  WriteFile(Here("fresh"), "fresh");
  ASSERT_EQ(ReadFile(There("fresh")), "fresh");
  const UniqueFd file = Open(Here("f"), O_RDWR);
  host().broker().Signal(SIGSTOP);
  int replaced = 0;
  std::thread replace(
      [&] { replaced = ErrnoOf(rename(Here("fresh").c_str(), Here("f").c_str())); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it is on its way
  const int removed = ErrnoOf(unlink(There("fresh").c_str()));
  host().broker().Signal(SIGCONT);
  replace.join();
  EXPECT_EQ(removed, 0);
  if (replaced == 0) GTEST_SKIP() << "the rename was first";
  EXPECT_EQ(replaced, ENOENT);
  WriteAt(file.get(), "written later", 0);
  EXPECT_EQ(ErrnoOf(fsync(file.get())), 0);
  EXPECT_EQ(ReadFile(There("f")).substr(0, 13), "written later");
}

TEST_F(TwoHosts, TheLeaseIsForOneAlone) {
  EXPECT_TRUE(LeaseHere());
  WriteFile(Here("before"), "written under the lease");
  Join();
  EXPECT_FALSE(LeaseHere());
  EXPECT_FALSE(other().HoldsLease());
  EXPECT_EQ(ReadFile(There("before")), "written under the lease");
  WriteFile(There("reply"), "written without one");
  EXPECT_EQ(ReadFile(Here("reply")), "written without one");

  other().Unmount(there());
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    WriteFile(Here("probe"), "x");
    return LeaseHere();
  })) << "the one that stayed does not get it back";
}

// One change by one side, complete when it returns, looked at by the other side at once.
class CloseToOpen {
 public:
  CloseToOpen(std::string here, std::string there, uint64_t seed)
      : mounts_{std::move(here), std::move(there)}, random_(seed) {}

  void Round() {
    const int side = static_cast<int>(Below(2));
    const int across = 1 - side;
    const std::string name = "f" + std::to_string(Below(12));
    switch (Below(8)) {
      case 0:
      case 1:
      case 2:
        Write(side, name);
        break;
      case 3: {  // as editors do
        const std::string temporary = name + ".new";
        Write(side, temporary);
        ASSERT_EQ(rename(On(side, temporary).c_str(), On(side, name).c_str()), 0);
        files_[name] = files_[temporary];
        files_.erase(temporary);
        EXPECT_FALSE(Exists(On(across, temporary)));
        break;
      }
      case 4:
        if (files_.erase(name) != 0) {
          ASSERT_EQ(unlink(On(side, name).c_str()), 0);
        }
        break;
      case 5: {
        const std::string directory = "d" + std::to_string(Below(4));
        if (directories_.erase(directory) != 0) {
          ASSERT_EQ(rmdir(On(side, directory).c_str()), 0);
          EXPECT_FALSE(Exists(On(across, directory)));
        } else {
          ASSERT_EQ(mkdir(On(side, directory).c_str(), 0755), 0);
          directories_.insert(directory);
          EXPECT_TRUE(Exists(On(across, directory)));
        }
        break;
      }
      case 6:
        if (files_.contains(name)) {
          const auto mode = static_cast<mode_t>(0600 | Below(0100));
          ASSERT_EQ(chmod(On(side, name).c_str(), mode), 0);
          EXPECT_EQ(Stat(On(across, name)).st_mode & 07777, mode);
        }
        break;
      default:
        if (files_.contains(name)) {
          const UniqueFd file = Open(On(side, name), O_WRONLY | O_APPEND);
          const std::string more = RandomBytes(random_(), 1 + Below(5000));
          ASSERT_EQ(write(file.get(), more.data(), more.size()), static_cast<ssize_t>(more.size()));
          files_[name] += more;
        }
    }
    if (testing::Test::HasFailure()) return;
    Check(across, name);
    if (Below(8) == 0) {
      std::set<std::string> names = directories_;
      for (const auto& [file, content] : files_) names.insert(file);
      EXPECT_EQ(NamesIn(mounts_[static_cast<size_t>(across)]), names);
    }
  }

 private:
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  std::string On(int side, const std::string& name) const {
    return mounts_[static_cast<size_t>(side)] + "/" + name;
  }
  void Write(int side, const std::string& name) {
    constexpr size_t kSizes[] = {0, 1, 4000, 65'536, 65'537, 300'000, 1'500'000};
    const uint64_t kind = Below(20);  // small ones mostly
    const size_t size = kind < 14 ? 1 + Below(20'000) : kSizes[kind - 13];
    std::string content = RandomBytes(random_(), size);
    WriteFile(On(side, name), content);
    files_[name] = std::move(content);
  }
  void Check(int side, const std::string& name) {
    const auto file = files_.find(name);
    if (file == files_.end()) {
      EXPECT_FALSE(Exists(On(side, name))) << name;
      return;
    }
    ASSERT_TRUE(Exists(On(side, name))) << name;
    EXPECT_EQ(static_cast<size_t>(Stat(On(side, name)).st_size), file->second.size()) << name;
    EXPECT_TRUE(ReadFile(On(side, name)) == file->second) << name << " is not what was written";
  }

  std::array<std::string, 2> mounts_;
  std::mt19937_64 random_;
  std::map<std::string, std::string> files_;
  std::set<std::string> directories_;
};

// In a directory of the root, of which they have the lease in turn.
TEST_F(TwoHosts, WhatOneHasClosedInADirectoryTheOtherFinds) {
  const uint64_t rounds = EnvOr("AIRSTORE_E2E_HOST_ROUNDS", 200);
  Join();
  ASSERT_EQ(mkdir(Here("zone").c_str(), 0755), 0);
  const uint64_t seed = EnvOr("AIRSTORE_E2E_SEED", std::random_device{}());
  std::cout << "seed " << seed << ", " << rounds << " rounds\n";
  CloseToOpen work(Here("zone"), There("zone"), seed);
  for (uint64_t i = 0; i < rounds && !HasFailure(); ++i) {
    SCOPED_TRACE("round " + std::to_string(i));
    work.Round();
  }
  if (!HasFailure()) ExpectSameEverywhere();
}

// The gateways that the sessions of a broker go to.
void NoteUsed(const nlohmann::json& status, std::set<std::string>* used) {
  for (const nlohmann::json& gateway : status.at("gateways")) {
    if (gateway.at("sessions_here").get<uint64_t>() != 0) {
      used->insert(gateway.at("address").get<std::string>());
    }
  }
}

TEST_F(TwoHosts, WhatOneHasClosedTheOtherFinds) {
  const uint64_t rounds = EnvOr("AIRSTORE_E2E_HOST_ROUNDS", 200);
  // In the long form, where there can be several gateways, both hosts know three, of which one
  // after the other dies and comes back: so each host is with all of them in turn.
  const bool several = rounds >= 1000 && Scaled();
  if (several) {
    JoinWith({"--gateway", host().gateway_addresses()});
  } else {
    Join();
  }
  const uint64_t seed = EnvOr("AIRSTORE_E2E_SEED", std::random_device{}());
  std::cout << "seed " << seed << ", " << rounds << " rounds\n";
  CloseToOpen work(here(), there(), seed);
  std::set<std::string> used_here, used_there;
  const uint64_t each = std::max<uint64_t>(rounds / 24, 1);
  const auto begun = Now();
  for (uint64_t i = 0; i < rounds && !HasFailure(); ++i) {
    SCOPED_TRACE("round " + std::to_string(i));
    const size_t gateway = i / each % 3;
    if (several && i % each == each / 4) {
      NoteUsed(host().AirctlJson({"gateway", "status"}), &used_here);
      NoteUsed(nlohmann::json::parse(other().Airctl({"--json", "gateway", "status"}).out),
               &used_there);
      host().KillGateway(gateway);
    }
    if (several && i % each == each / 2) host().StartGateway(gateway);
    work.Round();
  }
  const auto took = std::chrono::duration_cast<milliseconds>(Now() - begun);
  std::cout << took.count() / static_cast<int64_t>(rounds) << " ms each\n";
  if (several) {
    std::cout << "gateways used: " << used_here.size() << " and " << used_there.size() << "\n";
    EXPECT_EQ(used_here.size(), 3u);
    EXPECT_EQ(used_there.size(), 3u);
  }
  if (!HasFailure()) ExpectSameEverywhere();
}

TEST_F(TwoHosts, OpenFilesFollow) {
  const std::string large(300'000, 'a');
  WriteFile(Here("file"), large);
  Join();
  const UniqueFd reader = Open(There("file"), O_RDONLY);
  EXPECT_TRUE(ReadSome(reader.get(), 10, 0) == "aaaaaaaaaa");
  const UniqueFd held = Open(There("gone"), O_RDWR | O_CREAT);
  WriteAt(held.get(), "still there", 0);
  WriteFile(Here("file"), std::string(200'000, 'b'));
  ASSERT_EQ(unlink(Here("gone").c_str()), 0);
  EXPECT_TRUE(WaitUntil(seconds(5), [&] { return ReadSome(reader.get(), 10, 0) == "bbbbbbbbbb"; }));
  EXPECT_FALSE(Exists(There("gone")));
  EXPECT_EQ(ReadSome(held.get(), 20, 0), "still there");
}

TEST_F(TwoHosts, ARecallUnderLoadLosesNothing) {
  constexpr int kFiles = 800;
  std::atomic<int> written{0};
  std::thread writer([&] {
    for (int i = 0; i < kFiles; ++i) {
      const std::string directory = Here("d" + std::to_string(i / 100));
      if (i % 100 == 0) mkdir(directory.c_str(), 0755);
      WriteFile(directory + "/" + std::to_string(i), RandomBytes(static_cast<uint64_t>(i), 700));
      ++written;
    }
  });
  WaitUntil(seconds(60), [&] { return written > kFiles / 4; });
  const int before = written;
  Join();
  EXPECT_LT(before, kFiles) << "the recall came too late to matter";
  for (int i = 0; i < 200; ++i) WriteFile(There("t" + std::to_string(i)), std::to_string(i));
  writer.join();
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "d" + std::to_string(i / 100) + "/" + std::to_string(i);
    ASSERT_TRUE(ReadFile(There(name)) == RandomBytes(static_cast<uint64_t>(i), 700)) << name;
  }
  ExpectSameEverywhere();
}

TEST_F(TwoHosts, OneThatIsKilledTakesNothingAlong) {
  Join();
  std::vector<std::string> synced;
  for (int i = 0; i < 20; ++i) {
    const std::string name = "synced" + std::to_string(i);
    const UniqueFd file = Open(There(name), O_WRONLY | O_CREAT);
    WriteAt(file.get(), RandomBytes(static_cast<uint64_t>(i), 2000), 0);
    ASSERT_EQ(fsync(file.get()), 0);
    synced.push_back(name);
    WriteFile(Here("mine" + std::to_string(i)), "m");
  }
  other().Kill();
  // It was there a moment ago: the gateway waits for it once, then no more.
  const auto begun = Now();
  WriteFile(Here("after"), "after");
  EXPECT_LT(Now() - begun, seconds(10));
  for (size_t i = 0; i < synced.size(); ++i) {
    EXPECT_TRUE(ReadFile(Here(synced[i])) == RandomBytes(i, 2000)) << synced[i];
  }
  EXPECT_TRUE(WaitUntil(seconds(kSessionSeconds + 30), [&] {
    WriteFile(Here("probe"), "x");
    return LeaseHere();
  })) << "the one that is left does not get the lease";
}

TEST_F(TwoHosts, OneThatIsKilledWithTheLeaseBlocksOthersForAWhile) {
  const UniqueFd file = Open(Here("synced"), O_WRONLY | O_CREAT);
  WriteAt(file.get(), "durable", 0);
  ASSERT_EQ(fsync(file.get()), 0);
  ASSERT_TRUE(LeaseHere());
  host().KillBroker();
  const auto begun = Now();
  Join();
  EXPECT_GT(Now() - begun, seconds(1)) << "the lease was not waited for";
  EXPECT_EQ(ReadFile(There("synced")), "durable");
  WriteFile(There("more"), "more");
  EXPECT_EQ(ReadFile(There("more")), "more");
}

TEST_F(TwoHosts, TheFirstCommitStands) {
  WriteFile(Here("file"), std::string(100'000, 'o'));
  Join();
  const UniqueFd mine = Open(Here("file"), O_RDWR);
  const UniqueFd theirs = Open(There("file"), O_RDWR);
  WriteAt(mine.get(), "mine", 0);
  WriteAt(theirs.get(), "theirs", 50'000);
  ASSERT_EQ(fsync(mine.get()), 0);
  EXPECT_EQ(ErrnoOf(fsync(theirs.get())), ESTALE);
  EXPECT_EQ(ReadSome(theirs.get(), 6, 50'000), "theirs") << "what was written is not kept";
  std::string expected(100'000, 'o');
  expected.replace(0, 4, "mine");
  EXPECT_TRUE(ReadFile(Here("file")) == expected);
}

}  // namespace
}  // namespace airstore::e2e
