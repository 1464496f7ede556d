// SPDX-License-Identifier: Apache-2.0
//
// Reads on their way to a gateway: in batches, again when they do not arrive, within bounds.
#include "broker/access_collector.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <set>

#include "tests/unit/broker/fake_mount.h"

namespace airstore::broker {
namespace {

// Has nothing but ears.
class Listener final : public GatewayServices {
 public:
  Task<Result<void>> TellReads(std::vector<AccessEvent> reads) override {
    batches.push_back(std::move(reads));
    if (failures_left != 0 && failures_left-- != 0) co_return Error{code, "no"};
    co_return Result<void>{};
  }
  const SourceCost* CostOf(const std::string& path) const override {
    return path == "mail/all/1" ? &cost : nullptr;
  }

  Task<Result<std::vector<ToolInfo>>> ListTools() override { co_return Error{ENOSYS, ""}; }
  Task<Result<std::string>> ToolHelp(std::string) override { co_return Error{ENOSYS, ""}; }
  std::unique_ptr<ToolRun> RunTool(std::string, std::vector<std::string>) override { return {}; }
  Task<Result<std::vector<SourceEntry>>> ListSource(std::string) override {
    co_return Error{ENOSYS, ""};
  }
  Task<Result<SourceEntry>> StatSource(std::string) override { co_return Error{ENOSYS, ""}; }
  Task<Result<std::string>> ReadSource(std::string, uint64_t, uint64_t) override {
    co_return Error{ENOSYS, ""};
  }
  Task<Result<std::vector<SourceEntry>>> ExecuteView(std::string) override {
    co_return Error{ENOSYS, ""};
  }
  Task<Result<void>> CreateView(std::string, std::string, std::string) override {
    co_return Error{ENOSYS, ""};
  }
  Task<Result<std::vector<TaskInfo>>> ListTasks() override { co_return Error{ENOSYS, ""}; }
  Task<Result<TaskInfo>> GetTask(std::string) override { co_return Error{ENOSYS, ""}; }
  Task<Result<std::vector<std::string>>> TaskLogs(std::string) override {
    co_return Error{ENOSYS, ""};
  }
  void Configure(const ServiceSettings&) override {}
  void SetToken(Secret) override {}

  std::vector<std::vector<AccessEvent>> batches;
  int failures_left = 0;
  int code = EAGAIN;
  SourceCost cost;
};

class AccessCollectorTest : public testing::Test {
 protected:
  AccessCollectorTest() {
    mounts_.Add(&mount_);
    collector_.Want(true);
  }
  static Task<std::unordered_map<uint64_t, std::string>> PathsOf(std::unordered_set<uint64_t> of) {
    std::unordered_map<uint64_t, std::string> paths;
    for (const uint64_t inode : of) {
      if (inode < 1000) paths[inode] = "/d/f" + std::to_string(inode);
      if (inode == 2000) paths[inode] = "/Sources/mail/all/1";
    }
    co_return paths;
  }
  void Read(uint64_t inode, size_t times = 1) {
    for (size_t i = 0; i < times; ++i) {
      shm::NotedRead read;
      read.inode = inode;
      read.bytes = 7;
      read.source = shm::ReadSource::kShared;
      mount_.reads.push_back(read);
    }
  }
  void Run() {
    collector_.Noted(true);  // without the two seconds
    loop_.restart();
    loop_.run();
  }

