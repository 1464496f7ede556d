// SPDX-License-Identifier: Apache-2.0
//
// copy_file_range(2): what is copied, and that it does not travel to the gateway a second time.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <iostream>

#include "tests/e2e/basics.h"
#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

constexpr size_t kMiB = 1u << 20;

// All of the range, in as many calls as it takes; fewer bytes where the source ends. -1 with errno.
ssize_t Copy(int from, off64_t from_offset, int to, off64_t to_offset, size_t length) {
  size_t copied = 0;
  while (copied < length) {
    const ssize_t done = copy_file_range(from, &from_offset, to, &to_offset, length - copied, 0);
    if (done < 0) return -1;
    if (done == 0) break;
    copied += static_cast<size_t>(done);
  }
  return static_cast<ssize_t>(copied);
}

void CopyFile(const std::string& from, const std::string& to) {
  const UniqueFd source = Open(from, O_RDONLY);
  const UniqueFd target = Open(to, O_WRONLY | O_CREAT | O_TRUNC);
  const auto size = static_cast<size_t>(Stat(from).st_size);
  ASSERT_EQ(Copy(source.get(), 0, target.get(), 0, size), static_cast<ssize_t>(size));
}

class BasicsCopy : public Basics {
 protected:
  uint64_t Uploaded() { return host().SessionStatus("work").at("uploaded_bytes").get<uint64_t>(); }
  uint64_t Fetched() { return host().SessionStatus("work").at("fetched_bytes").get<uint64_t>(); }
  void Sync(const std::string& name) {
    const UniqueFd file = Open(At(name), O_RDWR);
    ASSERT_EQ(fsync(file.get()), 0);
  }
  // That `copy`, which is there now, brings to the gateway.
  uint64_t SentFor(const std::function<void()>& copy, const std::string& name) {
    const uint64_t before = Uploaded();
    copy();
    Sync(name);
    return Uploaded() - before;
  }
  // All but `own` bytes are in blocks that the gateway has. What is being copied when the debounce
  // timer looks is sent as it is: up to a block.
  void ExpectShared(const std::function<void()>& copy, const std::string& name, uint64_t own = 0) {
    const auto begun = Now();
    const uint64_t sent = SentFor(copy, name);
    const auto looks = static_cast<uint64_t>((Now() - begun) / std::chrono::milliseconds(500));
    EXPECT_LE(sent, own + (64u << 10) + looks * (256u << 10)) << name;
    std::cout << "sent for " << name << ": " << sent << " bytes\n";
  }
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
};

