// SPDX-License-Identifier: Apache-2.0
//
// Aging: a v1 gateway does not tell what others change, so what it said is believed for a while
// only. This notes what was told to the session, and when that while is over becomes the event that
// has it asked for again, should anybody still want it. While nothing is asked nothing happens.
//
// Threads: the event loop.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <unordered_set>

#include "broker/gateway.h"

namespace airstore::broker::v1 {

class Aging {
 public:
  Aging(boost::asio::any_io_executor executor, std::chrono::milliseconds age);

  void NoteInode(uint64_t inode) { Current().inodes.insert(inode); }
  void NoteNamesOf(uint64_t directory) { Current().directories.insert(directory); }

  // Events come to the newest stream only. It must not outlive this.
  std::unique_ptr<WatchStream> Watch();

 private:
  using Clock = std::chrono::steady_clock;
  struct Batch {
    Clock::time_point begun;
    std::unordered_set<uint64_t> inodes;
    std::unordered_set<uint64_t> directories;
  };
  class Stream;

  Batch& Current();

  const std::chrono::milliseconds age_;
  std::deque<Batch> batches_;
  uint64_t cursor_ = 0;
  boost::asio::steady_timer timer_;
};

}  // namespace airstore::broker::v1
