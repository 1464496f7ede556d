// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/resent_requests.h"

namespace airstore::fuse {

std::unique_lock<std::mutex> ResentRequests::Turn() {
  std::unique_lock turn(turn_, std::defer_lock);
  if (all_seen_.load(std::memory_order_acquire)) return turn;
  turn.lock();
  if (all_seen_.load(std::memory_order_acquire)) turn.unlock();
  return turn;
}

void ResentRequests::Seen(bool resent) {
  if (resent) {
    unanswered_.fetch_add(1, std::memory_order_seq_cst);
  } else if (!all_seen_.exchange(true, std::memory_order_seq_cst) &&
             unanswered_.load(std::memory_order_seq_cst) == 0) {
    all_done_();
  }
}

// Either this sees that all have come, or Seen sees that none is left.
void ResentRequests::Answered(bool resent) {
  if (resent && unanswered_.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
      all_seen_.load(std::memory_order_seq_cst)) {
    all_done_();
  }
}

}  // namespace airstore::fuse
