// SPDX-License-Identifier: Apache-2.0
//
// A block's id as text, for stores whose keys are names.
//
// Threads: pure functions.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "tools/gateway/types.h"

namespace airstore::gateway {

inline std::string ToHex(std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex.push_back(kHex[byte >> 4]);
    hex.push_back(kHex[byte & 15]);
  }
  return hex;
}

// Nothing: it is no name of a block.
inline std::optional<BlockId> BlockIdFromHex(std::string_view hex) {
  BlockId id;
  if (hex.size() != 2 * id.bytes.size()) return std::nullopt;
  for (size_t i = 0; i < id.bytes.size(); ++i) {
    const char* at = hex.data() + 2 * i;
    const auto [end, error] = std::from_chars(at, at + 2, id.bytes[i], 16);
    if (error != std::errc() || end != at + 2) return std::nullopt;
  }
  return id;
}

}  // namespace airstore::gateway
