// SPDX-License-Identifier: Apache-2.0
//
// What lanes of a dead session bring to its files: what was queued, and nothing twice.
#include "broker/lane_replay.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <fstream>

#include "broker/mount_ledger.h"
#include "run_task.h"
#include "shm/lane.h"
#include "temp_dir.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kMount = 1;
constexpr uint64_t kInode = 20;
constexpr uint32_t kUses = 1024;

class Replay : public testing::Test {
 protected:
  Replay() {
    AttachedRecord attached;
    attached.inode = kInode;
    attached.file = 7;
    attached.dirty = true;
    contents_.Attach(attached);
    spool_.Write("7", "........");
  }
  std::string Spool(const std::string& kind) const {
    return spool_ / (kind + "-" + std::to_string(kMount));
  }
  std::string Content() const {
    std::ifstream file(spool_ / "7");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Both writes are queued; the broker dies when it has carried out the first one, and has not said
  // so in the lane, because siblings had not forgotten what was there before.
  void Die(bool with_ledger) {
    const UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    auto lane = shm::LaneConsumer::Create({}, kMount, kUses, Spool("lane"), Spool("arena"), 1000);
    ASSERT_TRUE(lane) << lane.error().ToString();
    auto producer = shm::LaneProducer::Attach(std::move(*(*lane)->lane().Alias()),
                                              std::move(*(*lane)->arena().Alias()), wake.get());
    ASSERT_TRUE(producer) << producer.error().ToString();
    const auto write = [&](uint64_t offset, std::string_view text) {
      const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
      ASSERT_TRUE((*producer)->QueueWrite(kInode, offset, bytes, 0));
    };
    write(0, "old");
    write(4, "late");
    shm::LaneConsumer::Item item;
    std::string why;
    ASSERT_EQ((*lane)->Pop(&item, &why), shm::LaneConsumer::Next::kItem) << why;
    (*lane)->MarkTaken();
    if (!with_ledger) return;
    auto ledger = MountLedger::Create(Spool("ledger"), kUses);
    ASSERT_TRUE(ledger) << ledger.error().ToString();
    (*ledger)->Handled((*lane)->popped());
  }
  void ReplayAll() {
    boost::asio::io_context loop;
    bool unread = false;
    const auto done = RunTask(loop, ReplayLanes(loop.get_executor(), spool_.path(), spool_.path(),
                                                {}, contents_, &unread));
    EXPECT_TRUE(done) << done.error().ToString();
    EXPECT_FALSE(unread);
  }

  TempDir spool_;
  ContentTable contents_;
};

TEST_F(Replay, WritesWhatIsQueued) {
  Die(false);
  ReplayAll();
  EXPECT_EQ(Content(), "old.late");
}

// Another mount has written over it since, and been told that it was done.
TEST_F(Replay, DoesNotWriteAgainWhatWasWritten) {
  Die(true);
  spool_.Write("7", "new.....");
  ReplayAll();
  EXPECT_EQ(Content(), "new.late");
}

TEST_F(Replay, DoesNotEitherWhileOthersGoOn) {
  Die(true);
  spool_.Write("7", "new.....");
  EXPECT_TRUE(ReplayOtherLanes(spool_.path(), spool_.path(), {}, contents_, {}));
  EXPECT_EQ(Content(), "new.late");
  EXPECT_FALSE(std::filesystem::exists(Spool("lane")));
}

}  // namespace
}  // namespace airstore::broker
