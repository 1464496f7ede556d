// SPDX-License-Identifier: Apache-2.0
//
// What is logged of the calls of mounts, as it is configured.
// Threads: pure functions.
#pragma once

#include <chrono>
#include <string>

namespace airstore::broker {

// AIRSTORE_FUSE_TRACE and the two that go with it.
struct TraceSettings {
  bool on = false;
  std::chrono::nanoseconds interval{2'000'000'000};
  std::chrono::nanoseconds slow{50'000'000};  // 0: no lines about calls
};
// Forgiving, as these variables always were: what makes no sense is the default. `interval` is a
// duration as in Go ("2s", "500ms", "1m30s"), `slow_ms` a number of milliseconds.
TraceSettings ParseTraceSettings(const std::string& on, const std::string& interval,
                                 const std::string& slow_ms);
// Whether they make sense: files and flags are not forgiven.
bool IsTraceInterval(const std::string& text);
bool IsTraceLimit(const std::string& text);

}  // namespace airstore::broker
