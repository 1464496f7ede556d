// SPDX-License-Identifier: Apache-2.0
//
// ClockWatch: notices when somebody sets the clock of this host. The kernel says so; nothing runs
// until then, and a clock that is only slewed is not reported. Ages and timeouts here go by a clock
// that does not jump, but files are stamped with the other one, and certificates end by it.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <memory>

#include "broker/task.h"

namespace airstore::broker {

class ClockWatch {
 public:
  explicit ClockWatch(const boost::asio::any_io_executor& loop);
  ~ClockWatch();
  ClockWatch(const ClockWatch&) = delete;
  ClockWatch& operator=(const ClockWatch&) = delete;

  // Jumps of less than a tenth of a second do not count.
  uint64_t sets() const;
  // Of the last one: by how much, forward if positive, and when, on the monotonic clock.
  int64_t last_jump_ns() const;
  int64_t last_at_ns() const;

 private:
  struct State;
  static Task<void> Watch(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;  // shared with the coroutine
};

}  // namespace airstore::broker
