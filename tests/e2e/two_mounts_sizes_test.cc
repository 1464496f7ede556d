// SPDX-License-Identifier: Apache-2.0
//
// What the kernel of a mount does by the size that it has, without asking anybody, when another
// mount changes the size: maps, copies of ranges.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

constexpr size_t kMapped = 1 << 20;

class TwoMountsSizes : public TwoMounts {
 protected:
  void SetUp() override {
    TwoMounts::SetUp();
    if (IsSkipped()) return;
    writer_ = Open(At(0, "f"), O_RDWR | O_CREAT | O_EXCL);
    reader_ = Open(At(1, "f"), O_RDONLY);
    copy_ = Open(At(1, "copy"), O_RDWR | O_CREAT | O_EXCL);
    map_ = static_cast<char*>(mmap(nullptr, kMapped, PROT_READ, MAP_SHARED, reader_.get(), 0));
    ASSERT_NE(static_cast<void*>(map_), MAP_FAILED) << strerror(errno);
  }
  void TearDown() override {
    if (map_ != nullptr) munmap(map_, kMapped);
    for (UniqueFd* file : {&writer_, &reader_, &copy_}) file->reset();
    TwoMounts::TearDown();
  }
  bool Passthrough() { return host().MountStatus(mount(1)).at("passthrough").get<bool>(); }
  off_t SizeHere() {
    struct stat info {};
    EXPECT_EQ(fstat(reader_.get(), &info), 0);
    return info.st_size;
  }
  // What the first mount has just put at the end, which is `size` now: here it can be copied and is
  // in the map.
  void ExpectLast(const std::string& text, size_t size) {
    auto from = static_cast<off64_t>(size - text.size());
    off64_t to = 0;
    ASSERT_EQ(copy_file_range(reader_.get(), &from, copy_.get(), &to, text.size(), 0),
              static_cast<ssize_t>(text.size()));
    ASSERT_EQ(ReadSome(copy_.get(), text.size(), 0), text);
    ASSERT_EQ(std::string(map_ + size - text.size(), text.size()), text);
  }

  UniqueFd writer_, reader_, copy_;
  char* map_ = nullptr;
};

TEST_F(TwoMountsSizes, AreKnownWithoutAsking) {
  // What the kernel of the other mount writes by itself it tells nobody: there, one asks.
  const bool asks = Passthrough();
  size_t size = 0;
  for (int i = 0; i < 120; ++i) {
    // Now and then the end is a whole page, or one byte behind it.
    const size_t length = i % 3 == 0 ? 4096 - size % 4096 : i % 3 == 1 ? 1 : 997;
    const std::string text = RandomBytes(static_cast<uint64_t>(i), length);
    WriteAt(writer_.get(), text, static_cast<off_t>(size));
    size += length;
    if (asks) {
      ASSERT_EQ(SizeHere(), static_cast<off_t>(size));
    }
    ASSERT_NO_FATAL_FAILURE(ExpectLast(text, size)) << i;
  }
  // Not by writing.
  ASSERT_EQ(ftruncate(writer_.get(), 300'000), 0);
  ASSERT_NO_FATAL_FAILURE(ExpectLast(std::string(5000, '\0'), 300'000));
  ASSERT_EQ(fallocate(writer_.get(), 0, 0, 400'001), 0);
  ASSERT_NO_FATAL_FAILURE(ExpectLast(std::string(5000, '\0'), 400'001));
  WriteAt(writer_.get(), "begins", 0);
  off64_t from = 0, to = 500'000;
  ASSERT_EQ(copy_file_range(writer_.get(), &from, writer_.get(), &to, 6, 0), 6);
  ASSERT_NO_FATAL_FAILURE(ExpectLast("begins", 500'006));
}

TEST_F(TwoMountsSizes, AreAskedForByWhoOpenedItFirst) {
  for (const int first : {0, 1}) {
    const std::string name = "of" + std::to_string(first);
    WriteFile(At(first, name), "short");
    EXPECT_EQ(Stat(At(first, name)).st_size, 5);  // nobody has it open: the kernel may keep that
    const UniqueFd one = Open(At(first, name), O_RDWR);
    const UniqueFd other = Open(At(1 - first, name), O_RDWR);
    WriteAt(other.get(), std::string(5000, 'x'), 0);
    struct stat info {};
    ASSERT_EQ(fstat(one.get(), &info), 0);
    EXPECT_EQ(info.st_size, 5000) << first;
  }
}

// A kernel leaves an answer to a question about attributes aside when it has been told meanwhile
// that they have changed.
TEST_F(TwoMountsSizes, HoldOnceSeenWhateverElseHappensToTheFile) {
  std::atomic<bool> stop = false;
  std::thread others([&] {
    while (!stop) UniqueFd(open(At(0, "f").c_str(), O_RDWR | O_CLOEXEC));
  });
  size_t size = 0;
  for (int i = 0; i < 300 && !HasFatalFailure(); ++i) {
    const std::string text = RandomBytes(static_cast<uint64_t>(i), 997);
    WriteAt(writer_.get(), text, static_cast<off_t>(size));
    size += text.size();
    EXPECT_EQ(SizeHere(), static_cast<off_t>(size));
    ExpectLast(text, size);
  }
  stop = true;
  others.join();
}

}  // namespace
}  // namespace airstore::e2e
