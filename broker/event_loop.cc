// SPDX-License-Identifier: Apache-2.0
#include "broker/event_loop.h"

#include <chrono>
#include <thread>

namespace airstore::broker {
namespace {

using Clock = std::chrono::steady_clock;

// About what a wake takes in a virtual machine: to look for longer can cost more than it saves.
constexpr auto kLook = std::chrono::microseconds(30);

}  // namespace

void RunEventLoop(boost::asio::io_context* loop) {
  // Alone on a processor, to look would only keep the caller from running.
  if (std::thread::hardware_concurrency() < 2) {
    loop->run();
    return;
  }
  while (loop->run_one() != 0) {
    auto until = Clock::now() + kLook;
    while (Clock::now() < until) {
      if (loop->poll() != 0) until = Clock::now() + kLook;
    }
  }
}

}  // namespace airstore::broker
