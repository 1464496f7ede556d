// SPDX-License-Identifier: Apache-2.0
//
// Backoff: growing, jittered pauses between tries.
// Threads: the event loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <random>

#include "broker/task.h"

namespace airstore::broker {

class Backoff {
 public:
  explicit Backoff(std::chrono::milliseconds longest = std::chrono::seconds(5))
      : longest_(longest) {}

  Task<void> Wait(const boost::asio::any_io_executor& executor) {
    std::uniform_int_distribution<int64_t> jitter(pause_.count() / 2, pause_.count());
    boost::asio::steady_timer timer(executor, std::chrono::milliseconds(jitter(random_)));
    pause_ = std::min(pause_ * 2, longest_);
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }

 private:
  static constexpr std::chrono::milliseconds kShortest{50};
  std::chrono::milliseconds longest_;
  std::chrono::milliseconds pause_ = kShortest;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace airstore::broker
