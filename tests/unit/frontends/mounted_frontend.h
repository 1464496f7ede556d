// SPDX-License-Identifier: Apache-2.0
//
// The real airstore-fuse process on a real mount, with the fake broker behind it.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "fake_broker.h"
#include "frontends/volume/attach.h"
#include "shm/channel.h"

namespace airstore::testing {

struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
#define AIRSTORE_BACKING_OPEN _IOW(229, 1, BackingMap)

class MountedFrontend : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/airstore-mount-XXXXXX";
    path_ = mkdtemp(pattern);
    device_.reset(open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!device_) GTEST_SKIP() << "no access to /dev/fuse";
    const std::string data = "fd=" + std::to_string(device_.get()) +
                             ",rootmode=40000,user_id=0,group_id=0,allow_other,"
                             "default_permissions";
    if (mount("airstore-test", path_.c_str(), "fuse", MS_NOSUID | MS_NODEV, data.c_str()) != 0) {
      GTEST_SKIP() << "cannot mount: " << strerror(errno);
    }
    mounted_ = true;
    broker_ = std::make_unique<FakeBroker>(volume::VolumeOptions{}, FakeBroker::Frontend::kProcess);
    Start();
  }

  void TearDown() override {
    if (pid_ > 0) kill(pid_, SIGKILL);
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
    device_.reset();
    channel_.reset();
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
    rmdir(path_.c_str());
  }

  void Start() {
    int ends[2];
    ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    channel_.reset(ends[0]);
    const auto begin = std::chrono::steady_clock::now();
    pid_ = fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      if (ends[1] == volume::kChannelFd) {
        fcntl(ends[1], F_SETFD, 0);
      } else {
        dup2(ends[1], volume::kChannelFd);
      }
      execl(AIRSTORE_FUSE_PROGRAM, "airstore-fuse", path_.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    broker_->SendAttach(channel_.get(), device_.get(), shm::kAttachPassthrough);
    const auto received = shm::ReceiveMessage(channel_.get());
    ASSERT_TRUE(received) << received.error().ToString();
    const shm::ChannelMessage& message = (*received).message;
    ASSERT_EQ(static_cast<uint32_t>(shm::ChannelKind::kReady), message.kind)
        << std::string(message.text, message.text_bytes);
    ready_ = std::chrono::steady_clock::now() - begin;
  }

  int ExitStatus() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  std::string Path(const std::string& name) const { return path_ + "/" + name; }

  static std::string ReadAll(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // A broker that creates files and serves what is opened for writing by passthrough from one
  // content file.
  bool CreateWithPassthrough(const shm::Call& call, shm::RequestReply* reply) {
    switch (static_cast<shm::Op>(call.args.op)) {
      case shm::Op::kCreate: {
        shm::InodeRecord record{};
        record.inode = 50;
        record.mode = call.args.mode;
        record.nlink = 1;
        record.known_by = 1;
        record.flags = shm::kPassthroughWriter | shm::kPassthroughOpen;
        reply->inode_index = *broker_->meta().AddInode(record);
        reply->attr = record;
        if (!broker_->meta().AddDentry(call.args.inode, call.name, 50, S_IFREG >> 12)) return false;
        content_.reset(memfd_create("content", MFD_CLOEXEC));
        BackingMap map{content_.get(), 0, 0};
        reply->backing_id = ioctl(device_.get(), AIRSTORE_BACKING_OPEN, &map);
        if (reply->backing_id <= 0) reply->error = errno;
        reply->open_mode = shm::kOpenPassthrough;
        return true;
      }
      case shm::Op::kGetattr: {
        const uint32_t index = broker_->meta().IndexOf(call.args.inode);
        struct stat st {};
        fstat(content_.get(), &st);
        reply->inode_index = index;
        reply->attr = broker_->meta().Inode(index);
        reply->attr.size = static_cast<uint64_t>(st.st_size);
        return true;
      }
      default:
        reply->error = ENOENT;
        return true;
    }
  }

  std::string path_;
  UniqueFd device_;
  UniqueFd channel_;
  UniqueFd content_;
  pid_t pid_ = -1;
  bool mounted_ = false;
  std::chrono::nanoseconds ready_{};
  std::unique_ptr<FakeBroker> broker_;
};

}  // namespace airstore::testing
