// SPDX-License-Identifier: Apache-2.0
//
// Fault points, in processes of their own: this program starts itself with a board.
#include "shm/base/fault.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>

#include "shm/base/fd.h"

namespace airstore {
namespace {

constexpr FaultPoint kPoint = FaultPoint::kJournalBeforeAppend;
constexpr char kChildTest[] = "--gtest_filter=FaultChild.DISABLED_ReachesThreeTimes";

// Run by the tests below only.
TEST(FaultChild, DISABLED_ReachesThreeTimes) {
  for (int i = 0; i < 3; ++i) {
    if (const int error = Reach(kPoint)) _exit(100 + error);
  }
  _exit(10);
}

class Fault : public testing::Test {
 protected:
  void SetUp() override {
    path_ = "/tmp/airstore-fault-board-" + std::to_string(getpid());
    const UniqueFd file(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(ftruncate(file.get(), sizeof(FaultBoard)), 0);
    void* memory =
        mmap(nullptr, sizeof(FaultBoard), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ASSERT_NE(memory, MAP_FAILED);
    board_ = static_cast<FaultBoard*>(memory);
    board_->magic = FaultBoard::kMagic;
    board_->points = kFaultPoints;
  }
  void TearDown() override { unlink(path_.c_str()); }

  FaultSlot& slot() { return board_->slots[static_cast<uint32_t>(kPoint)]; }
  void Arm(FaultAction action, uint32_t argument, int64_t skip) {
    slot().action = action;
    slot().argument = argument;
    slot().skip = skip;
    slot().times = 1;
  }
  // The wait status of a child.
  int RunChild(const std::string& board) {
    const std::string variable = "AIRSTORE_FAULT=" + board;
    const char* argv[] = {"/proc/self/exe", kChildTest, "--gtest_also_run_disabled_tests", nullptr};
    const char* envp[] = {variable.c_str(), nullptr};
    pid_t pid = 0;
    EXPECT_EQ(posix_spawn(&pid, argv[0], nullptr, nullptr, const_cast<char**>(argv),
                          const_cast<char**>(envp)),
              0);
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
  }
  const std::string& path() const { return path_; }
  FaultBoard* board() { return board_; }

 private:
  std::string path_;
  FaultBoard* board_ = nullptr;
};

TEST_F(Fault, WithoutABoardNothingHappens) {
  EXPECT_EQ(fault_board, nullptr);
  EXPECT_EQ(Reach(kPoint), 0);
  const int status = RunChild("");
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 10) << status;
}

TEST_F(Fault, ReachedPointsAreCounted) {
  const int status = RunChild(path());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 10) << status;
  EXPECT_EQ(slot().reached, 3u);
  EXPECT_EQ(slot().fired, 0u);
}

TEST_F(Fault, KillsAtTheWantedTime) {
  Arm(FaultAction::kKill, 0, 1);
  const int status = RunChild(path());
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_EQ(slot().reached, 2u);
  EXPECT_EQ(slot().fired, 1u);
  EXPECT_NE(slot().fired_in, 0);
  // Whoever comes after it lives.
  const int next = RunChild(path());
  EXPECT_TRUE(WIFEXITED(next) && WEXITSTATUS(next) == 10) << next;
}

TEST_F(Fault, GivesAnErrorAndDelays) {
  Arm(FaultAction::kError, ENOSPC, 2);
  const int status = RunChild(path());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 100 + ENOSPC) << status;
  Arm(FaultAction::kDelay, 50, 0);
  const int delayed = RunChild(path());
  EXPECT_TRUE(WIFEXITED(delayed) && WEXITSTATUS(delayed) == 10) << delayed;
  EXPECT_EQ(slot().fired, 2u);
}

TEST_F(Fault, ABoardThatIsNoneEndsTheProcess) {
  board()->points = kFaultPoints + 1;
  const int status = RunChild(path());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE) << status;
}

TEST(FaultPoints, NamesAreDistinct) {
  EXPECT_EQ(std::set<std::string>(kFaultPointNames, kFaultPointNames + kFaultPoints).size(),
            kFaultPoints);
}

}  // namespace
}  // namespace airstore
