// SPDX-License-Identifier: Apache-2.0
//
// Two hosts, each mostly in a directory of its own, and now and then in the other one's: what one
// has closed or moved the other one finds, whoever has a lease at that time, and nobody waits for
// ever.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

// A file that one host writes and moves, and both read.
class Item {
 public:
  explicit Item(bool in_directory) : in_directory_(in_directory) {}

  struct State {
    std::string path;
    std::string content;
    uint64_t version = 0;  // odd: it is being changed
  };
  State Now() {
    const std::lock_guard lock(mu_);
    return state_;
  }
  void Begin() {
    const std::lock_guard lock(mu_);
    ++state_.version;
  }
  void Finish(std::string path, std::string content) {
    const std::lock_guard lock(mu_);
    ++state_.version;
    state_.path = std::move(path);
    state_.content = std::move(content);
  }
  // What is moved of it: the file, or the directory that it is in.
  std::string Moved(const std::string& path) const {
    return in_directory_ ? path.substr(0, path.rfind('/')) : path;
  }
  std::string Leaf() const { return in_directory_ ? "/leaf" : ""; }
  bool in_directory() const { return in_directory_; }

 private:
  const bool in_directory_;
  std::mutex mu_;
  State state_;
};

class TwoHostsZonesRounds : public HostTest {
 protected:
  static constexpr size_t kItems = 8;

  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    mounts_[0] = host().Mount("work", "here");
    for (const char* name : {"zone0", "zone1"}) {
      ASSERT_EQ(mkdir((mounts_[0] + "/" + name).c_str(), 0755), 0);
    }
    other_ = std::make_unique<OtherBroker>(host());
    mounts_[1] = other_->Mount("work", "there");
    for (auto& of_side : items_) {
      for (size_t i = 0; i < kItems; ++i) of_side.push_back(std::make_unique<Item>(i % 4 == 3));
    }
  }

  std::string Name(int side, size_t item, int zone) const {
    return "zone" + std::to_string(zone) + "/item" + std::to_string(side) + "-" +
           std::to_string(item);
  }
  void Make(int side) {
    for (size_t i = 0; i < kItems; ++i) {
      Item& item = *items_[side][i];
      const std::string name = Name(side, i, side);
      item.Begin();
      if (item.in_directory()) mkdir((mounts_[side] + "/" + name).c_str(), 0755);
      WriteFile(mounts_[side] + "/" + name + item.Leaf(), "0");
      item.Finish(name + item.Leaf(), "0");
    }
  }
  void Rewrite(int side, Item& item) {
    const std::string path = item.Now().path, content = std::to_string(++counter_);
    item.Begin();
    WriteFile(mounts_[side] + "/" + path, content);
    item.Finish(path, content);
  }
  void Move(int side, size_t at, Item& item, int zone) {
    const Item::State now = item.Now();
    const std::string from = item.Moved(now.path), to = Name(side, at, zone);
    if (from == to) return;
    item.Begin();
    ASSERT_EQ(rename((mounts_[side] + "/" + from).c_str(), (mounts_[side] + "/" + to).c_str()), 0)
        << from << " to " << to << ": " << strerror(errno);
    item.Finish(to + item.Leaf(), now.content);
    ++moved_;
  }
  // By whoever; says nothing while it is being changed.
  void Look(int side, Item& item) {
    const Item::State before = item.Now();
    if (before.version % 2 != 0) return;
    std::string found;
    try {
      found = ReadFile(mounts_[side] + "/" + before.path);
    } catch (const std::exception& error) {
      found = error.what();
    }
    if (item.Now().version != before.version) return;
    ++looked_;
    ASSERT_EQ(found, before.content) << before.path << ", through mount " << side;
  }
  void Work(int side, uint64_t seed, std::chrono::steady_clock::time_point end) {
    try {
      TryToWork(side, seed, end);
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
  }
  void TryToWork(int side, uint64_t seed, std::chrono::steady_clock::time_point end) {
    std::mt19937_64 random(seed);
    const std::string own = mounts_[side] + "/zone" + std::to_string(side) + "/";
    uint64_t made = 0;
    while (Now() < end && !HasFailure()) {
      // Long enough for a lease.
      for (const auto until = Now() + std::chrono::milliseconds(random() % 1500); Now() < until;) {
        const std::string name = own + "made" + std::to_string(made++ % 50);
        WriteFile(name, name);
        if (random() % 3 == 0) unlink(name.c_str());
        Rewrite(side, *items_[side][random() % kItems]);
        if (HasFailure()) return;
      }
      for (uint64_t few = random() % 6; few > 0; --few) {
        const size_t at = random() % kItems;
        switch (random() % 4) {
          case 0:
            Move(side, at, *items_[side][at], static_cast<int>(random() % 2));
            break;
          case 1:
            Rewrite(side, *items_[side][at]);
            break;
          default:
            Look(side, *items_[1 - side][at]);
        }
      }
      for (const auto& item : items_[side]) Look(side, *item);
    }
  }
  void LookAtAll() {
    for (const int side : {0, 1}) {
      for (const auto& of_side : items_) {
        for (const auto& item : of_side) Look(side, *item);
      }
    }
  }
  void ExpectSameEverywhere() {
    const TreeEntries mine = Tree(mounts_[0]);
    EXPECT_EQ(Difference(mine, Tree(mounts_[1])), "");
    mounts_[1] = other_->RemountFresh("work", mounts_[1]);
    EXPECT_EQ(Difference(mine, Tree(mounts_[1])), "");
  }
  uint64_t LeasesHeld() {
    uint64_t held = 0;
    for (const char* file : {"broker.log", "other.log"}) {
      const std::string log = ReadFile(host().Path(file));
      for (size_t at = log.find("write lease of /"); at != std::string::npos;
           at = log.find("write lease of /", at + 1)) {
        held += log.compare(at + std::string("write lease of /zone0").size(), 5, " held") == 0;
      }
    }
    return held;
  }

  std::string mounts_[2];
  std::unique_ptr<OtherBroker> other_;
  std::vector<std::unique_ptr<Item>> items_[2];
  std::atomic<uint64_t> counter_{0}, looked_{0}, moved_{0};
};

TEST_F(TwoHostsZonesRounds, EachFindsWhatTheOtherHasDone) {
  const seconds lasting(EnvOr("AIRSTORE_ZONES_SECONDS", 15));
  const uint64_t seed = EnvOr("AIRSTORE_E2E_SEED", 1);
  for (const int side : {0, 1}) Make(side);
  const auto end = Now() + lasting;
  std::thread there([&] { Work(1, seed + 1, end); });
  Work(0, seed, end);
  there.join();
  LookAtAll();
  ExpectSameEverywhere();
  EXPECT_TRUE(host().AirctlJson({"recover"}).at("items").empty());
  std::cout << counter_ << " rewritten, " << moved_ << " moved, " << looked_ << " looked at, "
            << LeasesHeld() << " leases\n";
  EXPECT_GE(LeasesHeld(), 2u) << "nobody ever worked alone";
}

}  // namespace
}  // namespace airstore::e2e
