// SPDX-License-Identifier: Apache-2.0
//
// Two hosts that work in different directories of one workspace: each has the lease of its own, and
// waits for nobody; who goes to the other one's finds all that was acknowledged there.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class TwoHostsZones : public HostTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.gateway_arguments = {"--session-seconds", "5"};
    return options;
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    mounts_[0] = host().Mount("work", "here");
    // Made by one, so that it knows both.
    for (const char* name : {"a", "b"}) ASSERT_EQ(mkdir(Here(name).c_str(), 0755), 0);
    ASSERT_EQ(mkdir(Here("a/sub").c_str(), 0755), 0);
    WriteFile(Here("a/before"), "before");
    other_ = std::make_unique<OtherBroker>(host());
    mounts_[1] = other_->Mount("work", "there");
  }
  std::string On(int side, const std::string& name) const { return mounts_[side] + "/" + name; }
  std::string Here(const std::string& name) const { return On(0, name); }
  std::string There(const std::string& name) const { return On(1, name); }
  OtherBroker& other() { return *other_; }

  bool Holds(int side, const std::string& directory) {
    const Arguments words = {"--json", "status"};
    const Finished status = side == 0 ? host().Airctl(words) : other().Airctl(words);
    const auto held =
        nlohmann::json::parse(status.out).at("sessions").at(0).at("leased_directories");
    return std::find(held.begin(), held.end(), "/" + directory) != held.end();
  }
  // Works there until it has the lease, once what others have cached is forgotten.
  void WorkUntilHeld(int side, const std::string& directory) {
    int round = 0;
    ASSERT_TRUE(WaitUntil(seconds(60), [&] {
      WriteFile(On(side, directory + "/work"), std::to_string(++round));
      return Holds(side, directory);
    })) << directory;
  }
  void BothHaveTheirOwn() {
    WorkUntilHeld(0, "a");
    WorkUntilHeld(1, "b");
    ASSERT_TRUE(Holds(0, "a")) << "nobody has touched it";
  }
  static void WorkIn(const std::string& directory) {
    ASSERT_EQ(mkdir((directory + "/made").c_str(), 0755), 0);
    for (int i = 0; i < 50; ++i) {
      const std::string name = directory + "/made/" + std::to_string(i);
      WriteFile(name, name);
      ASSERT_EQ(chmod(name.c_str(), 0600), 0);
      if (i % 3 == 0) {
        ASSERT_EQ(rename(name.c_str(), (name + ".moved").c_str()), 0);
      } else if (i % 5 == 1) {
        ASSERT_EQ(unlink(name.c_str()), 0);
      }
    }
  }
  const std::string& RemountThere() {
    return mounts_[1] = other().RemountFresh("work", mounts_[1]);
  }
  void ExpectSameEverywhere() {
    const TreeEntries mine = Tree(mounts_[0]);
    EXPECT_EQ(Difference(mine, Tree(mounts_[1])), "");
    EXPECT_EQ(Difference(mine, Tree(RemountThere())), "");
  }
  nlohmann::json Lost() { return host().AirctlJson({"recover"}).at("items"); }

 private:
  std::string mounts_[2];
  std::unique_ptr<OtherBroker> other_;
};

TEST_F(TwoHostsZones, EachWorksInItsOwnWithoutTheGateway) {
  BothHaveTheirOwn();
  // Who knows all names of a directory need not ask for one.
  (void)Tree(Here("a"));
  (void)Tree(There("b"));
  host().FreezeGateway();
  const auto begin = Now();
  std::thread there([&] { WorkIn(There("b")); });
  WorkIn(Here("a"));
  there.join();
  EXPECT_LT(Now() - begin, seconds(4)) << "it was waited for the gateway";
  host().ThawGateway();
  // All that was acknowledged is there for who comes, and from then on what is closed is.
  EXPECT_EQ(Difference(Tree(Here("a")), Tree(There("a"))), "");
  EXPECT_EQ(Difference(Tree(There("b")), Tree(Here("b"))), "");
  for (int i = 0; i < 20; ++i) {
    WriteFile(On(i % 2, "a/turns"), std::to_string(i));
    ASSERT_EQ(ReadFile(On(1 - i % 2, "a/turns")), std::to_string(i));
  }
  ExpectSameEverywhere();
}

TEST_F(TwoHostsZones, WhatIsBeingListedElsewhereIsNotLeased) {
  constexpr int kNames = 3000;  // more than a kernel asks for at once
  for (int i = 0; i < kNames; ++i) {
    ASSERT_TRUE(Open(Here("a/name" + std::to_string(i)), O_CREAT | O_WRONLY));
  }
  DIR* listing = opendir(There("a").c_str());
  ASSERT_NE(listing, nullptr);
  std::multiset<std::string> seen;
  for (int i = 0; i < 10; ++i) seen.insert(readdir(listing)->d_name);
  for (int i = 0; i < 5; ++i) {
    WriteFile(Here("a/before"), std::to_string(i));
    std::this_thread::sleep_for(milliseconds(100));
    EXPECT_FALSE(Holds(0, "a"));
  }
  while (const dirent* entry = readdir(listing)) seen.insert(entry->d_name);
  closedir(listing);
  for (int i = 0; i < kNames; ++i) ASSERT_EQ(seen.count("name" + std::to_string(i)), 1u) << i;
  WorkUntilHeld(0, "a");
}

