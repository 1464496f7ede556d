// SPDX-License-Identifier: Apache-2.0
//
// Runs one coroutine on a loop of its own thread and waits for what it returns.
#pragma once

#include "broker/task.h"

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>

namespace airstore::broker {

template <typename T>
Task<void> Store(Task<T> task, std::optional<T>* to) {
  *to = co_await std::move(task);
}

template <typename T>
T RunTask(boost::asio::io_context& loop, Task<T> task) {
  std::optional<T> result;
  Spawn(loop.get_executor(), Store(std::move(task), &result));
  loop.restart();
  loop.run();
  return std::move(*result);
}

}  // namespace airstore::broker
