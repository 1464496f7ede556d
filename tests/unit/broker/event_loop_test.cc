// SPDX-License-Identifier: Apache-2.0
#include "broker/event_loop.h"

#include <gtest/gtest.h>
#include <time.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>

namespace airstore::broker {
namespace {

using std::chrono::milliseconds;

std::chrono::nanoseconds CpuOfThisThread() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

TEST(EventLoop, EndsWhenOutOfWork) {
  boost::asio::io_context loop(1);
  int ran = 0;
  boost::asio::post(loop, [&] { boost::asio::post(loop, [&] { ran += 1; }); });
  boost::asio::steady_timer timer(loop, milliseconds(5));
  timer.async_wait([&](const boost::system::error_code& error) { ran += error ? 0 : 10; });
  RunEventLoop(&loop);
  EXPECT_EQ(ran, 11);
}

TEST(EventLoop, StopLeavesTheRest) {
  boost::asio::io_context loop(1);
  bool stopped_too_late = false;
  boost::asio::post(loop, [&] {
    loop.stop();
    boost::asio::post(loop, [&] { stopped_too_late = true; });
  });
  const auto guard = boost::asio::make_work_guard(loop);
  RunEventLoop(&loop);
  EXPECT_FALSE(stopped_too_late);
}

TEST(EventLoop, SleepsWhenNothingHappensAndIsWokenFromOutside) {
  boost::asio::io_context loop(1);
  const auto guard = boost::asio::make_work_guard(loop);
  boost::asio::post(loop, [] {});
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(500));
    boost::asio::post(loop, [&] { loop.stop(); });
  });
  const auto before = CpuOfThisThread();
  RunEventLoop(&loop);
  EXPECT_LT(CpuOfThisThread() - before, milliseconds(50));
  other.join();
}

}  // namespace
}  // namespace airstore::broker
