// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/v1/paths.h"

#include <algorithm>
#include <iterator>

#include "tools/gateway/validate.h"

namespace airstore::gateway::v1 {

Result<std::vector<std::string_view>> SplitPath(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (part.empty()) continue;
    if (const int error = CheckName(part); error != 0) return Error{error, {}};
    parts.push_back(part);
  }
  return parts;
}

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char first = byte(i);
    size_t more = 0;
    if (first < 0x80) {
      more = 0;
    } else if (first >= 0xc2 && first < 0xe0) {
      more = 1;
    } else if (first >= 0xe0 && first < 0xf0) {
      more = 2;
    } else if (first >= 0xf0 && first < 0xf5) {
      more = 3;
    } else {
      return false;
    }
    if (more > text.size() - i - 1) return false;
    for (size_t k = 1; k <= more; ++k) {
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    }
    // Overlong forms, surrogates, and what is beyond the last code point.
    const unsigned char second = more > 0 ? byte(i + 1) : 0;
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
      return false;
    }
    i += more + 1;
  }
  return true;
}

bool IsReserved(std::string_view name) {
  static constexpr std::string_view kReserved[] = {"Skills", "Memory", "Sources", "Tools", "Tasks"};
  return std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved);
}

}  // namespace airstore::gateway::v1
