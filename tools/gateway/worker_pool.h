// SPDX-License-Identifier: Apache-2.0
//
// Threads for calls that block on disks or on the store's writer, so that gRPC's own few threads
// never do. The queue is unbounded, but what waits in it are calls that gRPC has admitted (bounded
// by connections and their streams).
//
// Threads: Post() from any. The destructor runs what was posted, then joins.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace airstore::gateway {

class WorkerPool {
 public:
  explicit WorkerPool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }
  ~WorkerPool() {
    {
      std::lock_guard lock(mu_);
      ending_ = true;
    }
    posted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Post(std::function<void()> work) {
    {
      std::lock_guard lock(mu_);
      queue_.push_back(std::move(work));
    }
    posted_.notify_one();
  }

 private:
  void Work() {
    std::unique_lock lock(mu_);
    while (true) {
      posted_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
      work = nullptr;  // what it holds ends outside of the lock
      lock.lock();
    }
  }

  std::mutex mu_;
  std::condition_variable posted_;
  std::deque<std::function<void()>> queue_;  // guarded by mu_
  bool ending_ = false;                      // guarded by mu_
  std::vector<std::thread> threads_;
};

}  // namespace airstore::gateway
