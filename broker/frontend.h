// SPDX-License-Identifier: Apache-2.0
//
// Frontend: the process that serves a mount, from its launch to its end; after that the next one.
//
// Threads: the event loop.
// Owns: the process and our end of its channel. REQUIRES: outlives its tasks.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <memory>
#include <vector>

#include "broker/launcher.h"
#include "broker/task.h"
#include "shm/channel.h"
#include "shm/segment.h"

namespace airstore::broker {

class Frontend {
 public:
  explicit Frontend(boost::asio::any_io_executor executor);

  // Launches a process and sends it its first message, with these descriptors.
  // REQUIRES: none is running. Fails: without a process.
  Result<void> Start(const LaunchOptions& options, shm::ChannelMessage attach,
                     const std::vector<int>& fds);
  // Goes on with a process that has outlived its broker: not our child, so how it ends is not
  // known.
  void Adopt(FrontendProcess process);
  // Returns when it serves. A process that does not in time, or says that it cannot, is killed.
  Task<Result<void>> AwaitReady();
  // Returns when it has ended. By one task at a time.
  Task<ProcessEnd> AwaitEnd();
  void Kill();
  // Ends it, unless it hangs.
  void CloseChannel();

  // These two never wait: what finds no room in the channel is sent when there is.
  Result<void> SendSlab(const shm::Segment& segment);
  // It need not be mapped any longer.
  Result<void> SendSlabEnded(uint32_t index);
  // A read-only descriptor of a content file. ENOBUFS: it has asked for many, and takes none.
  Result<void> SendContent(uint64_t id, int file);

  bool running() const { return running_; }
  pid_t pid() const { return process_.pid; }  // of the last one

 private:
  struct Unsent {
    shm::ChannelMessage message;
    UniqueFd fd;
  };
  Task<Result<void>> AwaitGreeting();
  Result<void> Send(const shm::ChannelMessage& message, UniqueFd fd);
  void SendUnsent();

  boost::asio::any_io_executor executor_;
  FrontendProcess process_;
  boost::asio::posix::stream_descriptor end_;  // readable when it has ended
  bool running_ = false;
  std::deque<Unsent> unsent_;                   // in the order of sending
  boost::asio::posix::stream_descriptor room_;  // our end of the channel, while it is waited for
  std::shared_ptr<Frontend*> self_ = std::make_shared<Frontend*>(this);
};

}  // namespace airstore::broker
