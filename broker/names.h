// SPDX-License-Identifier: Apache-2.0
//
// What a name in a directory may be, and how often a file may be named.
// Threads: stateless.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>

#include "shm/base/result.h"
#include "shm/layout.h"

namespace airstore::broker {

inline constexpr uint32_t kLinkMax = 65000;

inline bool ValidName(const std::string& name) {
  return !name.empty() && name.size() <= shm::kMaxName && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// Well-formed, as the protocols that carry names as text want them.
bool IsUtf8(const std::string& text);

inline Error NameError(const std::string& name) {
  return Error{name.size() > shm::kMaxName ? ENAMETOOLONG : EINVAL, "name"};
}

}  // namespace airstore::broker
