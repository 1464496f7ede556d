// SPDX-License-Identifier: Apache-2.0
//
// Holes, allocation, files without a name, and files that are larger than what is in them.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <thread>

#include "tests/e2e/basics.h"

namespace airstore::e2e {
namespace {

constexpr uint64_t kMiB = 1u << 20;
constexpr uint64_t kGiB = 1u << 30;

class BasicsSparse : public Basics {
 protected:
  // Runs of data as "offset+length ...", by SEEK_DATA and SEEK_HOLE.
  static std::string Runs(int fd) {
    std::string runs;
    for (off_t at = 0;;) {
      const off_t data = lseek(fd, at, SEEK_DATA);
      if (data < 0) return errno == ENXIO ? runs : "error " + std::to_string(errno);
      at = lseek(fd, data, SEEK_HOLE);
      if (at < 0) return "error " + std::to_string(errno);
      runs += std::to_string(data) + "+" + std::to_string(at - data) + " ";
    }
  }
  std::string RunsOf(const std::string& name) { return Runs(Open(At(name), O_RDONLY).get()); }
  uint64_t BytesOnDisk(const std::string& name) {
    return static_cast<uint64_t>(Stat(At(name)).st_blocks) * 512;
  }
  uint64_t Fetched() { return host().SessionStatus("work").at("fetched_bytes").get<uint64_t>(); }
};

TEST_F(BasicsSparse, KeepsHolesThroughTheGateway) {
  {
    const UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
    ASSERT_EQ(ftruncate(file.get(), 8 * kMiB), 0);
    WriteAt(file.get(), RandomBytes(1, 4096), kMiB);
    WriteAt(file.get(), RandomBytes(2, 8192), 3 * kMiB + 4096);
    WriteAt(file.get(), RandomBytes(3, 100), 8 * kMiB - 100);
  }
  const std::string runs = "1048576+4096 3149824+8192 8384512+4096 ";
  EXPECT_EQ(RunsOf("f"), runs);
  EXPECT_EQ(BytesOnDisk("f"), 16'384u);
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(RunsOf("f"), runs) << "as the gateway has it";
  EXPECT_EQ(BytesOnDisk("f"), 16'384u);
  EXPECT_EQ(Difference(before, Tree(mount())), "");
  EXPECT_EQ(RunsOf("f"), runs) << "as it was fetched";
  RunOk({"cp", "--sparse=auto", At("f"), At("copy")});
  EXPECT_EQ(RunsOf("copy"), runs);
}

// More places than one write to the gateway is made of.
TEST_F(BasicsSparse, WhatIsSentInPartsIsWholeAtTheGateway) {
  constexpr uint64_t kPlaces = 4'500;  // more than one part takes
  constexpr uint64_t kApart = 512u << 10;
  const auto marked = [](uint64_t place) { return "place " + std::to_string(place); };
  {
    const UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
    for (uint64_t i = 0; i < kPlaces; ++i) WriteAt(file.get(), marked(i), i * kApart);
    ASSERT_EQ(fsync(file.get()), 0);
    // Of what was sent some changes, and some becomes a hole.
    for (uint64_t i = 0; i < kPlaces; i += 2) {
      if (i % 500 == 0) {
        ASSERT_EQ(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            static_cast<off_t>(i * kApart), kApart),
                  0);
      } else {
        WriteAt(file.get(), "again", i * kApart + 100);
      }
    }
  }
  RemountFresh();
  const UniqueFd file = Open(At("f"), O_RDONLY);
  ASSERT_EQ(Stat(At("f")).st_size, static_cast<off_t>((kPlaces - 1) * kApart) + 10);
  for (uint64_t i = 0; i < kPlaces; i += 5) {
    std::string want = marked(i);
    want.resize(105, '\0');
    if (i % 500 == 0) {
      want.assign(105, '\0');
    } else if (i % 2 == 0) {
      want.replace(100, 5, "again");
    }
    std::string there(i + 1 == kPlaces ? 10 : 105, 'x');
    want.resize(there.size());
    ASSERT_EQ(pread(file.get(), there.data(), there.size(), static_cast<off_t>(i * kApart)),
              static_cast<ssize_t>(there.size()));
    ASSERT_EQ(there, want) << i;
  }
}

// What was sent before the cut must not be taken for holes when the file is sent anew.
TEST_F(BasicsSparse, ACutBetweenPartsLosesNothing) {
  constexpr uint64_t kPlaces = 4'500;  // more than one part takes
  constexpr uint64_t kApart = 512u << 10;
  UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
  // The name is sent, of the content nothing was ever.
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(10), [&] {
    return host().SessionStatus("work").at("pending_mutations").get<int>() == 0;
  }));
  host().FreezeGateway();
  for (uint64_t i = 0; i < kPlaces; ++i) WriteAt(file.get(), "x" + std::to_string(i), i * kApart);
  Open(At("f"), O_WRONLY).reset();                       // has it sent, and waits for nothing
  std::this_thread::sleep_for(std::chrono::seconds(2));  // its first part waits for the gateway
  ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(kPlaces * kApart)), 0);
  host().ThawGateway();
  ASSERT_EQ(fsync(file.get()), 0);
  file.reset();
  RemountFresh();
  const UniqueFd seen = Open(At("f"), O_RDONLY);
  for (uint64_t i = 0; i < kPlaces; i += 11) {
    std::string want = "x" + std::to_string(i);
    std::string there(want.size(), '?');
    ASSERT_EQ(pread(seen.get(), there.data(), there.size(), static_cast<off_t>(i * kApart)),
              static_cast<ssize_t>(there.size()));
    ASSERT_EQ(there, want) << i;
  }
}

