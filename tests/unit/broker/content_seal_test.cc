// SPDX-License-Identifier: Apache-2.0
#include "broker/content_seal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include "shm/base/fd.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

class PendingSealTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!SealContentFile(path_)) GTEST_SKIP() << "files cannot be made immutable here";
    UnsealContentFile(path_);
  }
  void TearDown() override { UnsealContentFile(path_); }
  int ErrnoOfWriting() const { return write(file_.get(), "x", 1) == 1 ? 0 : errno; }

  TempDir temp_;
  const std::string path_ = temp_ / "file";
  const UniqueFd file_{open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
};

TEST_F(PendingSealTest, StopsWhoHasTheFileOpenUntilItIsCalledOff) {
  PendingSeal seal(path_);
  EXPECT_FALSE(seal.sealed());
  EXPECT_EQ(ErrnoOfWriting(), 0);
  EXPECT_TRUE(seal.Run());
  EXPECT_TRUE(seal.sealed() && seal.idle());
  EXPECT_EQ(ErrnoOfWriting(), EPERM);
  seal.CallOff();
  EXPECT_EQ(ErrnoOfWriting(), 0);
}

TEST_F(PendingSealTest, WhatIsCalledOffBeforehandSealsNothing) {
  PendingSeal seal(path_);
  seal.CallOff();
  EXPECT_TRUE(seal.Run());
  EXPECT_FALSE(seal.sealed());
  EXPECT_EQ(ErrnoOfWriting(), 0);
}

TEST_F(PendingSealTest, WhoMustNotWaitCallsOffWhatIsNotUnderWay) {
  PendingSeal seal(path_);
  ASSERT_TRUE(seal.Run());
  EXPECT_TRUE(seal.TryCallOff());
  EXPECT_EQ(ErrnoOfWriting(), 0);
  // Of many megabytes that the disk has not: it takes a while.
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 256; ++i) ASSERT_GT(write(file_.get(), piece.data(), piece.size()), 0);
  PendingSeal slow(path_);
  std::thread sealing([&] { slow.Run(); });
  while (slow.idle() && !slow.sealed()) std::this_thread::yield();
  const bool waited_for = slow.TryCallOff();
  const bool done = slow.sealed();
  sealing.join();
  EXPECT_TRUE(done || !waited_for);
  EXPECT_TRUE(slow.TryCallOff());
  EXPECT_EQ(ErrnoOfWriting(), 0);
}

TEST_F(PendingSealTest, WhatIsNotThereCannotBeSealed) {
  EXPECT_FALSE(PendingSeal(temp_ / "other").Run());
}

}  // namespace
}  // namespace airstore::broker
