// SPDX-License-Identifier: Apache-2.0
#include "broker/clock_watch.h"

#include <spdlog/spdlog.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdlib>
#include <ctime>

#include "broker/clock.h"

namespace airstore::broker {
namespace {

constexpr int64_t kLeastJumpNs = 100'000'000;
constexpr time_t kNever = 1ll << 40;

// It also counts while the host sleeps, so that waking up is no jump.
int64_t OffsetNs() {
  timespec since_boot{};
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  return RealtimeNs() - FromTimespec(since_boot.tv_sec, since_boot.tv_nsec);
}

bool Arm(int fd) {
  itimerspec never{};
  never.it_value.tv_sec = kNever;
  return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr) == 0;
}

}  // namespace

struct ClockWatch::State {
  explicit State(const boost::asio::any_io_executor& loop) : timer(loop) {}

  boost::asio::posix::stream_descriptor timer;
  int64_t offset_ns = OffsetNs();
  uint64_t sets = 0;
  int64_t last_jump_ns = 0;
  int64_t last_at_ns = 0;
};

ClockWatch::ClockWatch(const boost::asio::any_io_executor& loop)
    : state_(std::make_shared<State>(loop)) {
  const int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0 || !Arm(fd)) {
    spdlog::warn("jumps of the clock will not be noticed: {}", strerror(errno));
    if (fd >= 0) close(fd);
    return;
  }
  state_->timer.assign(fd);
  Spawn(loop, Watch(state_));
}

ClockWatch::~ClockWatch() {
  boost::system::error_code ignored;
  state_->timer.close(ignored);
}

uint64_t ClockWatch::sets() const { return state_->sets; }
int64_t ClockWatch::last_jump_ns() const { return state_->last_jump_ns; }
int64_t ClockWatch::last_at_ns() const { return state_->last_at_ns; }

Task<void> ClockWatch::Watch(std::shared_ptr<State> state) {
  while (state->timer.is_open()) {
    boost::system::error_code error;
    co_await state->timer.async_wait(
        boost::asio::posix::stream_descriptor::wait_read,
        boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error || !state->timer.is_open()) co_return;
    uint64_t expirations = 0;
    (void)!read(state->timer.native_handle(), &expirations, sizeof expirations);
    const int64_t offset = OffsetNs();
    const int64_t jump = offset - state->offset_ns;
    state->offset_ns = offset;
    if (std::abs(jump) >= kLeastJumpNs) {
      ++state->sets;
      state->last_jump_ns = jump;
      state->last_at_ns = MonotonicNs();
      spdlog::warn("the clock was set {} by {:.1f} s", jump > 0 ? "forward" : "back",
                   static_cast<double>(std::abs(jump)) / 1e9);
    }
    if (!Arm(state->timer.native_handle())) co_return;
  }
}

}  // namespace airstore::broker
