// SPDX-License-Identifier: Apache-2.0
//
// Times as GatewayService writes them: "2026-01-31T12:00:00Z".
//
// Threads: a pure function.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>

namespace airstore::gateway::v1 {

inline std::string Rfc3339(int64_t ns) {
  const time_t seconds = ns / 1'000'000'000;
  tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text, length};
}

}  // namespace airstore::gateway::v1
