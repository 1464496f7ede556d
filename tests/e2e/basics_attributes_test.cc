// SPDX-License-Identifier: Apache-2.0
//
// Modes, owners, times and the rest that is not content, in one mount.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>

#include "tests/e2e/basics.h"

namespace airstore::e2e {
namespace {

TEST_F(Basics, KeepsModes) {
  for (const mode_t mode : {0u, 0400u, 0644u, 0755u, 0777u, 04755u, 02755u, 01777u}) {
    const std::string path = At("f" + std::to_string(mode));
    WriteFile(path, "x");
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    EXPECT_EQ(Stat(path).st_mode, S_IFREG | mode);
  }
  const mode_t old = umask(027);
  Open(At("masked"), O_WRONLY | O_CREAT, 0666);
  umask(old);
  EXPECT_EQ(Stat(At("masked")).st_mode, static_cast<mode_t>(S_IFREG | 0640));
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
}

TEST_F(Basics, KeepsOwners) {
  WriteFile(At("f"), "x");
  mkdir(At("d").c_str(), 0755);
  symlink("f", At("l").c_str());
  ASSERT_EQ(chown(At("f").c_str(), 1234, 5678), 0);
  ASSERT_EQ(chown(At("d").c_str(), 4'000'000'000u, static_cast<gid_t>(-1)), 0);
  ASSERT_EQ(lchown(At("l").c_str(), 7, 8), 0);
  const auto check = [&] {
    EXPECT_EQ(Stat(At("f")).st_uid, 1234u);
    EXPECT_EQ(Stat(At("f")).st_gid, 5678u);
    EXPECT_EQ(Stat(At("d")).st_uid, 4'000'000'000u);
    EXPECT_EQ(Stat(At("d")).st_gid, 0u);
    EXPECT_EQ(Stat(At("l")).st_uid, 7u);
  };
  check();
  RemountFresh();
  check();
}

TEST_F(Basics, ReadingChangesNoTimeAndTheMountSaysSo) {
  const timespec times[2] = {{1'000'000'000, 1}, {1'700'000'000, 2}};
  for (const char* name : {"small", "large"}) {
    WriteFile(At(name), std::string(name[0] == 's' ? 100 : 1 << 20, 'x'));
    ASSERT_EQ(utimensat(AT_FDCWD, At(name).c_str(), times, 0), 0);
  }
  for (int round = 0; round < 2; ++round) {
    for (const char* name : {"small", "large"}) {
      ReadFile(At(name));
      const struct stat found = Stat(At(name));
      EXPECT_EQ(found.st_atim.tv_sec, times[0].tv_sec) << name;
      EXPECT_EQ(found.st_mtim.tv_sec, times[1].tv_sec) << name;
    }
    RemountFresh();
  }
  struct statvfs system {};
  ASSERT_EQ(statvfs(mount().c_str(), &system), 0);
  EXPECT_NE(system.f_flag & ST_NOATIME, 0u);
}

TEST_F(Basics, KeepsTimesToTheNanosecond) {
  const timespec times[2] = {{1'000'000'000, 123'456'789}, {1'700'000'000, 999'999'999}};
  WriteFile(At("f"), "x");
  mkdir(At("d").c_str(), 0755);
  symlink("f", At("l").c_str());
  for (const char* name : {"f", "d", "l"}) {
    ASSERT_EQ(utimensat(AT_FDCWD, At(name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }
  const auto check = [&] {
    for (const char* name : {"f", "d", "l"}) {
      const struct stat info = Stat(At(name));
      EXPECT_EQ(info.st_mtim.tv_sec, times[1].tv_sec) << name;
      EXPECT_EQ(info.st_mtim.tv_nsec, times[1].tv_nsec) << name;
      EXPECT_EQ(info.st_atim.tv_sec, times[0].tv_sec) << name;
      EXPECT_EQ(info.st_atim.tv_nsec, times[0].tv_nsec) << name;
    }
  };
  check();
  RemountFresh();
  check();
}

TEST_F(Basics, KeepsTimesSetWhileTheFileIsOpenForWriting) {
  // As tar and cp -p do.
  const timespec times[2] = {{1'000'000'000, 1}, {1'000'000'001, 2}};
  for (const size_t size : {100u, 500'000u}) {
    const std::string path = At("f" + std::to_string(size));
    {
      const UniqueFd file = Open(path, O_WRONLY | O_CREAT);
      WriteAt(file.get(), RandomBytes(3, size), 0);
      ASSERT_EQ(futimens(file.get(), times), 0);
    }
    EXPECT_EQ(Stat(path).st_mtim.tv_sec, 1'000'000'001) << size;
    EXPECT_EQ(Stat(path).st_mtim.tv_nsec, 2) << size;
  }
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
}

TEST_F(Basics, KeepsTimesWhenOpenedForWritingWithoutAWrite) {
  for (const size_t size : {0u, 100u, 500'000u}) {
    WriteFile(At("f" + std::to_string(size)), RandomBytes(3, size));
  }
  const TreeEntries before = Tree(mount());
  RemountFresh();
  for (const auto& name : NamesIn(mount())) Open(At(name), O_RDWR);
  EXPECT_EQ(Difference(before, Tree(mount())), "");
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
}

TEST_F(Basics, NewFilesAreNew) {
  for (int i = 0; i < 100; ++i) {
    const std::string path = At(std::to_string(i));
    timespec now{};
    // As file systems see it: of the last tick.
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    Open(path, O_WRONLY | O_CREAT);
    const timespec made = Stat(path).st_mtim;
    ASSERT_GE(made.tv_sec * 1'000'000'000 + made.tv_nsec, now.tv_sec * 1'000'000'000 + now.tv_nsec);
  }
}

TEST_F(Basics, KeepsTheTimeOfTheSameBytesWrittenAgain) {
  for (const size_t size : {100u, 500'000u}) {
    const std::string path = At("f" + std::to_string(size));
    const std::string content = RandomBytes(3, size);
    WriteFile(path, content);
    const timespec past[2] = {{1000, 0}, {1000, 0}};
    utimensat(AT_FDCWD, path.c_str(), past, 0);
    { WriteAt(Open(path, O_WRONLY).get(), content, 0); }
    EXPECT_GT(Stat(path).st_mtim.tv_sec, 1000) << size;
  }
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
}

TEST_F(Basics, MovesTimesForward) {
  mkdir(At("d").c_str(), 0755);
  WriteFile(At("d/f"), "x");
  const timespec past[2] = {{1000, 0}, {1000, 0}};
  utimensat(AT_FDCWD, At("d").c_str(), past, 0);
  utimensat(AT_FDCWD, At("d/f").c_str(), past, 0);
  {
    const UniqueFd file = Open(At("d/f"), O_WRONLY);
    WriteAt(file.get(), "y", 0);
  }
  EXPECT_GT(Stat(At("d/f")).st_mtim.tv_sec, 1000);
  EXPECT_EQ(Stat(At("d")).st_mtim.tv_sec, 1000);
  WriteFile(At("d/g"), "");
  EXPECT_GT(Stat(At("d")).st_mtim.tv_sec, 1000);
  EXPECT_GT(Stat(At("d/f")).st_ctim.tv_sec, 1000);
}

// Whoever stamps them, the kernel (what it writes itself) or we.
TEST_F(Basics, TimesOfLaterChangesAreLater) {
  const UniqueFd target = Open(At("target"), O_WRONLY | O_CREAT);
  const auto time_of = [&](const std::string& name) {
    const timespec at = Stat(At(name)).st_mtim;
    return at.tv_sec * 1'000'000'000 + at.tv_nsec;
  };
  int64_t last = 0;
  int backwards = 0;
  const auto expect_later = [&](const std::string& name) {
    const int64_t now = time_of(name);
    if (now < last) ++backwards;
    last = now;
  };
  for (int i = 0; i < 100; ++i) {
    WriteFile(At("made"), "");
    expect_later("made");
    WriteAt(target.get(), "x", 0);
    expect_later("target");
    ASSERT_EQ(utimensat(AT_FDCWD, At("made").c_str(), nullptr, 0), 0);
    expect_later("made");
    WriteAt(target.get(), "y", 0);
    expect_later("target");
    Open(At("made"), O_WRONLY | O_TRUNC);
    expect_later("made");
    WriteAt(target.get(), "z", 0);
    expect_later("target");
    unlink(At("made").c_str());
  }
  EXPECT_EQ(backwards, 0);
}

// 64 bits of nanoseconds end in 2262: what lies behind is the last of them.
TEST_F(Basics, TimesBeyondTheLastAreTheLast) {
  WriteFile(At("f"), "x");
  constexpr int64_t kLast = INT64_MAX / 1'000'000'000;
  for (const int64_t second : {int64_t{4'102'444'800}, kLast, kLast + 1, int64_t{1} << 40}) {
    const timespec times[2] = {{second, 5}, {second, 5}};
    ASSERT_EQ(utimensat(AT_FDCWD, At("f").c_str(), times, 0), 0) << second;
    EXPECT_EQ(Stat(At("f")).st_mtim.tv_sec, std::min(second, kLast));
    EXPECT_EQ(Stat(At("f")).st_atim.tv_sec, std::min(second, kLast));
  }
  RemountFresh();
  EXPECT_EQ(Stat(At("f")).st_mtim.tv_sec, kLast);
}

TEST_F(Basics, TellsTheMount) {
  // Of struct statx since Linux 5.8, which Debian 12's C library does not name.
  constexpr size_t kMountIdAt = 0x90;
  const auto mount_id = [](const std::string& path) {
    struct statx info {};
    EXPECT_EQ(statx(AT_FDCWD, path.c_str(), 0, STATX_MNT_ID, &info), 0);
    EXPECT_NE(info.stx_mask & STATX_MNT_ID, 0u);
    uint64_t id = 0;
    memcpy(&id, reinterpret_cast<const char*>(&info) + kMountIdAt, sizeof(id));
    return std::to_string(id);
  };
  // "36 35 98:0 /root /mount/point ..."
  std::istringstream mounts(ReadFile("/proc/self/mountinfo"));
  std::string expected;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, point;
    words >> id >> parent >> device >> root >> point;
    if (point == mount()) expected = id;
  }
  WriteFile(At("f"), "x");
  EXPECT_EQ(mount_id(mount()), expected);
  EXPECT_EQ(mount_id(At("f")), expected);
}

TEST_F(Basics, AnswersStatfs) {
  struct statvfs info {};
  ASSERT_EQ(statvfs(mount().c_str(), &info), 0);
  EXPECT_GT(info.f_bsize, 0u);
  EXPECT_GT(info.f_blocks, 0u);
  EXPECT_GT(info.f_bavail, 0u);
  EXPECT_EQ(info.f_namemax, 255u);
}

TEST_F(Basics, RefusesChangesOnReadOnlyMounts) {
  WriteFile(At("f"), "x");
  const std::string other = host().Mount("work", "ro", {"--read-only"});
  EXPECT_EQ(ReadFile(other + "/f"), "x");
  EXPECT_EQ(ErrnoOf(open((other + "/f").c_str(), O_WRONLY)), EROFS);
  EXPECT_EQ(ErrnoOf(open((other + "/g").c_str(), O_WRONLY | O_CREAT, 0644)), EROFS);
  EXPECT_EQ(ErrnoOf(unlink((other + "/f").c_str())), EROFS);
  EXPECT_EQ(ErrnoOf(mkdir((other + "/d").c_str(), 0755)), EROFS);
  EXPECT_EQ(ErrnoOf(chmod((other + "/f").c_str(), 0600)), EROFS);
  EXPECT_EQ(ErrnoOf(truncate((other + "/f").c_str(), 0)), EROFS);
  WriteFile(At("f"), "changed");
  EXPECT_EQ(ReadFile(other + "/f"), "changed");
}

TEST_F(Basics, RefusesChangesWithReadOnlyTokens) {
  WriteFile(At("f"), "x");
  host().Unmount(mount());
  host().CreateToken("work", host().Path("reader.token"), {"--read-only"});
  const std::string other = host().MountWith(host().Path("reader.token"), "ro", {});
  EXPECT_EQ(ReadFile(other + "/f"), "x");
  EXPECT_EQ(ErrnoOf(open((other + "/f").c_str(), O_WRONLY)), EROFS);
  EXPECT_EQ(ErrnoOf(mkdir((other + "/d").c_str(), 0755)), EROFS);
}

TEST_F(Basics, ShowsTheOwnerThatTheMountWasGiven) {
  WriteFile(At("f"), "x");
  const std::string other = host().Mount("work", "shown", {"--uid", "123", "--gid", "456"});
  EXPECT_EQ(Stat(other + "/f").st_uid, 123u);
  EXPECT_EQ(Stat(other + "/f").st_gid, 456u);
  EXPECT_EQ(Stat(other).st_uid, 123u);
  EXPECT_EQ(Stat(At("f")).st_uid, 0u);
}

TEST_F(Basics, ChecksPermissions) {
  WriteFile(At("secret"), "x");
  chmod(At("secret").c_str(), 0600);
  WriteFile(At("public"), "x");
  const Finished secret = RunProgram({"cat", At("secret")}, {.uid = 65534});
  EXPECT_NE(secret.code, 0);
  EXPECT_NE(secret.err.find("Permission denied"), std::string::npos) << secret.All();
}

}  // namespace
}  // namespace airstore::e2e
