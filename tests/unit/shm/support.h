// SPDX-License-Identifier: Apache-2.0
//
// What the shm tests share: a session, a directory for spool files, a lane with both its sides.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "shm/lane.h"

namespace airstore::shm {

inline SessionId TestSession(uint8_t first = 1) {
  SessionId session{};
  session[0] = first;
  return session;
}

// A directory that goes away with its contents.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "airstore-shm-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string Path(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Both sides of one lane in one process, over one mapping: so ThreadSanitizer sees how they order
// each other's accesses, which it does by address.
struct TestLane {
  static constexpr uint32_t kMount = 3;
  static constexpr uint32_t kUses = 1024;

  TempDir directory;
  UniqueFd wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::unique_ptr<LaneConsumer> consumer;
  std::unique_ptr<LaneProducer> producer;

  TestLane() {
    auto made = LaneConsumer::Create(TestSession(), kMount, kUses, directory.Path("lane"),
                                     directory.Path("arena"));
    EXPECT_TRUE(made.has_value()) << made.error().ToString();
    consumer = std::move(*made);
    AttachProducer();
  }

  void AttachProducer() {
    producer.reset();
    auto attached = LaneProducer::Attach(std::move(*consumer->lane().Alias()),
                                         std::move(*consumer->arena().Alias()), wake.get());
    EXPECT_TRUE(attached.has_value()) << attached.error().ToString();
    producer = std::move(*attached);
  }

  LaneLayout* layout() const { return consumer->lane().At<LaneLayout>(0); }

  // REQUIRES: there is a record.
  LaneConsumer::Item Pop() {
    LaneConsumer::Item item;
    std::string why;
    EXPECT_EQ(consumer->Pop(&item, &why), LaneConsumer::Next::kItem) << why;
    return item;
  }
};

inline bool HazardNames(const LaneConsumer& consumer, uint64_t key) {
  std::vector<uint64_t> keys;
  consumer.AddHazards(&keys);
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// A broker's thread: serves the lane, sleeps on its eventfd when there is nothing to do.
class ServingThread {
 public:
  using Handler = std::function<void(LaneConsumer&, const LaneConsumer::Item&)>;

  ServingThread(TestLane* lane, Handler handler)
      : lane_(lane), handler_(std::move(handler)), thread_([this] { Run(); }) {}
  ~ServingThread() {
    stop_.store(true);
    const uint64_t one = 1;
    EXPECT_EQ(write(lane_->wake.get(), &one, sizeof(one)), ssize_t{sizeof(one)});
    thread_.join();
  }
  ServingThread(const ServingThread&) = delete;
  ServingThread& operator=(const ServingThread&) = delete;

 private:
  void Run() {
    LaneConsumer& consumer = *lane_->consumer;
    LaneConsumer::Item item;
    std::string why;
    for (;;) {
      LaneConsumer::Next next;
      while ((next = consumer.Pop(&item, &why)) == LaneConsumer::Next::kItem) {
        handler_(consumer, item);
      }
      ASSERT_EQ(next, LaneConsumer::Next::kEmpty) << why;
      consumer.MarkApplied();
      if (stop_.load()) return;
      if (!consumer.PrepareSleep()) continue;
      pollfd waits{lane_->wake.get(), POLLIN, 0};
      poll(&waits, 1, -1);
      uint64_t count;
      [[maybe_unused]] const ssize_t got = read(lane_->wake.get(), &count, sizeof(count));
      consumer.Awake();
    }
  }

  TestLane* lane_;
  Handler handler_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

inline RequestArgs ArgsOf(Op op, uint64_t inode = kRootInode) {
  RequestArgs args{};
  args.op = static_cast<uint32_t>(op);
  args.inode = inode;
  return args;
}

}  // namespace airstore::shm