  boost::asio::io_context loop_;
  Tasks tasks_{loop_.get_executor()};
  FakeMount mount_{3};
  MountSet mounts_;
  std::shared_ptr<Listener> gateway_ = std::make_shared<Listener>();
  AccessCollector collector_{loop_.get_executor(), &tasks_, &mounts_, PathsOf, gateway_};
};

TEST_F(AccessCollectorTest, SaysWhatWasReadInBatches) {
  EXPECT_TRUE(mount_.reads_wanted);
  Read(5, 299);
  Read(1001);
  Run();
  ASSERT_EQ(gateway_->batches.size(), 3u);
  EXPECT_EQ(gateway_->batches[0].size(), 128u);
  EXPECT_EQ(gateway_->batches[2].size(), 44u);
  std::set<std::string> ids;
  for (const auto& batch : gateway_->batches) {
    for (const AccessEvent& event : batch) ids.insert(event.id);
  }
  EXPECT_EQ(ids.size(), 300u);
  const AccessEvent& event = gateway_->batches[0][0];
  EXPECT_EQ(event.path, "d/f5");
  EXPECT_EQ(event.cache_source, "shared_cache");
  EXPECT_EQ(event.bytes, 7u);
  EXPECT_EQ(event.mount, "mount-3");
  EXPECT_EQ(event.origin, "fuse");
  EXPECT_TRUE(event.id.starts_with("mount-3-"));
  EXPECT_EQ(gateway_->batches[2].back().path, "inode 1001") << "it has no name any more";
  EXPECT_EQ(collector_.sent(), 300u);
  EXPECT_EQ(collector_.dropped(), 0u);
  EXPECT_EQ(collector_.waiting(), 0u);
}

TEST_F(AccessCollectorTest, SourcesSayWhatTheyCost) {
  gateway_->cost.source_uri = "mail://1";
  Read(2000);
  Run();
  ASSERT_EQ(gateway_->batches.size(), 1u);
  EXPECT_EQ(gateway_->batches[0][0].source.source_uri, "mail://1");
}

TEST_F(AccessCollectorTest, WhatDoesNotArriveIsSentAgainTheSame) {
  gateway_->failures_left = 2;
  Read(5);
  Run();
  ASSERT_EQ(gateway_->batches.size(), 3u);
  EXPECT_EQ(gateway_->batches[0][0].id, gateway_->batches[2][0].id);
  EXPECT_EQ(collector_.sent(), 1u);
  EXPECT_EQ(collector_.dropped(), 0u);
}

TEST_F(AccessCollectorTest, WhatNeverArrivesIsGivenUpAndCounted) {
  gateway_->failures_left = 5;
  gateway_->code = EREMOTEIO;
  Read(5, 130);
  Run();
  EXPECT_EQ(gateway_->batches.size(), 6u) << "five times the first batch, then the next";
  EXPECT_EQ(collector_.dropped(), 128u);
  EXPECT_EQ(collector_.sent(), 2u);
}

TEST_F(AccessCollectorTest, AGatewayThatDoesNotWantToKnowIsLeftAlone) {
  gateway_->failures_left = 1;
  gateway_->code = ENOSYS;
  Read(5, 200);
  Run();
  EXPECT_EQ(gateway_->batches.size(), 1u);
  EXPECT_FALSE(mount_.reads_wanted);
  collector_.Want(true);
  EXPECT_FALSE(collector_.wanted());
}

TEST_F(AccessCollectorTest, WhatFoundNoRoomIsCounted) {
  mount_.reads_left_out = 17;
  Read(5);
  collector_.Opened(mount_, 6);
  Run();
  EXPECT_EQ(collector_.dropped(), 17u);
  ASSERT_EQ(gateway_->batches.size(), 1u);
  ASSERT_EQ(gateway_->batches[0].size(), 2u);
  EXPECT_EQ(gateway_->batches[0][1].cache_source, "passthrough");
  EXPECT_EQ(gateway_->batches[0][1].path, "d/f6");
}

TEST_F(AccessCollectorTest, AMountThatGoesLeavesWhatItHas) {
  Read(5, 3);
  collector_.Leave(&mount_);
  mounts_.Remove(&mount_);
  Run();
  ASSERT_EQ(gateway_->batches.size(), 1u);
  EXPECT_EQ(gateway_->batches[0].size(), 3u);
}

}  // namespace
}  // namespace airstore::broker
