// SPDX-License-Identifier: Apache-2.0
//
// Names of files in messages whose fields are text: a message with anything but UTF-8 in them is
// refused as a whole by whoever reads it.
// Threads: pure functions.
#pragma once

#include <string>

#include "broker/names.h"

namespace airstore::broker {

// With U+FFFD for each byte that is no part of a character.
inline std::string AsUtf8(const std::string& text) {
  if (IsUtf8(text)) return text;
  constexpr size_t kLongest = 4;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t length = 1;
    while (length <= kLongest && !IsUtf8(text.substr(at, length))) ++length;
    if (length <= kLongest) {
      out.append(text, at, length);
      at += length;
    } else {
      out += "\xef\xbf\xbd";
      ++at;
    }
  }
  return out;
}

}  // namespace airstore::broker
