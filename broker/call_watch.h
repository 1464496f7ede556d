// SPDX-License-Identifier: Apache-2.0
//
// CallWatch: nobody waits for ever. Looks from time to time at the calls of one mount that take
// long: one whose caller is being killed is given up at once (else the process could not end), one
// that is older than the limit fails with ETIMEDOUT.
//
// Giving up means that the caller gets an errno now; what runs for it goes on, and what it opened
// is to be closed by whoever ran it (End says so).
// Threads: the event loop. Sleeps while there are no calls.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>

#include "broker/task.h"

namespace airstore::broker {

class CallWatch : public std::enable_shared_from_this<CallWatch> {
 public:
  // Answers the call in that slot with that errno.
  using GiveUp = std::function<void(uint32_t slot, int error)>;

  // `limit_ns`: of a call's age. Made as a shared pointer.
  CallWatch(boost::asio::any_io_executor executor, int64_t limit_ns, GiveUp give_up);

  // A call of the thread `pid` (0: the kernel's own) begins; what to give to End.
  uint64_t Begin(uint32_t slot, uint32_t pid, Tasks* tasks);
  // False: it was given up, the caller has its answer already.
  bool End(uint64_t call);

 private:
  struct Entry {
    uint32_t slot = 0;
    uint32_t pid = 0;
    int64_t begun_ns = 0;
    bool given_up = false;
  };
  Task<void> Look();

  boost::asio::any_io_executor executor_;
  const int64_t limit_ns_;
  const GiveUp give_up_;
  std::unordered_map<uint64_t, Entry> calls_;
  uint64_t next_ = 1;
  bool looking_ = false;
};

// SIGKILL is on its way to that thread, or has reached it: it will never see an answer.
bool IsBeingKilled(uint32_t tid);

}  // namespace airstore::broker
