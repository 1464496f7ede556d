// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/attach.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

namespace airstore::volume {
namespace {

TEST(Attach, AcceptsItsOwnVersionOnly) {
  EXPECT_EQ("", VersionProblem(shm::kAbiMajor, shm::kAbiMinor));
  EXPECT_NE("", VersionProblem(shm::kAbiMajor, shm::kAbiMinor + 1));
}

TEST(Attach, VersionProblemNamesBoth) {
  const std::string problem = VersionProblem(shm::kAbiMajor + 41, 7);
  EXPECT_NE(std::string::npos, problem.find(std::to_string(shm::kAbiMajor + 41) + ".7"));
  EXPECT_NE(std::string::npos,
            problem.find(std::to_string(shm::kAbiMajor) + "." + std::to_string(shm::kAbiMinor)));
}

class AttachChannel : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    broker_.reset(ends[0]);
    frontend_.reset(ends[1]);
  }
  // As a broker of another build would: SendMessage writes this build's version.
  void SendRaw(const shm::ChannelMessage& message) {
    ASSERT_EQ(static_cast<ssize_t>(sizeof(message)),
              send(broker_.get(), &message, sizeof(message), 0));
  }
  UniqueFd broker_;
  UniqueFd frontend_;
};

TEST_F(AttachChannel, ReportsAnotherVersion) {
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kAttach);
  message.abi_major = shm::kAbiMajor + 1;
  SendRaw(message);
  const auto attached = Attach(frontend_.get());
  ASSERT_FALSE(attached);
  EXPECT_NE(std::string::npos, attached.error().message.find("ABI"));
}

TEST_F(AttachChannel, RefusesAnAttachWithoutDescriptors) {
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kAttach);
  message.abi_major = shm::kAbiMajor;
  message.abi_minor = shm::kAbiMinor;
  SendRaw(message);
  const auto attached = Attach(frontend_.get());
  ASSERT_FALSE(attached);
  EXPECT_EQ(EPROTO, attached.error().code);
}

TEST_F(AttachChannel, FailureTextArrives) {
  ReportFailure(frontend_.get(), std::string(2 * shm::kChannelText, 'x'));
  ReportReady(frontend_.get());
  const auto failed = shm::ReceiveMessage(broker_.get());
  ASSERT_TRUE(failed);
  EXPECT_EQ(static_cast<uint32_t>(shm::ChannelKind::kFailed), (*failed).message.kind);
  EXPECT_EQ(shm::kChannelText - 1, (*failed).message.text_bytes);
  const auto ready = shm::ReceiveMessage(broker_.get());
  ASSERT_TRUE(ready);
  EXPECT_EQ(static_cast<uint32_t>(shm::ChannelKind::kReady), (*ready).message.kind);
}

}  // namespace
}  // namespace airstore::volume
