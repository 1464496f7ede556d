// SPDX-License-Identifier: Apache-2.0
//
// Mounts that keep times of access: what reading does to them, and what it does not.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

// The workspace twice, with times of access in the first mount only.
class AccessTime : public HostTest, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    mount_ = host().Mount("work", "mnt", MountOptions());
    other_ = host().Mount("work", "other");
  }
  static Arguments MountOptions() { return {"--atime", "relatime", "--passthrough", GetParam()}; }

  std::string At(const std::string& name) const { return mount_ + "/" + name; }
  std::string Other(const std::string& name) const { return other_ + "/" + name; }
  static int64_t TimeOf(const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }
  static int64_t Accessed(const std::string& path) { return TimeOf(Stat(path).st_atim); }
  static int64_t Changed(const std::string& path) { return TimeOf(Stat(path).st_ctim); }
  static void SetTimes(const std::string& path, time_t accessed, time_t modified) {
    const timespec times[2] = {{accessed, 0}, {modified, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  // File systems know time by ticks.
  static void WaitForTick() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }
  static int64_t Now() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return TimeOf(now);
  }

  std::string mount_;
  std::string other_;
};

// Small files come from memory, large ones from content files, or from the kernel.
const std::map<std::string, size_t> kSizes{{"small", 100}, {"large", 300'000}};

TEST_P(AccessTime, MovesOnceAfterAChange) {
  for (const auto& [name, size] : kSizes) {
    SCOPED_TRACE(name);
    const std::string path = At(name);
    WriteFile(path, RandomBytes(1, size));
    for (int round = 0; round < 3; ++round) {
      const int64_t before = Accessed(path);
      const int64_t changed = Changed(path);
      WaitForTick();
      const int64_t now = Now();
      ASSERT_EQ(ReadFile(path).size(), size);
      const int64_t read = Accessed(path);
      EXPECT_GT(read, before);
      EXPECT_GE(read, now - 20'000'000);
      EXPECT_GT(read, changed);
      EXPECT_EQ(Changed(path), changed) << "reading is no change";
      EXPECT_EQ(Accessed(Other(name)), read) << "as another mount shows it";
      ASSERT_EQ(ReadFile(path).size(), size);
      EXPECT_EQ(Accessed(path), read) << "a second read";
      ASSERT_EQ(ReadFile(Other(name)).size(), size);
      EXPECT_EQ(Accessed(path), read);
      ASSERT_EQ(chmod(path.c_str(), round % 2 == 0 ? 0600 : 0644), 0);
    }
  }
}

TEST_P(AccessTime, OutlivesTheCaches) {
  std::map<std::string, int64_t> read;
  for (const auto& [name, size] : kSizes) {
    WriteFile(At(name), RandomBytes(1, size));
    WaitForTick();
    ReadFile(At(name));
    read[name] = Accessed(At(name));
    EXPECT_GT(read[name], Changed(At(name)));
  }
  host().Unmount(other_);
  mount_ = host().RemountFresh("work", mount_, MountOptions());
  for (const auto& [name, size] : kSizes) {
    EXPECT_EQ(Accessed(At(name)), read[name]) << name;
    // Not due: what comes from the gateway is read without a word to it.
    ReadFile(At(name));
    EXPECT_EQ(Accessed(At(name)), read[name]) << name;
    SetTimes(At(name), 1000, 2000);
  }
  mount_ = host().RemountFresh("work", mount_, MountOptions());
  for (const auto& [name, size] : kSizes) {
    EXPECT_EQ(Stat(At(name)).st_atim.tv_sec, 1000) << name;
    WaitForTick();
    ReadFile(At(name));
    EXPECT_GT(Accessed(At(name)), Changed(At(name))) << name;
  }
}

TEST_P(AccessTime, MovesOnceADay) {
  const time_t now = time(nullptr);
  for (const auto& [name, size] : kSizes) {
    SCOPED_TRACE(name);
    const std::string path = At(name);
    WriteFile(path, RandomBytes(1, size));
    SetTimes(path, now - 2 * 24 * 3600, now - 3 * 24 * 3600);
    ReadFile(path);
    EXPECT_GE(Stat(path).st_atim.tv_sec, now - 1);
    EXPECT_EQ(Stat(path).st_mtim.tv_sec, now - 3 * 24 * 3600);
  }
}

TEST_P(AccessTime, IsLeftAloneWhereItIsAskedFor) {
  for (const auto& [name, size] : kSizes) {
    SCOPED_TRACE(name);
    WriteFile(At(name), RandomBytes(1, size));
    const int64_t before = Accessed(At(name));
    {
      const UniqueFd file(open(At(name).c_str(), O_RDONLY | O_NOATIME | O_CLOEXEC));
      ASSERT_TRUE(file);
      ReadSome(file.get(), size, 0);
    }
    EXPECT_EQ(Accessed(At(name)), before) << "O_NOATIME";
    ReadFile(Other(name));
    EXPECT_EQ(Accessed(At(name)), before) << "read in a mount without times of access";
    EXPECT_EQ(Accessed(Other(name)), before);
    { const UniqueFd file(open(At(name).c_str(), O_RDONLY | O_CLOEXEC)); }
    EXPECT_EQ(Accessed(At(name)), before) << "an open is no read";
  }
}

TEST_P(AccessTime, OfDirectories) {
  ASSERT_EQ(mkdir(At("dir").c_str(), 0755), 0);
  for (int round = 0; round < 3; ++round) {
    WriteFile(At("dir/f" + std::to_string(round)), "x");
    const int64_t before = Accessed(At("dir"));
    EXPECT_EQ(NamesIn(At("dir")).size(), round + 1u);
    const int64_t listed = Accessed(At("dir"));
    EXPECT_GT(listed, before);
    NamesIn(At("dir"));
    EXPECT_EQ(Accessed(At("dir")), listed);
  }
}

TEST_P(AccessTime, IsShown) {
  std::ifstream mounts("/proc/self/mounts");
  int shown = 0;
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" " + mount_ + " ") != std::string::npos) {
      EXPECT_NE(line.find(",relatime"), std::string::npos) << line;
      ++shown;
    }
    if (line.find(" " + other_ + " ") != std::string::npos) {
      EXPECT_NE(line.find(",noatime"), std::string::npos) << line;
      ++shown;
    }
  }
  EXPECT_EQ(shown, 2);
  EXPECT_EQ(host().MountStatus(mount_).at("atime"), "relatime");
  EXPECT_EQ(host().MountStatus(other_).at("atime"), "noatime");
  // It outlives the processes.
  host().KillBroker();
  host().StartBroker();
  WriteFile(At("file"), "content");
  WaitForTick();
  ReadFile(At("file"));
  EXPECT_GT(Accessed(At("file")), Changed(At("file")));
}

INSTANTIATE_TEST_SUITE_P(With, AccessTime, testing::Values("auto", "off"));

}  // namespace
}  // namespace airstore::e2e
