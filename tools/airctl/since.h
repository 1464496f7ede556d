// SPDX-License-Identifier: Apache-2.0
//
// Times in the past as people write them: "30s", "10m", "2h", "3d" (so long ago), "2026-01-31", or
// "2026-01-31T12:00:00Z"; in UTC.
// Threads: a pure function.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace airstore::airctl {

// Milliseconds since the epoch; nothing: it is none of these.
std::optional<int64_t> ParseSince(const std::string& text, int64_t now_ms);

}  // namespace airstore::airctl