TEST_F(TwoHostsZones, WhatIsOpenElsewhereIsNotLeased) {
  const UniqueFd file = Open(There("a/before"), O_RDONLY);
  for (int i = 0; i < 10; ++i) {
    WriteFile(Here("a/before"), std::to_string(i));
    ASSERT_TRUE(
        WaitUntil(seconds(10), [&] { return ReadFile(There("a/before")) == std::to_string(i); }));
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_FALSE(Holds(0, "a"));
}

TEST_F(TwoHostsZones, WhatGoesFromOneToTheOtherIsSeenByBoth) {
  BothHaveTheirOwn();
  WriteFile(Here("a/file"), "file");
  WriteFile(Here("a/linked"), "linked");
  for (const char* name : {"a/tree", "a/tree/below"}) ASSERT_EQ(mkdir(Here(name).c_str(), 0755), 0);
  WriteFile(Here("a/tree/below/leaf"), "leaf");
  UniqueFd leaf = Open(There("a/tree/below/leaf"), O_RDONLY);
  ASSERT_EQ(rename(Here("a/file").c_str(), Here("b/file").c_str()), 0);
  ASSERT_EQ(link(Here("a/linked").c_str(), Here("b/linked").c_str()), 0);
  ASSERT_EQ(rename(Here("a/tree").c_str(), Here("b/tree").c_str()), 0);
  EXPECT_EQ(ReadFile(There("b/file")), "file");
  EXPECT_EQ(ReadFile(There("b/linked")), "linked");
  EXPECT_EQ(ReadFile(There("b/tree/below/leaf")), "leaf");
  EXPECT_FALSE(Exists(There("a/tree")));
  for (int i = 0; i < 10; ++i) {
    const std::string now = std::to_string(i);
    WriteFile(On(i % 2, i % 3 == 0 ? "a/linked" : "b/linked"), now);
    ASSERT_EQ(ReadFile(On(1 - i % 2, i % 3 == 0 ? "b/linked" : "a/linked")), now);
    WriteFile(On(i % 2, "b/tree/below/leaf"), now);
    ASSERT_EQ(ReadFile(On(1 - i % 2, "b/tree/below/leaf")), now);
  }
  leaf.reset();
  // Into the root, where it is a zone of its own.
  ASSERT_EQ(rename(There("b/tree").c_str(), There("tree").c_str()), 0);
  WorkUntilHeld(0, "tree");
  EXPECT_EQ(ReadFile(There("tree/work")), ReadFile(Here("tree/work")));
  ExpectSameEverywhere();
}

TEST_F(TwoHostsZones, WhoWasStoppedForTooLongCommitsNothing) {
  BothHaveTheirOwn();
  const std::string theirs = RandomBytes(1, 100'000), ours = RandomBytes(2, 100'000);
  WriteFile(Here("a/file"), RandomBytes(3, 100'000));
  ASSERT_TRUE(WaitUntil(seconds(20), [&] {
    return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
  }));
  host().FreezeGateway();
  for (const char* name : {"a/file", "a/new"}) {
    const UniqueFd file = Open(Here(name), O_RDWR | O_CREAT);
    WriteAt(file.get(), ours, 0);
  }
  ASSERT_GT(host().SessionStatus("work").at("pending_mutations").get<uint64_t>() +
                host().SessionStatus("work").at("dirty_bytes").get<uint64_t>(),
            0u)
      << "it was acknowledged here";
  host().broker().Signal(SIGSTOP);
  host().ThawGateway();
  // Waits until the lease has expired.
  {
    const UniqueFd file = Open(There("a/file"), O_RDWR);
    WriteAt(file.get(), theirs, 0);
  }
  WriteFile(There("a/new"), theirs);
  host().broker().Signal(SIGCONT);
  ASSERT_TRUE(WaitUntil(seconds(60), [&] { return Lost().size() >= 2; })) << Lost();
  const std::string fresh = RemountThere();
  EXPECT_TRUE(ReadFile(fresh + "/a/file") == theirs);
  EXPECT_TRUE(ReadFile(fresh + "/a/new") == theirs);
  size_t kept = 0;
  for (const nlohmann::json& item : Lost()) {
    const std::string location = item.at("location").get<std::string>();
    if (std::filesystem::is_regular_file(location) && ReadFile(location) == ours) ++kept;
  }
  EXPECT_EQ(kept, 2u) << Lost();
  EXPECT_TRUE(WaitUntil(seconds(20), [&] { return ReadFile(Here("a/file")) == theirs; }));
}

}  // namespace
}  // namespace airstore::e2e
