// SPDX-License-Identifier: Apache-2.0
//
// zstd on the wire: only where it shrinks, and never trusting a peer about sizes.
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace airstore::gateway {

// Nothing: too small, or does not shrink enough to be worth the other side's work.
std::optional<std::string> Compress(std::string_view data);
// Nothing: not zstd, or not exactly `length` bytes.
std::optional<std::string> Decompress(std::string_view data, uint64_t length);

}  // namespace airstore::gateway
