// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/since.h"

#include <cstdio>
#include <ctime>

namespace airstore::airctl {

std::optional<int64_t> ParseSince(const std::string& text, int64_t now_ms) {
  constexpr int64_t kMost = 100ll * 365 * 86'400;  // seconds
  int used = 0;
  long long count = 0;
  char unit = 0;
  if (sscanf(text.c_str(), "%9lld%c%n", &count, &unit, &used) == 2 &&
      static_cast<size_t>(used) == text.size() && count >= 0) {
    const int64_t seconds = unit == 's'   ? 1
                            : unit == 'm' ? 60
                            : unit == 'h' ? 3600
                            : unit == 'd' ? 86'400
                                          : 0;
    if (seconds != 0 && count <= kMost / seconds) return now_ms - count * seconds * 1000;
    return std::nullopt;
  }
  tm utc{};
  for (const char* form : {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"}) {
    utc = {};
    const char* end = strptime(text.c_str(), form, &utc);
    if (end != nullptr && *end == '\0') return static_cast<int64_t>(timegm(&utc)) * 1000;
  }
  return std::nullopt;
}

}  // namespace airstore::airctl
