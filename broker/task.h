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

// Tasks that belong to an owner, who waits for them before it goes away: a task that is suspended
// keeps using its owner when it resumes.
class Tasks {
 public:
  explicit Tasks(const boost::asio::any_io_executor& executor)
      : executor_(executor), idle_(executor) {}

  void Spawn(Task<void> task) {
    ++running_;
    broker::Spawn(executor_, Count(this, std::move(task)));
  }
  Task<void> Join() {
    while (running_ != 0) co_await idle_.Wait();
  }

 private:
  static Task<void> Count(Tasks* tasks, Task<void> task) {
    co_await std::move(task);
    if (--tasks->running_ == 0) tasks->idle_.NotifyAll();
  }

  boost::asio::any_io_executor executor_;
  Event idle_;
  size_t running_ = 0;
};

}  // namespace airstore::broker

// AIRSTORE_TRY for coroutines.
#define AIRSTORE_TRY_CO(expr)                           \
  do {                                                  \
    if (auto try_result_ = (expr); !try_result_) {      \
      co_return ::airstore::Error(try_result_.error()); \
    }                                                   \
  } while (0)
