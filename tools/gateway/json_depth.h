// SPDX-License-Identifier: Apache-2.0
//
// How deep foreign JSON nests: what is made of it is copied and printed by recursion.
//
// Threads: a pure function.
#pragma once

#include <cstddef>
#include <string_view>

namespace airstore::gateway {

inline constexpr size_t kMostNesting = 64;

// Exact for what is JSON; what is not may be judged either way.
inline bool NestsTooDeep(std::string_view json) {
  size_t depth = 0;
  bool text = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (text) {
      if (c == '\\') ++i;
      text = c != '"';
    } else if (c == '"') {
      text = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMostNesting) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

}  // namespace airstore::gateway