TEST_F(BasicsCopy, IsNotSentAgain) {
  const std::string content = RandomBytes(1, 64 * kMiB);
  const std::string odd = RandomBytes(2, 5 * kMiB + 12'345);
  WriteFile(At("source"), content);
  WriteFile(At("odd"), odd);
  Sync("source");
  Sync("odd");
  ExpectShared([&] { CopyFile(At("source"), At("copy")); }, "copy");
  ExpectShared([&] { CopyFile(At("odd"), At("odd copy")); }, "odd copy");
  ExpectShared([&] { RunOk({"cp", "--reflink=auto", At("odd"), At("by cp")}); }, "by cp");
  // Parts of two files, and something of its own between them.
  const auto mix = [&] {
    const UniqueFd to = Open(At("mix"), O_RDWR | O_CREAT);
    const UniqueFd a = Open(At("source"), O_RDONLY);
    const UniqueFd b = Open(At("odd"), O_RDONLY);
    ASSERT_EQ(Copy(a.get(), 8 * kMiB, to.get(), 0, 4 * kMiB), 4 * kMiB);
    ASSERT_EQ(Copy(b.get(), kMiB, to.get(), 4 * kMiB, 4 * kMiB), 4 * kMiB);
    WriteAt(to.get(), "own", 2 * kMiB);
  };
  ExpectShared(mix, "mix", 256u << 10);
  std::string mixed = content.substr(8 * kMiB, 4 * kMiB) + odd.substr(kMiB, 4 * kMiB);
  mixed.replace(2 * kMiB, 3, "own");

  // The source goes, the copies stay.
  unlink(At("source").c_str());
  WriteFile(At("odd"), "short");
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
  EXPECT_TRUE(ReadFile(At("copy")) == content);
  EXPECT_TRUE(ReadFile(At("odd copy")) == odd);
  EXPECT_TRUE(ReadFile(At("by cp")) == odd);
  EXPECT_TRUE(ReadFile(At("mix")) == mixed);
}

// A source that somebody may have written is looked at when it is closed. Behind the copy in one
// batch, it is still what the gateway has.
TEST_F(BasicsCopy, IsNotSentAgainWhenItsSourceIsLookedAtBehindIt) {
  const std::string content = RandomBytes(1, 8 * kMiB);
  WriteFile(At("source"), content);
  Sync("source");
  UniqueFd source = Open(At("source"), O_RDWR);
  const auto copy = [&] {
    UniqueFd target = Open(At("copy"), O_WRONLY | O_CREAT);
    ASSERT_EQ(Copy(source.get(), 0, target.get(), 0, content.size()), 8 * kMiB);
    ASSERT_TRUE(WaitUntil(std::chrono::seconds(20), [&] {
      return host().SessionStatus("work").at("pending_mutations").get<uint64_t>() == 0;
    }));
    target.reset();
    source.reset();
  };
  ExpectShared(copy, "copy");
  RemountFresh();
  EXPECT_TRUE(ReadFile(At("copy")) == content);
}

TEST_F(BasicsCopy, WhatIsNotSentYetIsCopiedToo) {
  std::string content = RandomBytes(1, 8 * kMiB);
  WriteFile(At("source"), content);
  CopyFile(At("source"), At("at once"));
  EXPECT_TRUE(ReadFile(At("at once")) == content);
  Sync("at once");
  EXPECT_LE(Uploaded(), 9 * kMiB) << "the copy follows its source";
  const std::string first = content;

  UniqueFd source = Open(At("source"), O_RDWR);
  auto* map = static_cast<char*>(
      mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_SHARED, source.get(), 0));
  ASSERT_NE(static_cast<void*>(map), MAP_FAILED);
  WriteAt(source.get(), "written", 3 * kMiB);
  memcpy(map + 5 * kMiB, "stored", 6);
  content.replace(3 * kMiB, 7, "written");
  content.replace(5 * kMiB, 6, "stored");
  const uint64_t sent = SentFor([&] { CopyFile(At("source"), At("dirty")); }, "dirty");
  EXPECT_LE(sent, kMiB) << "two blocks of the source, and nothing of the copy";
  EXPECT_TRUE(ReadFile(At("dirty")) == content);
  // What changes afterwards is of the source alone.
  WriteAt(source.get(), "later", 0);
  munmap(map, content.size());
  source.reset();
  const std::string small = RandomBytes(3, 10'000);
  WriteFile(At("small"), small);
  CopyFile(At("small"), At("small copy"));
  RemountFresh();
  EXPECT_TRUE(ReadFile(At("at once")) == first);
  EXPECT_TRUE(ReadFile(At("dirty")) == content);
  EXPECT_EQ(ReadFile(At("source")).substr(0, 5), "later");
  EXPECT_TRUE(ReadFile(At("small copy")) == small);
  // From a slab, into the middle of what is larger.
  {
    const UniqueFd from = Open(At("small"), O_RDONLY);
    const UniqueFd to = Open(At("dirty"), O_WRONLY);
    EXPECT_EQ(Copy(from.get(), 100, to.get(), kMiB + 7, 1 << 20), 9'900);
  }
  content.replace(kMiB + 7, 9'900, small.substr(100));
  EXPECT_TRUE(ReadFile(At("dirty")) == content);
  RemountFresh();
  EXPECT_TRUE(ReadFile(At("dirty")) == content);
}

TEST_F(BasicsCopy, HolesStayHoles) {
  {
    const UniqueFd file = Open(At("source"), O_RDWR | O_CREAT);
    ASSERT_EQ(ftruncate(file.get(), 64 * kMiB), 0);
    WriteAt(file.get(), RandomBytes(1, 4096), kMiB);
    WriteAt(file.get(), RandomBytes(2, 2 * kMiB), 30 * kMiB);
  }
  Sync("source");
  const std::string runs = "1048576+4096 31457280+2097152 ";
  ExpectShared([&] { CopyFile(At("source"), At("copy")); }, "copy");
  EXPECT_EQ(Runs(Open(At("copy"), O_RDONLY).get()), runs);
  EXPECT_EQ(Stat(At("copy")).st_size, static_cast<off_t>(64 * kMiB));
  // Over what is there: zeros.
  WriteFile(At("over"), RandomBytes(3, 4 * kMiB));
  {
    const UniqueFd from = Open(At("source"), O_RDONLY);
    const UniqueFd to = Open(At("over"), O_RDWR);
    ASSERT_EQ(Copy(from.get(), 4 * kMiB, to.get(), kMiB + 1000, kMiB), kMiB);
  }
  const std::string over = RandomBytes(3, 4 * kMiB).replace(kMiB + 1000, kMiB, kMiB, '\0');
  EXPECT_TRUE(ReadFile(At("over")) == over);
  const std::string content = ReadFile(At("source"));
  RemountFresh();
  EXPECT_TRUE(ReadFile(At("copy")) == content);
  EXPECT_TRUE(ReadFile(At("over")) == over);
  EXPECT_EQ(Runs(Open(At("copy"), O_RDONLY).get()), runs);
}

TEST_F(BasicsCopy, SaysWhatPosixSays) {
  const std::string content = RandomBytes(1, 2 * kMiB);
  WriteFile(At("file"), content);
  WriteFile(At("to"), "");
  const UniqueFd file = Open(At("file"), O_RDWR);
  const UniqueFd to = Open(At("to"), O_RDWR);
  EXPECT_EQ(Copy(file.get(), 2 * kMiB, to.get(), 0, 100), 0) << "the end";
  EXPECT_EQ(Copy(file.get(), 2 * kMiB - 10, to.get(), 0, 100), 10) << "across it";
  EXPECT_EQ(ErrnoOf(Copy(file.get(), 0, file.get(), 1000, 2000)), EINVAL);
  EXPECT_EQ(Copy(file.get(), 0, file.get(), kMiB, 1000), 1000) << "apart in one file";
  EXPECT_EQ(ErrnoOf(Copy(file.get(), 0, Open(At("to"), O_RDONLY).get(), 0, 10)), EBADF);
  EXPECT_EQ(ErrnoOf(Copy(file.get(), 0, Open(At("to"), O_RDWR | O_APPEND).get(), 0, 10)), EBADF);
  EXPECT_EQ(ErrnoOf(Copy(Open(At("file"), O_WRONLY).get(), 0, to.get(), 0, 10)), EBADF);
  EXPECT_EQ(ErrnoOf(Copy(Open(mount(), O_RDONLY).get(), 0, to.get(), 0, 10)), EISDIR);
  std::string expected = content;
  expected.replace(kMiB, 1000, content.substr(0, 1000));
  EXPECT_TRUE(ReadFile(At("file")) == expected);
  // To and from other file systems the kernel copies by itself, or cp does.
  RunOk({"cp", "--reflink=auto", At("file"), host().Path("outside")});
  RunOk({"cp", "--reflink=auto", host().Path("outside"), At("inside")});
  EXPECT_TRUE(ReadFile(At("inside")) == expected);

  const struct stat old = Stat(At("to"));
  ASSERT_EQ(Copy(file.get(), 0, to.get(), 0, 10), 10);
  const struct stat now = Stat(At("to"));
  const auto ns = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
  EXPECT_GT(ns(now.st_mtim), ns(old.st_mtim));
  EXPECT_GT(ns(now.st_ctim), ns(old.st_ctim));
}

TEST_F(BasicsCopy, SetIdBitsGo) {
  constexpr uid_t kUser = 65534;
  WriteFile(At("from"), "content");
  WriteFile(At("to"), "other");
  ASSERT_EQ(chmod(At("to").c_str(), 06777), 0);
  CopyFile(At("from"), At("root's"));
  chmod(At("root's").c_str(), 06777);
  const auto copy = [&](const std::string& name) {
    return Copy(Open(At("from"), O_RDONLY).get(), 0, Open(At(name), O_WRONLY).get(), 0, 7);
  };
  EXPECT_EQ(copy("root's"), 7);
  EXPECT_EQ(Stat(At("root's")).st_mode & 07777, 06777u) << "root may";
  const pid_t child = fork();
  if (child == 0) {
    if (setgid(kUser) != 0 || setuid(kUser) != 0) _exit(1);
    _exit(copy("to") == 7 ? 0 : 2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(Stat(At("to")).st_mode & 07777, 0777u);
}

TEST_F(TwoMounts, SeeCopies) {
  const std::string first = RandomBytes(1, 3 * kMiB);
  const std::string second = RandomBytes(2, 3 * kMiB);
  WriteFile(At(0, "from"), first);
  WriteFile(At(0, "to"), second);
  const UniqueFd seen = Open(At(1, "to"), O_RDONLY);
  EXPECT_EQ(ReadSome(seen.get(), second.size(), 0), second);
  const UniqueFd writer = Open(At(1, "from"), O_RDWR);
  EXPECT_EQ(ReadSome(writer.get(), 10, 0), first.substr(0, 10));
  const UniqueFd from = Open(At(0, "from"), O_RDONLY);
  const UniqueFd to = Open(At(0, "to"), O_RDWR);
  std::string expected = second;
  std::string source = first;
  for (size_t round = 0; round < 20; ++round) {
    const std::string mark = "round " + std::to_string(round);
    WriteAt(writer.get(), mark, static_cast<off_t>(round * 100'000));
    source.replace(round * 100'000, mark.size(), mark);
    const size_t at = round * 77'777;
    ASSERT_EQ(Copy(from.get(), static_cast<off64_t>(round * 100'000), to.get(),
                   static_cast<off64_t>(at), 300'000),
              300'000);
    expected.replace(at, 300'000, source.substr(round * 100'000, 300'000));
    ASSERT_TRUE(ReadSome(seen.get(), expected.size(), 0) == expected) << round;
  }
  ASSERT_EQ(Copy(from.get(), 0, to.get(), 3 * kMiB, kMiB), kMiB);
  EXPECT_EQ(Stat(At(1, "to")).st_size, static_cast<off_t>(4 * kMiB));
  EXPECT_TRUE(ReadFile(At(1, "to")) == expected + source.substr(0, kMiB));
}

}  // namespace
}  // namespace airstore::e2e
