// SPDX-License-Identifier: Apache-2.0
//
// Task<T>: a coroutine of the broker's event loop.
//
// Everything that changes the broker's state runs on the one thread that runs the io_context;
// a co_await is the only place where something else may run in between.
#pragma once

// Boost 1.74 uses std::exchange without including it: <utility> must come first.
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

namespace airstore::broker {

template <typename T>
using Task = boost::asio::awaitable<T>;

// Runs a task on its own. An exception that leaves it is a bug and ends the process.
template <typename Executor>
void Spawn(const Executor& executor, Task<void> task) {
  boost::asio::co_spawn(executor, std::move(task), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
}

// One-shot or repeated wake-up of coroutines on the loop: Wait() returns after the next
// NotifyAll().
class Event {
 public:
  explicit Event(const boost::asio::any_io_executor& executor)
      : timer_(executor, boost::asio::steady_timer::time_point::max()) {}

  Task<void> Wait() {
    boost::system::error_code ignored;
    co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }
  void NotifyAll() { timer_.cancel(); }

 private:
  boost::asio::steady_timer timer_;
};

}  // namespace airstore::broker
