// SPDX-License-Identifier: Apache-2.0
//
// What no request waits for and must not be lost, while there is no room for it in the lane.
#include "shm/lane_wait.h"

namespace airstore::shm {

LaneProducer::~LaneProducer() {
  {
    const std::lock_guard lock(later_mutex_);
    ending_.store(true);
  }
  later_changed_.notify_all();
  Interrupt();
  if (later_thread_.joinable()) later_thread_.join();
}

void LaneProducer::Later(Work work) {
  const std::lock_guard lock(later_mutex_);
  later_.push_back(std::move(work));
  if (!later_thread_.joinable()) {
    later_thread_ = std::thread([this] { DoLater(); });
  }
  later_changed_.notify_all();
}

void LaneProducer::DoLater() {
  const Interrupted ending = [this] { return ending_.load(); };
  std::unique_lock lock(later_mutex_);
  for (;;) {
    later_changed_.wait(lock, [&] { return ending() || !later_.empty(); });
    if (ending()) return;
    const Work work = std::move(later_.front());
    later_.pop_front();
    lock.unlock();
    work(ending, Waiting(this, Waiting::kEndless));
    lock.lock();
  }
}

}  // namespace airstore::shm
