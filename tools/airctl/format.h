// SPDX-License-Identifier: Apache-2.0
//
// Numbers and names for people.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>

namespace airstore::airctl {

// "0 B", "512 B", "3.4 MiB"
std::string HumanBytes(uint64_t bytes);
// "850 ms", "12 s", "3 m 20 s", "2 h 5 m", "4 d 1 h"
std::string HumanDuration(uint64_t ms);
// "740 ns", "8.3 us", "1.2 ms", "2.0 s"
std::string HumanLatency(uint64_t ns);
// "2024-05-17 09:30", local time; "-" for 0
std::string HumanTime(int64_t ns);
// "2024-05-17T09:30:05Z", as --since takes it
std::string UtcTime(int64_t ms);

// Without what would move the cursor or change the colours of a terminal.
std::string Printable(const std::string& text);

}  // namespace airstore::airctl
