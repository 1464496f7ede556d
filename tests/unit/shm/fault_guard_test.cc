// SPDX-License-Identifier: Apache-2.0
#include "shm/fault_guard.h"

#include <sys/mman.h>

#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

constexpr size_t kBytes = 8 * 4096;

// A mapped file of the given length, and the descriptor with which somebody may cut it.
struct MappedFile {
  UniqueFd fd{memfd_create("cut", MFD_CLOEXEC)};
  uint8_t* memory;
  MappedFile() {
    EXPECT_EQ(ftruncate(fd.get(), kBytes), 0);
    memory = static_cast<uint8_t*>(
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  }
  ~MappedFile() { munmap(memory, kBytes); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
};

TEST(FaultGuard, CutFileReadsAsZeros) {
  MappedFile file;
  auto guard = FaultGuard::Watch(file.memory, kBytes);
  ASSERT_TRUE(guard.has_value());
  volatile uint8_t* memory = file.memory;
  memory[5000] = 9;
  EXPECT_FALSE(guard->lost());
  ASSERT_EQ(ftruncate(file.fd.get(), 0), 0);
  EXPECT_EQ(memory[5000], 0);
  EXPECT_TRUE(guard->lost());
  memory[0] = 1;
  memory[kBytes - 1] = 2;
  EXPECT_EQ(memory[kBytes - 1], 2);
}

TEST(FaultGuard, OtherRangesAreNotLost) {
  MappedFile first;
  MappedFile second;
  auto first_guard = FaultGuard::Watch(first.memory, kBytes);
  auto second_guard = FaultGuard::Watch(second.memory, kBytes);
  ASSERT_TRUE(first_guard.has_value() && second_guard.has_value());
  volatile uint8_t* memory = second.memory;
  memory[0] = 7;
  ASSERT_EQ(ftruncate(first.fd.get(), 0), 0);
  EXPECT_EQ(*static_cast<volatile uint8_t*>(first.memory), 0);
  EXPECT_TRUE(first_guard->lost());
  EXPECT_FALSE(second_guard->lost());
  EXPECT_EQ(memory[0], 7);
}

TEST(FaultGuard, EntriesAreReused) {
  MappedFile file;
  for (int i = 0; i < 10'000; ++i) {
    auto guard = FaultGuard::Watch(file.memory, kBytes);
    ASSERT_TRUE(guard.has_value());
    EXPECT_FALSE(guard->lost());
  }
}

TEST(FaultGuardDeathTest, FaultElsewhereEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  MappedFile guarded;
  MappedFile other;
  auto guard = FaultGuard::Watch(guarded.memory, kBytes);
  ASSERT_TRUE(guard.has_value());
  ASSERT_EQ(ftruncate(other.fd.get(), 0), 0);
  EXPECT_DEATH(*static_cast<volatile uint8_t*>(other.memory) = 1, "");
}

TEST(FaultGuardLane, TruncatedLaneIsCorruptAndNoFault) {
  TestLane lane;
  lane.producer->QueueForget(1);
  ASSERT_EQ(ftruncate(lane.consumer->lane().fd(), 0), 0);
  LaneConsumer::Item item;
  std::string why;
  EXPECT_EQ(lane.consumer->Pop(&item, &why), LaneConsumer::Next::kCorrupt);
  EXPECT_EQ(why, "file cut short");
  lane.consumer->MarkApplied();
  lane.consumer->Reply(1, RequestReply{});
  lane.consumer->FrontendGone();
  EXPECT_TRUE(lane.consumer->PrepareSleep());
  EXPECT_FALSE(HazardNames(*lane.consumer, HazardKey(0, 4096)));
}

TEST(FaultGuardLane, TruncatedArenaIsCorruptAndNoFault) {
  TestLane lane;
  const std::vector<uint8_t> bytes(5000, 7);
  lane.producer->QueueWrite(1, 0, bytes, 0);
  const auto item = lane.Pop();
  ASSERT_EQ(ftruncate(lane.consumer->arena().fd(), 4096), 0);
  EXPECT_EQ(static_cast<const volatile uint8_t*>(item.data.data())[0], 0);
  LaneConsumer::Item next;
  std::string why;
  EXPECT_EQ(lane.consumer->Pop(&next, &why), LaneConsumer::Next::kCorrupt);
}

}  // namespace
}  // namespace airstore::shm
