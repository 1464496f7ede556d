// SPDX-License-Identifier: Apache-2.0
//
// Copies of ranges when a broker dies in one, and when the blocks that a copy refers to have gone
// before it arrives.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <future>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/other_broker.h"
#include "tests/fault/switchboard.h"

namespace airstore::fault {
namespace {

using std::chrono::seconds;

constexpr size_t kBytes = 8u << 20;

size_t CopyAll(int from, int to) {
  off64_t in = 0;
  off64_t out = 0;
  while (copy_file_range(from, &in, to, &out, kBytes, 0) > 0) {
  }
  return static_cast<size_t>(out);
}

class Copying : public e2e::MountTest {
 protected:
  e2e::HostOptions Options() const override {
    return {.gateway_arguments = {"--session-seconds", "15", "--gc-grace", "1"},
            .environment = {{"AIRSTORE_FAULT", board_.path()}},
            .block_files = true};
  }
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    e2e::WriteFile(At("source"), content_);
    source_ = e2e::Open(At("source"), O_RDWR);
    ASSERT_EQ(fsync(source_.get()), 0);
    target_ = e2e::Open(At("target"), O_RDWR | O_CREAT);
  }
  bool WaitForFault(FaultPoint point) {
    return e2e::WaitUntil(seconds(10), [&] { return board_.fired(point) != 0; });
  }

  const std::string content_ = e2e::RandomBytes(1, kBytes);
  Switchboard board_;
  UniqueFd source_;
  UniqueFd target_;
};

TEST_F(Copying, GoesOnWithTheNextBroker) {
  board_.Arm(FaultPoint::kContentCopying, FaultAction::kKill, 0, 3, 1);
  auto copied =
      std::async(std::launch::async, [&] { return CopyAll(source_.get(), target_.get()); });
  ASSERT_TRUE(WaitForFault(FaultPoint::kContentCopying));
  ASSERT_TRUE(e2e::WaitUntil(seconds(5), [&] { return !host().BrokerRuns(); }));
  EXPECT_EQ(copied.wait_for(seconds(0)), std::future_status::timeout) << "it was in the middle";
  host().KillBroker();
  host().StartBroker();
  EXPECT_EQ(copied.get(), kBytes);
  EXPECT_TRUE(e2e::ReadSome(target_.get(), kBytes + 1, 0) == content_);
  source_.reset();
  target_.reset();
  RemountFresh();
  EXPECT_TRUE(e2e::ReadFile(At("target")) == content_);
  EXPECT_TRUE(e2e::ReadFile(At("source")) == content_);
}

TEST_F(Copying, IsSentWhenTheSourcesBlocksHaveGone) {
  e2e::OtherBroker other(host());
  const std::string there = other.Mount("work", "there");
  EXPECT_TRUE(e2e::ReadFile(there + "/source") == content_);
  EXPECT_EQ(fsync(target_.get()), 0);
  const auto uploaded = [&] {
    return host().SessionStatus("work").at("uploaded_bytes").get<uint64_t>();
  };
  const uint64_t before = uploaded();
  // Stopped when what the copy refers to is known, and not sent yet.
  board_.Arm(FaultPoint::kLogBeforeNumber, FaultAction::kStop, 0, 0, 1);
  auto synced = std::async(std::launch::async, [&] {
    return CopyAll(source_.get(), target_.get()) == kBytes ? fsync(target_.get()) : -1;
  });
  ASSERT_TRUE(WaitForFault(FaultPoint::kLogBeforeNumber));
  EXPECT_EQ(truncate((there + "/source").c_str(), 0), 0);
  const auto blocks = [&] {
    size_t files = 0;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(host().Path("gateway/blocks"))) {
      if (entry.is_regular_file() && entry.path().filename().string().size() == 32) ++files;
    }
    return files;
  };
  EXPECT_TRUE(e2e::WaitUntil(seconds(10), [&] { return blocks() == 0; }));
  host().broker().Signal(SIGCONT);
  EXPECT_EQ(synced.get(), 0);
  EXPECT_GE(uploaded() - before, kBytes) << "it was sent for want of the blocks";
  source_.reset();
  target_.reset();
  EXPECT_TRUE(e2e::ReadFile(there + "/target") == content_);
  RemountFresh();
  EXPECT_TRUE(e2e::ReadFile(At("target")) == content_);
  EXPECT_EQ(e2e::ReadFile(At("source")), "");
}

}  // namespace
}  // namespace airstore::fault
