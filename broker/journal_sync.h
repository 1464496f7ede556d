// SPDX-License-Identifier: Apache-2.0
//
// JournalSync: makes a journal survive the loss of power. Whoever comes while the disk is busy is
// served together by the next round.
//
// Threads: the event loop; the disk is waited for on a worker.
// Fails: errno of fdatasync, from then on for good: what the kernel could not write it may have
// dropped, and a later call would say nothing of it. EMFILE may be tried again.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <string>
#include <utility>

#include "broker/journal.h"
#include "broker/task.h"

namespace airstore::broker {

class JournalSync {
 public:
  // All are borrowed and outlive it. `directory`: of the files that the records speak of; their
  // names are made durable with the records.
  JournalSync(boost::asio::any_io_executor executor, boost::asio::thread_pool* workers,
              Journal* journal, std::string directory = {})
      : workers_(workers), journal_(journal), directory_(std::move(directory)), done_(executor) {}

  // Returns when everything appended before the call is on stable storage.
  Task<Result<void>> Sync();
  uint64_t rounds() const { return rounds_; }
  bool failed() const { return failed_ != 0; }

 private:
  boost::asio::thread_pool* workers_;
  Journal* journal_;
  std::string directory_;
  Event done_;
  bool running_ = false;
  uint64_t synced_ = 1;
  uint64_t rounds_ = 0;
  int failed_ = 0;
};

}  // namespace airstore::broker
