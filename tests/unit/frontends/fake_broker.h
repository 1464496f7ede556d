// SPDX-License-Identifier: Apache-2.0
//
// FakeBroker: a test double for the broker process, made of the real shared-memory writers.
//
// One thread consumes the lane, as in the broker, and is the only writer of the tables: tests
// change them through Do(). Calls are answered by a handler that the test may replace.
// Threads: the consumer's own; Do and the handler run on it.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "frontends/volume/volume.h"
#include "shm/lane.h"
#include "shm/meta_table.h"
#include "shm/slab.h"

namespace airstore::testing {

// A request that nobody interrupts, unless told so.
class PlainRequest final : public volume::Request {
 public:
  volume::Caller caller() const override { return {1, 1000, 1000, 42}; }
  bool Interrupted() override { return interrupted.load(); }
  void StartWait() override { ++waits; }
  void EndWait() override {}

  std::atomic<bool> interrupted{false};
  std::atomic<int> waits{0};
};

class FakeBroker {
 public:
  enum class Frontend { kHere, kProcess };

  // A directory of its own for lane and arena files. kHere: with a volume in this process.
  explicit FakeBroker(volume::VolumeOptions options = {}, Frontend frontend = Frontend::kHere);
  ~FakeBroker();

  volume::Volume& volume() { return *volume_; }

  // For a frontend in a process: the attach message; slabs follow over the same channel.
  void SendAttach(int channel, int device, uint32_t flags);

  const shm::SessionId& session() const { return options_.session; }
  // Where that frontend listens.
  sockaddr_un NextBrokerAddress() const;
  // As if killed; the channel is the test's to close.
  void Die();
  // The next broker: adopts all that the dead one left, as the frontend's greeting on `socket`
  // says, and asks it to attach again. Empty, or why it does not.
  std::string Succeed(int socket);

  // Runs on the broker's thread and waits for it.
  void Do(const std::function<void()>& work);
  // Answers a call; false: leave it unanswered.
  using Handler = std::function<bool(const shm::Call& call, shm::RequestReply* reply)>;
  void OnCall(Handler handler);

  // Only within Do or a handler.
  shm::MetaWriter& meta() { return *meta_; }
  shm::SlabPool& slabs() { return *slabs_; }
  shm::LaneConsumer& lane() { return *lane_; }

  // ---- for tests, any thread
  uint32_t AddFile(uint64_t inode, uint64_t parent, const std::string& name);
  uint32_t AddDirectory(uint64_t inode, uint64_t parent, const std::string& name);
  // Gives the file content in a slab and frees what it had there before.
  void SetContent(uint64_t inode, const std::string& content);
  void Change(uint64_t inode, const std::function<void(shm::InodeRecord*)>& change);
  shm::InodeRecord Record(uint64_t inode);
  uint32_t Index(uint64_t inode);
  uint64_t Popped() const { return popped_.load(); }
  uint64_t CallsOf(shm::Op op);
  uint64_t Counter(uint32_t counter);
  std::vector<shm::LaneConsumer::Item> Items();  // other than calls, without their data

  // Of writes, as applied.
  std::string Written(uint64_t inode);
  void HoldBack(bool hold) { hold_ = hold; }  // records are popped but not applied

 private:
  uint32_t AddNamed(uint64_t inode, uint64_t parent, const std::string& name, uint8_t type);
  void OnSegment(const shm::Segment& segment);
  void Run();
  void Consume();
  void Handle(const shm::LaneConsumer::Item& item);
  bool Answer(const shm::Call& call, shm::RequestReply* reply);
  void Wake();
  void MakeSlabs();

  volume::VolumeOptions options_;
  std::string directory_;
  int wake_ = -1;
  int channel_ = -1;  // of a frontend in a process; the test's
  std::unique_ptr<shm::MetaWriter> meta_;
  std::unique_ptr<shm::SlabPool> slabs_;
  std::unique_ptr<shm::LaneConsumer> lane_;
  std::unique_ptr<volume::Volume> volume_;

  std::mutex mutex_;
  std::condition_variable done_;
  std::deque<const std::function<void()>*> work_;  // guarded by mutex_
  uint64_t work_done_ = 0;                         // guarded by mutex_
  uint64_t work_given_ = 0;                        // guarded by mutex_
  Handler handler_;                                // guarded by mutex_
  std::map<shm::Op, uint64_t> calls_;              // guarded by mutex_
  std::vector<shm::LaneConsumer::Item> items_;     // guarded by mutex_
  std::map<uint64_t, std::string> written_;        // guarded by mutex_

  std::atomic<uint64_t> popped_{0};
  std::atomic<bool> hold_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Collects a read.
class StringSink final : public volume::ReadSink {
 public:
  void Deliver(const iovec* parts, int count) override;
  std::string bytes;
  int deliveries = 0;
};

}  // namespace airstore::testing
