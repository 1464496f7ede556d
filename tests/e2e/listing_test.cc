// SPDX-License-Identifier: Apache-2.0
//
// Large directories that change while they are listed: what stays is listed exactly once, and an
// offset goes on meaning the same place. AIRSTORE_LISTING_ENTRIES in the environment says how
// large.
#include <dirent.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

class Listings : public TwoMounts {
 protected:
  static constexpr uint64_t kAmongOthers = 10;

  void SetUp() override {
    TwoMounts::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directory(At(0, "large"));
    const uint64_t count = EnvOr("AIRSTORE_LISTING_ENTRIES", 20'000);
    for (uint64_t i = 0; i < count; ++i) {
      staying_.insert(Make("staying-" + std::to_string(i)));
      if (i % kAmongOthers == 0) others_.push_back(Make("other-" + std::to_string(i)));
    }
  }
  std::string Make(const std::string& name) {
    EXPECT_EQ(ErrnoOf(mknod(In(0, name).c_str(), S_IFREG | 0600, 0)), 0) << name;
    return name;
  }
  std::string In(int mount, const std::string& name) const { return At(mount, "large/" + name); }
  Directory Opened(int mount) const { return {opendir(At(mount, "large").c_str()), closedir}; }
  // Removes, makes and renames others, on either mount.
  void Change(int count) {
    for (int i = 0; i < count; ++i) {
      const int mount = static_cast<int>(random_() % 2);
      std::string& other = others_[random_() % others_.size()];
      const std::string fresh = "fresh-" + std::to_string(++made_);
      if (random_() % 2 == 0) {
        EXPECT_EQ(ErrnoOf(rename(In(mount, other).c_str(), In(mount, fresh).c_str())), 0);
      } else {
        EXPECT_EQ(ErrnoOf(unlink(In(mount, other).c_str())), 0);
        EXPECT_EQ(ErrnoOf(mknod(In(1 - mount, fresh).c_str(), S_IFREG | 0600, 0)), 0);
      }
      other = fresh;
    }
  }
  const std::set<std::string>& staying() const { return staying_; }
  void ExpectEachOnce(const std::map<std::string, int>& found) const {
    size_t stayed = 0;
    for (const auto& [name, times] : found) {
      EXPECT_EQ(times, 1) << name;
      stayed += staying_.count(name);
    }
    EXPECT_EQ(stayed, staying_.size());
  }

 private:
  std::mt19937 random_{11};
  std::set<std::string> staying_;
  std::vector<std::string> others_;
  int made_ = 0;
};

TEST_F(Listings, WhatStaysIsListedOnceWhileOthersComeAndGo) {
  for (const int mount : {0, 1, 0}) {
    const Directory directory = Opened(mount);
    ASSERT_NE(directory, nullptr);
    std::map<std::string, int> found;
    int count = 0;
    while (const dirent* entry = readdir(directory.get())) {
      ++found[entry->d_name];
      if (++count % 400 == 0) Change(4);
    }
    ExpectEachOnce(found);
  }
}

TEST_F(Listings, AnOffsetKeepsItsPlace) {
  const Directory directory = Opened(0);
  ASSERT_NE(directory, nullptr);
  // Name: the offset behind it; and those that come behind.
  std::vector<std::pair<long, std::string>> places;
  while (const dirent* entry = readdir(directory.get())) {
    if (staying().contains(entry->d_name))
      places.emplace_back(telldir(directory.get()), entry->d_name);
  }
  ASSERT_EQ(places.size(), staying().size());
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    Change(20);
    const size_t at = random() % (places.size() - 1);
    seekdir(directory.get(), places[at].first);
    const dirent* entry = readdir(directory.get());
    while (entry != nullptr && !staying().contains(entry->d_name)) entry = readdir(directory.get());
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->d_name, places[at + 1].second) << "behind " << places[at].second;
  }
  rewinddir(directory.get());
  std::map<std::string, int> found;
  while (const dirent* entry = readdir(directory.get())) ++found[entry->d_name];
  ExpectEachOnce(found);
}

}  // namespace
}  // namespace airstore::e2e