TEST_F(BasicsSparse, SmallFilesKeepTheirHolesToo) {
  {
    const UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
    WriteAt(file.get(), "end", 60'000);
  }
  EXPECT_LE(BytesOnDisk("f"), 4096u);
  RemountFresh();
  EXPECT_LE(BytesOnDisk("f"), 4096u);
  EXPECT_EQ(ReadFile(At("f")), std::string(60'000, '\0') + "end");
}

TEST_F(BasicsSparse, SeeksLikeALocalFileSystem) {
  WriteFile(At("f"), RandomBytes(1, 300'000));
  UniqueFd file = Open(At("f"), O_RDONLY);
  EXPECT_EQ(lseek(file.get(), 10, SEEK_DATA), 10);
  EXPECT_EQ(lseek(file.get(), 10, SEEK_HOLE), 300'000);
  EXPECT_EQ(ErrnoOf(lseek(file.get(), 300'000, SEEK_DATA)), ENXIO);
  EXPECT_EQ(ErrnoOf(lseek(file.get(), 300'000, SEEK_HOLE)), ENXIO);
  WriteFile(At("empty"), "");
  EXPECT_EQ(ErrnoOf(lseek(Open(At("empty"), O_RDONLY).get(), 0, SEEK_DATA)), ENXIO);
  file.reset();
  RemountFresh();
  EXPECT_EQ(RunsOf("f"), "0+300000 ");
}

TEST_F(BasicsSparse, PunchesHolesAndMakesZeros) {
  for (const uint64_t size : {40'000u, 2'000'000u}) {
    const std::string name = "f" + std::to_string(size);
    std::string content = RandomBytes(7, size);
    WriteFile(At(name), content);
    RemountFresh();
    UniqueFd file = Open(At(name), O_RDWR);
    EXPECT_EQ(ReadSome(file.get(), size, 0), content);
    const timespec past[2] = {{1000, 0}, {1000, 0}};
    futimens(file.get(), past);
    ASSERT_EQ(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 20'000), 0);
    content.replace(5000, 20'000, 20'000, '\0');
    EXPECT_EQ(ReadSome(file.get(), size, 0), content);
    EXPECT_GT(Stat(At(name)).st_mtim.tv_sec, 1000);
    ASSERT_EQ(fallocate(file.get(), FALLOC_FL_ZERO_RANGE, 30'000, 1000), 0);
    content.replace(30'000, 1000, 1000, '\0');
    ASSERT_EQ(fallocate(file.get(), FALLOC_FL_ZERO_RANGE, static_cast<off_t>(size) - 100, 5100), 0);
    content.replace(size - 100, 100, 100, '\0');
    content.append(5000, '\0');
    EXPECT_EQ(static_cast<uint64_t>(Stat(At(name)).st_size), content.size());
    EXPECT_EQ(ReadSome(file.get(), content.size() + 1, 0), content);
    file.reset();
    RemountFresh();
    EXPECT_TRUE(ReadFile(At(name)) == content) << size;
    EXPECT_LT(BytesOnDisk(name), size - 4096);
  }
}

TEST_F(BasicsSparse, WhatWasSentAndThenPunchedIsGoneAtTheGateway) {
  UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
  WriteAt(file.get(), RandomBytes(1, 3 * kMiB), 0);
  ASSERT_EQ(fsync(file.get()), 0);
  ASSERT_EQ(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kMiB / 2, 2 * kMiB),
            0);
  ASSERT_EQ(fsync(file.get()), 0);
  std::string content = RandomBytes(1, 3 * kMiB);
  content.replace(kMiB / 2, 2 * kMiB, 2 * kMiB, '\0');
  file.reset();
  RemountFresh();
  EXPECT_EQ(BytesOnDisk("f"), kMiB);
  EXPECT_TRUE(ReadFile(At("f")) == content);
  EXPECT_EQ(RunsOf("f"), "0+524288 2621440+524288 ");
}

TEST_F(BasicsSparse, Allocates) {
  {
    const UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
    ASSERT_EQ(fallocate(file.get(), 0, 1000, 99'000), 0);
    EXPECT_EQ(Stat(At("f")).st_size, 100'000);
    ASSERT_EQ(fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, 500'000), 0);
    EXPECT_EQ(Stat(At("f")).st_size, 100'000);
    EXPECT_GE(BytesOnDisk("f"), 500'000u);
    EXPECT_EQ(posix_fallocate(file.get(), 0, 200'000), 0);
    EXPECT_EQ(Stat(At("f")).st_size, 200'000);
    EXPECT_EQ(ErrnoOf(fallocate(file.get(), FALLOC_FL_COLLAPSE_RANGE, 0, 4096)), EOPNOTSUPP);
    EXPECT_EQ(ErrnoOf(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE, 0, 4096)), EOPNOTSUPP);
    EXPECT_EQ(ErrnoOf(fallocate(file.get(), 0, off_t{1} << 44, 4096)), EFBIG);
    EXPECT_EQ(ErrnoOf(fallocate(Open(At("f"), O_RDONLY).get(), 0, 0, 4096)), EBADF);
  }
  RemountFresh();
  EXPECT_EQ(ReadFile(At("f")), std::string(200'000, '\0'));
}

TEST_F(BasicsSparse, IsSeenOnOtherMounts) {
  const std::string other = host().Mount("work", "mnt2");
  std::string content = RandomBytes(7, 200'000);
  WriteFile(At("f"), content);
  const UniqueFd reader = Open(other + "/f", O_RDONLY);
  EXPECT_EQ(ReadSome(reader.get(), content.size(), 0), content);
  const UniqueFd writer = Open(At("f"), O_RDWR);
  ASSERT_EQ(fallocate(writer.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 100'000), 0);
  content.replace(1000, 100'000, 100'000, '\0');
  EXPECT_TRUE(ReadSome(reader.get(), content.size(), 0) == content);
  ASSERT_EQ(fallocate(writer.get(), 0, 0, 300'000), 0);
  EXPECT_EQ(Stat(other + "/f").st_size, 300'000);
}

TEST_F(BasicsSparse, FilesWithoutANameGetOne) {
  mkdir(At("d").c_str(), 0755);
  const std::string content = RandomBytes(9, 100'000);
  struct stat before {};
  {
    const UniqueFd file = Open(At("d"), O_TMPFILE | O_RDWR, 0640);
    ASSERT_TRUE(file);
    WriteAt(file.get(), content, 0);
    ASSERT_EQ(fchmod(file.get(), 0604), 0);
    ASSERT_EQ(fsync(file.get()), 0);
    ASSERT_EQ(fstat(file.get(), &before), 0);
    EXPECT_EQ(before.st_nlink, 0u);
    EXPECT_EQ(NamesIn(At("d")), std::set<std::string>{});
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    ASSERT_EQ(linkat(AT_FDCWD, path.c_str(), AT_FDCWD, At("d/f").c_str(), AT_SYMLINK_FOLLOW), 0)
        << strerror(errno);
    ASSERT_EQ(linkat(AT_FDCWD, path.c_str(), AT_FDCWD, At("g").c_str(), AT_SYMLINK_FOLLOW), 0);
    WriteAt(file.get(), "behind", 0);
  }
  const auto check = [&] {
    const struct stat info = Stat(At("d/f"));
    EXPECT_EQ(info.st_nlink, 2u);
    EXPECT_EQ(info.st_ino, before.st_ino);
    EXPECT_EQ(info.st_mode & 07777, 0604u);
    EXPECT_TRUE(ReadFile(At("g")) == "behind" + content.substr(6));
  };
  check();
  RemountFresh();
  check();
}

TEST_F(BasicsSparse, FilesWithoutANameVanish) {
  {
    const UniqueFd file = Open(mount(), O_TMPFILE | O_RDWR | O_EXCL, 0600);
    ASSERT_TRUE(file);
    WriteAt(file.get(), "gone", 0);
    EXPECT_EQ(ReadSome(file.get(), 4, 0), "gone");
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    EXPECT_EQ(ErrnoOf(linkat(AT_FDCWD, path.c_str(), AT_FDCWD, At("f").c_str(), AT_SYMLINK_FOLLOW)),
              ENOENT);
  }
  EXPECT_EQ(NamesIn(mount()), std::set<std::string>{});
  EXPECT_EQ(RunProgram({"/bin/sh", "-ec",
                        "python3 -c 'import tempfile; f = tempfile.TemporaryFile("
                        "dir=\".\"); f.write(b\"x\"); f.flush()'"},
                       {.directory = mount()})
                .code,
            0);
}

TEST_F(BasicsSparse, FilesAreAsLargeAsDeclared) {
  const off_t most = (off_t{1} << 44) - 4096;
  {
    const UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
    WriteAt(file.get(), "behind 4 GiB", static_cast<off_t>(5 * kGiB));
    WriteAt(file.get(), "behind 40 GiB", static_cast<off_t>(40 * kGiB));
    EXPECT_EQ(ErrnoOf(pwrite(file.get(), "x", 1, most)), EFBIG);
  }
  RemountFresh();
  EXPECT_EQ(static_cast<uint64_t>(Stat(At("f")).st_size), 40 * kGiB + 13);
  EXPECT_LE(BytesOnDisk("f"), 16'384u);
  {
    const UniqueFd file = Open(At("f"), O_RDWR);
    EXPECT_EQ(ReadSome(file.get(), 12, static_cast<off_t>(5 * kGiB)), "behind 4 GiB");
    EXPECT_EQ(ReadSome(file.get(), 4, static_cast<off_t>(20 * kGiB)), std::string(4, '\0'));
    WriteAt(file.get(), "again", static_cast<off_t>(30 * kGiB));
    EXPECT_EQ(ReadSome(file.get(), 13, static_cast<off_t>(40 * kGiB)), "behind 40 GiB");
  }
  EXPECT_LT(Fetched(), 16 * kMiB);
  RemountFresh();
  const UniqueFd file = Open(At("f"), O_RDONLY);
  EXPECT_EQ(ReadSome(file.get(), 5, static_cast<off_t>(30 * kGiB)), "again");
}

TEST_F(BasicsSparse, HolesCostNoMemory) {
  const auto memory = [&] { return host().Status().at("broker").at("rss_bytes").get<uint64_t>(); };
  const uint64_t before = memory();
  const UniqueFd file = Open(At("f"), O_RDWR | O_CREAT);
  ASSERT_EQ(ftruncate(file.get(), (off_t{1} << 44) - 4096), 0);
  for (const off_t at : {off_t{0}, off_t{1} << 43, (off_t{1} << 44) - 5000}) {
    WriteAt(file.get(), "x", at);
    ASSERT_EQ(fsync(file.get()), 0);
  }
  EXPECT_LT(memory(), before + 64 * kMiB);
}

TEST_F(BasicsSparse, TruncationLeavesZerosBehind) {
  for (const uint64_t size : {10'000u, 1'000'000u}) {
    const std::string content = RandomBytes(11, size);
    WriteFile(At("f"), content);
    UniqueFd file = Open(At("f"), O_RDWR);
    auto* map =
        static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    ASSERT_NE(static_cast<void*>(map), MAP_FAILED);
    EXPECT_EQ(map[5000], content[5000]);
    const auto cut = static_cast<off_t>(5001);
    ASSERT_EQ(ftruncate(file.get(), cut), 0);
    // Behind the end, in its page: there the pages that FUSE itself keeps are not cleared.
    if (host().Status().at("mounts").at(0).value("passthrough", false)) map[5002] = 'x';
    ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(size)), 0);
    EXPECT_EQ(map[5000], content[5000]);
    EXPECT_EQ(map[5002], '\0');
    munmap(map, size);
    const std::string expected = content.substr(0, 5001) + std::string(size - 5001, '\0');
    EXPECT_TRUE(ReadSome(file.get(), size, 0) == expected);
    WriteAt(file.get(), "tail", static_cast<off_t>(size) + 5000);
    EXPECT_EQ(ReadSome(file.get(), 5004, static_cast<off_t>(size)),
              std::string(5000, '\0') + "tail");
    file.reset();
    RemountFresh();
    EXPECT_TRUE(ReadFile(At("f")) == expected + std::string(5000, '\0') + "tail");
    unlink(At("f").c_str());
  }
}

TEST_F(BasicsSparse, TellsTheTimeOfBirth) {
  const auto birth = [&](const std::string& name) {
    struct statx info {};
    EXPECT_EQ(statx(AT_FDCWD, At(name).c_str(), 0, STATX_ALL, &info), 0);
    EXPECT_NE(info.stx_mask & STATX_BTIME, 0u) << name;
    EXPECT_EQ(info.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    EXPECT_EQ(info.stx_size, static_cast<uint64_t>(Stat(At(name)).st_size));
    return info.stx_btime.tv_sec * 1'000'000'000 + info.stx_btime.tv_nsec;
  };
  timespec start{};
  clock_gettime(CLOCK_REALTIME_COARSE, &start);
  WriteFile(At("f"), "x");
  mkdir(At("d").c_str(), 0755);
  const auto born = birth("f");
  EXPECT_GE(born, start.tv_sec * 1'000'000'000 + start.tv_nsec);
  const timespec past[2] = {{1000, 0}, {1000, 0}};
  utimensat(AT_FDCWD, At("f").c_str(), past, 0);
  WriteFile(At("f"), "longer");
  EXPECT_EQ(birth("f"), born);
  RemountFresh();
  EXPECT_EQ(birth("f"), born);
  EXPECT_GT(birth("d"), 0);
  EXPECT_GT(birth("."), 0);
}

}  // namespace
}  // namespace airstore::e2e
