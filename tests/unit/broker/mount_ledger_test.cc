// SPDX-License-Identifier: Apache-2.0
#include "broker/mount_ledger.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "shm/layout.h"
#include "temp_dir.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kInodes = 1u << 16;

class Ledger : public testing::Test {
 protected:
  std::unique_ptr<MountLedger> Create() { return std::move(*MountLedger::Create(path(), kInodes)); }
  // As the next broker finds it: nothing is done for it when the last one dies.
  std::unique_ptr<MountLedger> Adopt() { return std::move(*MountLedger::Adopt(path(), kInodes)); }
  std::string path() const { return directory_ / "ledger-0"; }

 private:
  TempDir directory_;
};

TEST_F(Ledger, OutlivesItsBroker) {
  {
    auto ledger = Create();
    ledger->Handled(10);
    ledger->Opened(11, 5, shm::kOpenPassthrough | shm::kOpenForWrite, 77);
    ledger->Opened(12, 5, shm::kOpenPassthrough, 77);
    ledger->Opened(13, kInodes - 1, shm::kOpenCached, 0);
    ledger->Released(14, 5, shm::kOpenPassthrough | shm::kOpenForWrite);
    ledger->AddBacking(77);
    ledger->AddBacking(78);
    ledger->RemoveBacking(78);
    ledger->AddBacking(79);
  }
  const auto ledger = Adopt();
  EXPECT_EQ(ledger->handled(), 14u);
  EXPECT_EQ(ledger->last_opened(), 13u);
  const auto all = ledger->AllOpens();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].first, 5u);
  EXPECT_EQ(all[0].second.passthrough, 1u);
  EXPECT_EQ(all[0].second.passthrough_writers, 0u);
  EXPECT_EQ(all[0].second.backing_id, 77);
  EXPECT_EQ(all[1].first, kInodes - 1);
  EXPECT_EQ(all[1].second.daemon, 1u);
  EXPECT_EQ(ledger->IdleBackings(), std::vector<int32_t>{79});
}

TEST_F(Ledger, AnOpenThatWasNotAnsweredIsTakenBack) {
  Create()->Opened(3, 8, shm::kOpenCached | shm::kOpenForWrite, 0);
  const auto ledger = Adopt();
  ledger->TakeBackLastOpened();
  EXPECT_TRUE(ledger->AllOpens().empty());
  EXPECT_EQ(ledger->OpensOf(8).daemon_writers, 0u);
  ledger->TakeBackLastOpened();  // once
  EXPECT_TRUE(ledger->AllOpens().empty());
}

TEST_F(Ledger, AReleaseOfWhatIsNotOpenChangesNothing) {
  auto ledger = Create();
  ledger->Released(1, 9, shm::kOpenPassthrough | shm::kOpenForWrite);
  ledger->Released(2, shm::kNoIndex, shm::kOpenCached);
  ledger->Released(3, kInodes, shm::kOpenCached);
  EXPECT_EQ(ledger->handled(), 3u);
  EXPECT_TRUE(ledger->AllOpens().empty());
}

// It may be as large as the table; on the disk it is as large as what was opened.
TEST_F(Ledger, TakesSpaceForWhatIsUsed) {
  constexpr size_t kOfFileSystem = 16u << 10;  // for its own records
  const auto on_disk = [&] {
    struct stat info {};
    EXPECT_EQ(stat(path().c_str(), &info), 0);
    return static_cast<size_t>(info.st_blocks) * 512;
  };
  auto ledger = Create();
  EXPECT_LE(on_disk(), 128u << 10);
  for (uint32_t index = 0; index < kInodes; index += kInodes / 4) {
    ASSERT_TRUE(ledger->Admit(index));
    ledger->Opened(index + 1, index, shm::kOpenCached, 0);
  }
  for (int32_t id = 1; id < 1000; ++id) ledger->AddBacking(id);
  EXPECT_GE(ledger->bytes() + kOfFileSystem, on_disk());
  EXPECT_LE(on_disk(), 512u << 10);
  const size_t bytes = ledger->bytes();
  ledger.reset();
  const auto next = Adopt();
  EXPECT_EQ(next->AllOpens().size(), 4u);
  EXPECT_EQ(next->IdleBackings().size(), 999u);
  EXPECT_LE(next->bytes(), bytes);
  EXPECT_GE(next->bytes() + kOfFileSystem, on_disk());
  next->Released(1'000'000, 0, shm::kOpenCached);
  EXPECT_EQ(next->AllOpens().size(), 3u);
}

TEST_F(Ledger, OfAnotherTableIsRefused) {
  Create();
  EXPECT_FALSE(MountLedger::Adopt(path(), kInodes / 2));
  std::filesystem::resize_file(path(), 100);
  EXPECT_FALSE(MountLedger::Adopt(path(), kInodes));
  std::filesystem::remove(path());
  EXPECT_EQ(MountLedger::Adopt(path(), kInodes).error().code, ENOENT);
}

}  // namespace
}  // namespace airstore::broker
