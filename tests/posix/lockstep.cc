// SPDX-License-Identifier: Apache-2.0
#include "tests/posix/lockstep.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <iostream>
#include <thread>

#include "tests/posix/snapshot.h"

namespace airstore::posix {
namespace {

// Two ticks of a kernel that ticks 100 times a second.
constexpr auto kTick = std::chrono::milliseconds(20);
// Users act in a mount that squashes root, who prepares and looks in another one.
const bool kSquashed = e2e::EnvOr("AIRSTORE_POSIX_SQUASHED", 0) != 0;
const size_t kMostReported = e2e::EnvOr("AIRSTORE_POSIX_REPORTED", 12);

// One of its own is much quicker than the machine's: ext4 passes over each inode that was freed in
// the last minutes, and tests free many.
void MountNewExt4(const std::string& directory) {
  const std::string image = directory + ".img";
  e2e::WriteFile(image, "");
  if (truncate(image.c_str(), off_t{1} << 30) != 0) return;
  const auto made = e2e::RunProgram(
      {"/usr/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-N", "65536", image});
  if (made.code == 0) (void)e2e::RunProgram({"mount", "-o", "loop", image, directory});
}

void Enter(const std::string& directory) {
  if (chdir(directory.c_str()) != 0) throw std::runtime_error("chdir " + directory);
}

}  // namespace

std::string NameOf(int error) { return error == 0 ? "success" : strerrorname_np(error); }

void Lockstep::SetUp() {
  e2e::MountTest::SetUp();
  if (IsSkipped()) return;
  local_ = host().Path("local");
  ASSERT_EQ(mkdir(local_.c_str(), 0755), 0);
  MountNewExt4(local_);
  struct statfs info {};
  ASSERT_EQ(statfs(local_.c_str(), &info), 0);
  if (info.f_type != EXT4_SUPER_MAGIC)
    GTEST_SKIP() << "what is right is asked of ext4: no " << local_;
  umask(022);
  ActIn(kSquashed ? host().Mount("work", "squashed", {"--root-squash"}) : mount(), local_);
}

void Lockstep::ActIn(const std::string& view_of_mount, const std::string& local_view) {
  view_ = view_of_mount;
  local_view_ = local_view;
}

std::vector<Lockstep::Observed> Lockstep::RunOn(const std::string& root,
                                                const std::string& view) const {
  std::vector<Observed> observed(cases_.size());
  std::vector<Snapshot> before;
  const auto directory = [&](size_t i) { return root + "/" + std::to_string(i); };
  for (size_t i = 0; i < cases_.size(); ++i) {
    if (mkdir(directory(i).c_str(), 0777) != 0) throw std::runtime_error("mkdir " + directory(i));
    Enter(directory(i));
    (void)chmod(".", 0777);
    cases_[i].prepare();
    before.push_back(Snapshot::Take(false));
  }
  std::this_thread::sleep_for(kTick);
  for (size_t i = 0; i < cases_.size(); ++i) {
    Enter(view + "/" + std::to_string(i));
    {
      const ActingAs caller(cases_[i].caller);
      observed[i].outcome = cases_[i].act();
    }
    if (cases_[i].clean_up) cases_[i].clean_up();
    umask(022);
  }
  for (size_t i = 0; i < cases_.size(); ++i) {
    Enter(directory(i));
    observed[i].files = Snapshot::Take(true).Against(before[i], cases_[i].atimes);
  }
  Enter("/");
  return observed;
}

std::string Lockstep::Compare(const Observed& expected, const Observed& found, bool files) {
  std::string text;
  if (expected.outcome.error != found.outcome.error) {
    text += "  expected " + NameOf(expected.outcome.error) + ", found " +
            NameOf(found.outcome.error) + "\n";
  }
  if (expected.outcome.more != found.outcome.more) {
    text += "  expected " + expected.outcome.more + "\n  found    " + found.outcome.more + "\n";
  }
  return files ? text + e2e::Difference(expected.files, found.files) : text;
}

void Lockstep::Run(const std::set<int>& errors) {
  if (kSquashed) {
    std::erase_if(cases_, [](const Case& one) { return one.caller.uid == 0; });
    if (cases_.empty()) GTEST_SKIP() << "cases of root only";
  }
  const std::vector<Observed> expected = RunOn(local_, local_view_);
  const std::vector<Observed> found = RunOn(mount(), view_);
  std::map<int, size_t> reached;
  size_t failed = 0;
  for (size_t i = 0; i < cases_.size(); ++i) {
    ++reached[expected[i].outcome.error];
    std::string difference = Compare(expected[i], found[i], cases_[i].files_differ.empty());
    if (const auto& error = cases_[i].expected; error && *error != expected[i].outcome.error) {
      difference += "  the table says " + NameOf(*error) + ", the local file system " +
                    NameOf(expected[i].outcome.error) + "\n";
    }
    if (difference.empty() || ++failed > kMostReported) continue;
    ADD_FAILURE() << cases_[i].name << " as " << cases_[i].caller.name << "\n" << difference;
  }
  EXPECT_EQ(failed, 0u) << "of " << cases_.size() << " cases";
  std::cout << cases_.size() << " cases, expected and found:";
  for (const auto& [error, count] : reached) std::cout << " " << NameOf(error) << " " << count;
  std::cout << std::endl;
  for (const int error : errors) {
    EXPECT_TRUE(kSquashed || reached.contains(error)) << NameOf(error) << " was never expected";
  }
  cases_.clear();
}

}  // namespace airstore::posix
