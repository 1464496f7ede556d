// SPDX-License-Identifier: Apache-2.0
#include "broker/clock_watch.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <ctime>

#include "broker/clock.h"

namespace airstore::broker {
namespace {

// False: we may not.
bool SetClockBy(int64_t ns) {
  const timespec then = ToTimespec(RealtimeNs() + ns);
  return clock_settime(CLOCK_REALTIME, &then) == 0;
}

// By so little, and back at once, that nobody else minds.
TEST(ClockWatch, TellsWhenAndByHowMuchTheClockWasSet) {
  boost::asio::io_context loop;
  ClockWatch watch(loop.get_executor());
  loop.poll();
  EXPECT_EQ(watch.sets(), 0u);
  if (!SetClockBy(0)) GTEST_SKIP() << "setting the clock: " << strerror(errno);
  loop.run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(watch.sets(), 0u) << "it has not jumped";
  const int64_t before = MonotonicNs();
  constexpr int64_t kJump = 200'000'000;
  ASSERT_TRUE(SetClockBy(kJump));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (watch.sets() == 0 && std::chrono::steady_clock::now() < until)
    loop.run_one_for(std::chrono::milliseconds(100));
  const int64_t forward = watch.last_jump_ns();
  ASSERT_TRUE(SetClockBy(-kJump));
  while (watch.sets() == 1 && std::chrono::steady_clock::now() < until)
    loop.run_one_for(std::chrono::milliseconds(100));
  EXPECT_EQ(watch.sets(), 2u);
  EXPECT_NEAR(static_cast<double>(forward), kJump, 50e6);
  EXPECT_NEAR(static_cast<double>(watch.last_jump_ns()), -kJump, 50e6);
  EXPECT_GE(watch.last_at_ns(), before);
}

}  // namespace
}  // namespace airstore::broker
