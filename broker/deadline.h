// SPDX-License-Identifier: Apache-2.0
//
// Before: what a task yields, or ETIMEDOUT when that takes too long. The task goes on, its result
// is thrown away: for questions without an effect.
// Threads: the event loop.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "broker/clock.h"
#include "broker/task.h"
#include "shm/base/result.h"

namespace airstore::broker {

// `deadline_ns`: of MonotonicNs. `tasks` waits for the task at the end, so its owner may not go
// before.
template <typename T>
Task<Result<T>> Before(int64_t deadline_ns, Tasks* tasks, boost::asio::any_io_executor executor,
                       Task<Result<T>> task) {
  struct Shared {
    explicit Shared(const boost::asio::any_io_executor& on) : timer(on) {}
    std::optional<Result<T>> result;
    boost::asio::steady_timer timer;
  };
  const auto shared = std::make_shared<Shared>(executor);
  shared->timer.expires_after(
      std::chrono::nanoseconds(std::max<int64_t>(0, deadline_ns - MonotonicNs())));
  auto run = [](std::shared_ptr<Shared> into, Task<Result<T>> what) -> Task<void> {
    into->result.emplace(co_await std::move(what));
    into->timer.cancel();
  };
  tasks->Spawn(run(shared, std::move(task)));
  boost::system::error_code ignored;
  co_await shared->timer.async_wait(
      boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  if (shared->result) co_return std::move(*shared->result);
  co_return Error{ETIMEDOUT, "the gateway does not answer"};
}

}  // namespace airstore::broker
