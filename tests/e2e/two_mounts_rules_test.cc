// SPDX-License-Identifier: Apache-2.0
//
// What the kernel of a mount cannot see to by itself, because it does not know what goes on at the
// other one: who may open, what is run, what was stored to maps, where a file ends.
#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <sstream>
#include <thread>

#include "tests/e2e/two_mounts.h"

namespace airstore::e2e {
namespace {

constexpr uid_t kUser = 65534;

class TwoMountsRules : public TwoMounts {};

struct RaceEnd {
  int wrong;   // files of others that were opened
  int odd;     // an errno that nobody expects
  int opened;  // ... its own
};

// For some microseconds, so that the two do not always come in the same order.
void Linger(int much) {
  for (int i = 0; i < much % 20'000; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Creates or opens files as a user, when told; what came of it is written back at the end.
void OpenAsUser(int partner, const std::string& directory, int rounds) {
  if (setgroups(0, nullptr) != 0 || setgid(kUser) != 0 || setuid(kUser) != 0) _exit(1);
  RaceEnd end{};
  char go = 0;
  for (int i = 0; i < rounds; ++i) {
    const std::string path = directory + "/" + std::to_string(i);
    if (read(partner, &go, 1) != 1) _exit(1);
    Linger(i * 37);
    const int file = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    struct stat info {};
    if (file >= 0 && fstat(file, &info) == 0) {
      ++(info.st_uid == kUser ? end.opened : end.wrong);
    } else if (errno != EACCES) {
      end.odd = errno;
    }
    close(file);
    if (write(partner, &go, 1) != 1) _exit(1);
  }
  _exit(write(partner, &end, sizeof(end)) == sizeof(end) ? 0 : 1);
}

// The kernel of the other mount has heard that the name is not there, and takes what its creation
// brings for the caller's.
TEST_F(TwoMountsRules, NobodyOpensWhatSomebodyElseHasJustMade) {
  constexpr int kRounds = 500;
  mkdir(At(0, "d").c_str(), 0777);
  chmod(At(0, "d").c_str(), 0777);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd mine(ends[0]), theirs(ends[1]);
  const std::string directory = At(1, "d");
  const pid_t user = fork();
  if (user == 0) OpenAsUser(theirs.get(), directory, kRounds);
  char go = 0;
  for (int i = 0; i < kRounds; ++i) {
    const std::string path = At(0, "d/" + std::to_string(i));
    ASSERT_EQ(write(mine.get(), &go, 1), 1);
    Linger(i * 53);
    UniqueFd(open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_EQ(read(mine.get(), &go, 1), 1);
    unlink(path.c_str());
  }
  RaceEnd end{};
  ASSERT_EQ(read(mine.get(), &end, sizeof(end)), static_cast<ssize_t>(sizeof(end)));
  EXPECT_EQ(end.wrong, 0);
  EXPECT_EQ(end.odd, 0) << strerror(end.odd);
  RecordProperty("own", end.opened);
  waitpid(user, nullptr, 0);
}

TEST_F(TwoMountsRules, ProgramsThatAnotherMountRunsAreNotWritten) {
  std::filesystem::copy_file("/bin/sleep", At(0, "program"));
  chmod(At(0, "program").c_str(), 0755);
  Process program({At(1, "program"), "1000"});
  const std::string path = At(0, "program");
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(10), [&] {
    std::error_code failed;
    return std::filesystem::read_symlink("/proc/" + std::to_string(program.pid()) + "/exe", failed)
               .filename() == "program";
  }));
  for (const int flags : {O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC, O_RDONLY | O_TRUNC}) {
    EXPECT_EQ(ErrnoOf(open(path.c_str(), flags | O_CLOEXEC)), ETXTBSY) << flags;
  }
  EXPECT_EQ(ErrnoOf(truncate(path.c_str(), 10)), ETXTBSY);
  EXPECT_EQ(Stat(path).st_size, Stat("/bin/sleep").st_size);
  program.Kill();
  EXPECT_EQ(ErrnoOf(truncate(path.c_str(), 10)), 0);
}

class TwoMountsMaps : public TwoMountsRules {
 protected:
  static constexpr size_t kSize = 8192;
  void Begin(const std::string& name) {
    here_ = Open(At(0, name), O_RDWR | O_CREAT);
    ASSERT_EQ(ftruncate(here_.get(), kSize), 0);
    there_ = Open(At(1, name), O_RDWR);
    Unmap();
    map_ = static_cast<char*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, there_.get(), 0));
    ASSERT_NE(static_cast<void*>(map_), MAP_FAILED);
  }
  void Unmap() {
    if (map_ != nullptr) munmap(map_, kSize);
    map_ = nullptr;
  }
  void TearDown() override {
    Unmap();
    here_.reset();
    there_.reset();
    TwoMountsRules::TearDown();
  }
  void ExpectBoth(const std::string& text, off_t offset) {
    for (const UniqueFd* file : {&here_, &there_}) {
      EXPECT_EQ(ReadSome(file->get(), text.size(), offset), text);
    }
  }
  UniqueFd here_, there_;
  char* map_ = nullptr;
};

TEST_F(TwoMountsMaps, StoresDoNotUndoWhatCameLater) {
  Begin("cut");
  map_[5000] = 'x';
  ASSERT_EQ(ftruncate(here_.get(), 10), 0);
  for (const UniqueFd* file : {&here_, &there_}) {
    struct stat info {};
    ASSERT_EQ(fstat(file->get(), &info), 0);
    EXPECT_EQ(info.st_size, 10);
  }
  Begin("overwritten");
  memcpy(map_, "xyz", 3);
  WriteAt(here_.get(), "NEWDATA", 0);
  ExpectBoth("NEWDATA", 0);
  EXPECT_EQ(std::string(map_, 7), "NEWDATA");
  Begin("same page");
  memcpy(map_, "xyz", 3);
  WriteAt(here_.get(), "NEW", 100);
  ExpectBoth("xyz", 0);
  ExpectBoth("NEW", 100);
  ASSERT_EQ(fsync(there_.get()), 0);
  ExpectBoth("NEW", 100);
  Begin("punched");
  memcpy(map_, "xyz", 3);
  ASSERT_EQ(fallocate(here_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  ExpectBoth(std::string(3, '\0'), 0);
  Begin("copied");
  memcpy(map_, "xyz", 3);
  off64_t from = 4096, to = 0;
  ASSERT_EQ(copy_file_range(here_.get(), &from, here_.get(), &to, 100, 0), 100);
  ExpectBoth(std::string(3, '\0'), 0);
}

// Who opened it while there was no other mount.
class SecondMount : public HostTest {};

TEST_F(SecondMount, AppendsDoNotOverlap) {
  host().CreateWorkspace("work");
  const std::string first = host().Mount("work", "first", {"--passthrough", "off"});
  const UniqueFd here = Open(first + "/log", O_RDWR | O_CREAT | O_APPEND);
  ASSERT_EQ(write(here.get(), "begin", 5), 5);
  const std::string second = host().Mount("work", "second", {"--passthrough", "off"});
  const UniqueFd there = Open(second + "/log", O_WRONLY | O_APPEND);
  constexpr int kEach = 1500;
  const auto append = [](const UniqueFd& file, const std::string& text) {
    for (int i = 0; i < kEach; ++i) (void)!write(file.get(), text.data(), text.size());
  };
  std::thread other(append, std::cref(there), "there;");
  append(here, "here;");
  other.join();
  const std::string all = ReadFile(second + "/log");
  EXPECT_EQ(all.size(), 5 + kEach * (5 + 6));
  // The kernel may cut a write of a handle that was opened while its mount was alone at the end of
  // a page, so the pieces of two writes may alternate. Every byte has a place of its own.
  std::map<char, int> found;
  for (const char c : all.substr(std::min<size_t>(5, all.size()))) ++found[c];
  EXPECT_EQ(
      found,
      (std::map<char, int>{
          {'t', kEach}, {'h', 2 * kEach}, {'e', 4 * kEach}, {'r', 2 * kEach}, {';', 2 * kEach}}));
  // What the kernel had put where the end was before it goes when the write has returned.
  EXPECT_TRUE(WaitUntil(std::chrono::seconds(10), [&] { return ReadFile(first + "/log") == all; }));
}

}  // namespace
}  // namespace airstore::e2e
