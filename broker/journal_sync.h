// SPDX-License-Identifier: Apache-2.0
//
// JournalSync: makes a journal survive the loss of power. Whoever comes while the disk is busy is
// served together by the next round.
//
// Threads: the event loop; the disk is waited for on a worker.
// Fails: errno of fdatasync; it may be tried again.
#pragma once

#include <boost/asio/thread_pool.hpp>

#include "broker/journal.h"
#include "broker/task.h"

namespace airstore::broker {

class JournalSync {
 public:
  // All are borrowed and outlive it.
  JournalSync(boost::asio::any_io_executor executor, boost::asio::thread_pool* workers,
              Journal* journal)
      : workers_(workers), journal_(journal), done_(executor) {}

  // Returns when everything appended before the call is on stable storage.
  Task<Result<void>> Sync();
  uint64_t rounds() const { return rounds_; }

 private:
  boost::asio::thread_pool* workers_;
  Journal* journal_;
  Event done_;
  bool running_ = false;
  uint64_t synced_ = 1;
  uint64_t rounds_ = 0;
};

}  // namespace airstore::broker
