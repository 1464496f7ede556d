// SPDX-License-Identifier: Apache-2.0
//
// Content of files in one mount: here, and after everything local is gone and it comes from the
// gateway again.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

#include "tests/e2e/basics.h"

namespace airstore::e2e {
namespace {

TEST_F(Basics, ReadsBackWhatWasWritten) {
  for (const size_t size : {0u, 1u, 4095u, 4096u, 65535u, 65536u, 65537u, 262144u, 1000001u}) {
    const std::string content = RandomBytes(size, size);
    WriteFile(At("f" + std::to_string(size)), content);
    EXPECT_EQ(Stat(At("f" + std::to_string(size))).st_size, static_cast<off_t>(size));
    EXPECT_TRUE(ReadFile(At("f" + std::to_string(size))) == content) << size;
  }
}

TEST_F(Basics, KeepsTheTreeAtTheGateway) {
  mkdir(At("d").c_str(), 0750);
  mkdir(At("d/e").c_str(), 01777);
  for (size_t size = 0; size < 3'000'000; size = size * 3 + 1) {
    WriteFile(At("d/f" + std::to_string(size)), RandomBytes(size, size));
  }
  ASSERT_EQ(symlink("../nowhere", At("d/link").c_str()), 0);
  ASSERT_EQ(link(At("d/f1").c_str(), At("d/e/other").c_str()), 0);
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
}

TEST_F(Basics, KeepsEmptyFiles) {
  WriteFile(At("empty"), "");
  RemountFresh();
  EXPECT_EQ(Stat(At("empty")).st_size, 0);
  EXPECT_EQ(ReadFile(At("empty")), "");
}

TEST_F(Basics, TruncatesAsTheFirstThing) {
  WriteFile(At("small"), "something");
  WriteFile(At("large"), RandomBytes(1, 300'000));
  RemountFresh();
  WriteFile(At("small"), "other");
  RemountFresh();
  WriteFile(At("large"), "");
  EXPECT_EQ(ReadFile(At("small")), "other");
  EXPECT_EQ(ReadFile(At("large")), "");
}

TEST_F(Basics, KeepsSparseFiles) {
  constexpr off_t kSize = 300 << 20;
  {
    const UniqueFd file = Open(At("sparse"), O_RDWR | O_CREAT);
    WriteAt(file.get(), "first", 0);
    WriteAt(file.get(), "middle", kSize / 2 + 1234);
    WriteAt(file.get(), "last", kSize - 4);
  }
  const auto check = [&] {
    const UniqueFd file = Open(At("sparse"), O_RDONLY);
    EXPECT_EQ(Stat(At("sparse")).st_size, kSize);
    EXPECT_EQ(ReadSome(file.get(), 8, 0), std::string("first\0\0\0", 8));
    EXPECT_EQ(ReadSome(file.get(), 8, kSize / 2 + 1233), std::string("\0middle\0", 8));
    EXPECT_EQ(ReadSome(file.get(), 100, kSize - 5), std::string("\0last", 5));
    EXPECT_EQ(ReadSome(file.get(), 4096, 100 << 20), std::string(4096, '\0'));
    EXPECT_EQ(ReadSome(file.get(), 4096, kSize), "");
  };
  check();
  RemountFresh();
  check();
}

TEST_F(Basics, RefusesWritesBeyondTheLimitAndLosesNothing) {
  WriteFile(At("f"), "kept");
  UniqueFd file = Open(At("f"), O_RDWR);
  EXPECT_EQ(ErrnoOf(pwrite(file.get(), "x", 1, off_t{1} << 62)), EFBIG);
  EXPECT_EQ(ErrnoOf(ftruncate(file.get(), off_t{1} << 62)), EFBIG);
  WriteAt(file.get(), "!", 4);
  EXPECT_EQ(ReadFile(At("f")), "kept!");
  file.reset();
  RemountFresh();
  EXPECT_EQ(ReadFile(At("f")), "kept!");
}

TEST_F(Basics, TruncatesInBothDirections) {
  for (const off_t size : {100, 200'000}) {
    const std::string path = At("f" + std::to_string(size));
    std::string content = RandomBytes(1, static_cast<size_t>(size));
    WriteFile(path, content);
    ASSERT_EQ(truncate(path.c_str(), size / 2), 0);
    content.resize(static_cast<size_t>(size / 2));
    EXPECT_TRUE(ReadFile(path) == content) << size;
    ASSERT_EQ(truncate(path.c_str(), size * 3), 0);
    content.resize(static_cast<size_t>(size * 3));
    EXPECT_TRUE(ReadFile(path) == content) << size;
    ASSERT_EQ(truncate(path.c_str(), 0), 0);
    EXPECT_EQ(ReadFile(path), "");
    ASSERT_EQ(truncate(path.c_str(), size), 0);
    EXPECT_TRUE(ReadFile(path) == std::string(static_cast<size_t>(size), '\0')) << size;
  }
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
}

TEST_F(Basics, HonoursOpenFlags) {
  WriteFile(At("f"), "abc");
  EXPECT_EQ(ErrnoOf(open(At("f").c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644)), EEXIST);
  EXPECT_EQ(ErrnoOf(open(At("none").c_str(), O_RDONLY)), ENOENT);
  EXPECT_EQ(ErrnoOf(open(At("f").c_str(), O_RDONLY | O_DIRECTORY)), ENOTDIR);
  EXPECT_EQ(ErrnoOf(open(mount().c_str(), O_WRONLY)), EISDIR);
  {
    const UniqueFd one = Open(At("f"), O_WRONLY | O_APPEND);
    const UniqueFd two = Open(At("f"), O_WRONLY | O_APPEND);
    ASSERT_EQ(write(one.get(), "1", 1), 1);
    ASSERT_EQ(write(two.get(), "2", 1), 1);
    ASSERT_EQ(write(one.get(), "3", 1), 1);
    EXPECT_EQ(ReadFile(At("f")), "abc123");
    EXPECT_EQ(ErrnoOf(read(one.get(), nullptr, 0)), EBADF);
  }
  Open(At("f"), O_WRONLY | O_TRUNC);
  EXPECT_EQ(ReadFile(At("f")), "");
}

TEST_F(Basics, NeverForgetsTheSizeItHasWritten) {
  // Answers that carry a size, right after a write: the kernel believes them, and appends there.
  const std::function<void(const std::string&)> answers[] = {
      [&](const std::string&) { (void)NamesIn(mount()); },
      [&](const std::string& path) { EXPECT_EQ(ErrnoOf(mkdir(path.c_str(), 0755)), EEXIST); },
      [&](const std::string& path) { EXPECT_EQ(link(path.c_str(), (path + "l").c_str()), 0); },
      [&](const std::string& path) { EXPECT_EQ(chmod(path.c_str(), 0600), 0); },
      [&](const std::string& path) { Open(path, O_RDWR); },
  };
  int count = 0;
  for (int round = 0; round < 30; ++round) {
    for (const auto& answer : answers) {
      const std::string path = At("f" + std::to_string(count++));
      const UniqueFd one = Open(path, O_RDWR | O_CREAT);
      const UniqueFd two = Open(path, O_RDWR | O_APPEND);
      WriteAt(one.get(), std::string(300'000, '1'), 0);
      answer(path);
      ASSERT_EQ(write(two.get(), "2222", 4), 4);
      struct stat info {};
      ASSERT_EQ(fstat(one.get(), &info), 0);
      ASSERT_EQ(info.st_size, 300'004) << "answer " << (count - 1) % 5;
      ASSERT_EQ(ReadSome(one.get(), 2, 0), "11");
    }
  }
}

TEST_F(Basics, KeepsAnUnlinkedFileWhileItIsOpen) {
  for (const size_t size : {100u, 300'000u}) {
    const std::string content = RandomBytes(2, size);
    const std::string path = At("f" + std::to_string(size));
    WriteFile(path, content);
    const UniqueFd file = Open(path, O_RDWR);
    ASSERT_EQ(unlink(path.c_str()), 0);
    EXPECT_FALSE(Exists(path));
    struct stat info {};
    ASSERT_EQ(fstat(file.get(), &info), 0);
    EXPECT_EQ(info.st_nlink, 0u);
    EXPECT_TRUE(ReadSome(file.get(), size, 0) == content);
    WriteAt(file.get(), "more", static_cast<off_t>(size));
    EXPECT_EQ(ReadSome(file.get(), 4, static_cast<off_t>(size)), "more");
    ASSERT_EQ(ftruncate(file.get(), 10), 0);
    EXPECT_EQ(ReadSome(file.get(), 20, 0), content.substr(0, 10));
  }
}

TEST_F(Basics, KeepsAReplacedFileWhileItIsOpen) {
  WriteFile(At("old"), "old content");
  WriteFile(At("new"), "new content");
  const UniqueFd file = Open(At("old"), O_RDONLY);
  ASSERT_EQ(rename(At("new").c_str(), At("old").c_str()), 0);
  EXPECT_EQ(ReadSome(file.get(), 100, 0), "old content");
  EXPECT_EQ(ReadFile(At("old")), "new content");
}

TEST_F(Basics, ShowsMappedStoresToReadersAndKeepsThem) {
  for (const size_t size : {5000u, 400'000u}) {
    const std::string path = At("f" + std::to_string(size));
    WriteFile(path, std::string(size, 'a'));
    const UniqueFd file = Open(path, O_RDWR);
    void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ASSERT_NE(memory, MAP_FAILED) << strerror(errno);
    auto* bytes = static_cast<char*>(memory);
    bytes[0] = 'x';
    bytes[size - 1] = 'z';
    EXPECT_EQ(ReadSome(file.get(), 2, 0), "xa");
    WriteAt(file.get(), "written", 100);
    EXPECT_EQ(std::string(bytes + 100, 7), "written");
    EXPECT_EQ(munmap(memory, size), 0);
  }
  const TreeEntries before = Tree(mount());
  RemountFresh();
  EXPECT_EQ(Difference(before, Tree(mount())), "");
  EXPECT_EQ(ReadFile(At("f5000")).substr(4998), "az");
}

TEST_F(Basics, KeepsMappedStoresMadeAfterTheLastClose) {
  WriteFile(At("f"), std::string(8192, 'a'));
  UniqueFd file = Open(At("f"), O_RDWR);
  auto* bytes =
      static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  ASSERT_NE(static_cast<void*>(bytes), MAP_FAILED);
  file.reset();
  bytes[8000] = 'b';
  EXPECT_EQ(msync(bytes, 8192, MS_SYNC), 0);
  bytes[8001] = 'c';
  EXPECT_EQ(munmap(bytes, 8192), 0);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("f")).substr(7999, 4), "abca");
}

// As dd does for what is left at the end.
TEST_F(Basics, DirectFilesStopBeingDirect) {
  constexpr size_t kPage = 4096;
  alignas(kPage) static char page[kPage];
  memset(page, 'a', sizeof(page));
  UniqueFd plain = Open(At("f"), O_RDWR | O_CREAT);
  auto* const map = static_cast<char*>(
      mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, plain.get(), 0));
  ASSERT_NE(static_cast<void*>(map), MAP_FAILED);
  {
    const UniqueFd file = Open(At("f"), O_RDWR | O_DIRECT);
    ASSERT_EQ(write(file.get(), page, kPage), static_cast<ssize_t>(kPage)) << strerror(errno);
    ASSERT_EQ(fcntl(file.get(), F_SETFL, fcntl(file.get(), F_GETFL) & ~O_DIRECT), 0);
    ASSERT_EQ(write(file.get(), "the rest", 8), 8) << strerror(errno);
    EXPECT_EQ(ReadSome(file.get(), 10, kPage - 2), "aathe rest");
    EXPECT_EQ(ReadSome(plain.get(), 10, kPage - 2), "aathe rest");
    EXPECT_EQ(std::string(map + kPage - 2, 10), "aathe rest");
    map[1] = 'b';
    WriteAt(plain.get(), "c", 2);
    EXPECT_EQ(ReadSome(file.get(), 4, 0), "abca");
    WriteAt(plain.get(), "more", kPage + 8);
    EXPECT_EQ(ReadSome(file.get(), 20, kPage + 4), "restmore");
    struct stat info {};
    ASSERT_EQ(fstat(file.get(), &info), 0);
    EXPECT_EQ(info.st_size, static_cast<off_t>(kPage) + 12);
  }
  munmap(map, 2 * kPage);
  plain.reset();
  const std::string content = ReadFile(At("f"));
  EXPECT_EQ(content, "abc" + std::string(kPage - 3, 'a') + "the restmore");
  RemountFresh();
  EXPECT_EQ(ReadFile(At("f")), content);
}

TEST_F(Basics, SyncsToTheGateway) {
  std::map<std::string, std::string> contents;
  mkdir(At("d").c_str(), 0755);
  for (const size_t size : {10u, 70'000u, 3'000'000u}) {
    const std::string name = "d/f" + std::to_string(size);
    const std::string content = contents[name] = RandomBytes(size, size);
    const UniqueFd file = Open(At(name), O_WRONLY | O_CREAT);
    WriteAt(file.get(), content, 0);
    ASSERT_EQ(fsync(file.get()), 0) << strerror(errno);
  }
  std::vector<UniqueFd> open;
  for (const int flags : {O_SYNC, O_DSYNC, O_DSYNC | O_APPEND}) {
    const std::string name = "d/s" + std::to_string(flags);
    contents[name] = "old" + RandomBytes(static_cast<uint64_t>(flags), 5000);
    open.push_back(Open(At(name), O_WRONLY | O_CREAT | flags));
    ASSERT_EQ(write(open.back().get(), "old", 3), 3);
    ASSERT_EQ(fsync(open.back().get()), 0);
    ASSERT_EQ(write(open.back().get(), contents[name].data() + 3, 5000), 5000) << strerror(errno);
  }
  host().KillGateway();
  host().KillBrokerAndMounts();
  host().WipeBrokerState();
  host().StartGateway();
  host().StartBroker();
  host().Mount("work", "mnt");
  for (const auto& [name, content] : contents) {
    EXPECT_TRUE(ReadFile(At(name)) == content) << name;
  }
}

}  // namespace
}  // namespace airstore::e2e
