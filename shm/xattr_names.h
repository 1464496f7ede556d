// SPDX-License-Identifier: Apache-2.0
//
// Which extended attributes there can be: those that ext4 keeps, and no more, so that who finds one
// can rely on its meaning.
// Threads: stateless.
#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

namespace airstore::shm {

inline constexpr std::string_view kAccessAcl = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAcl = "system.posix_acl_default";

inline constexpr std::string_view kCapabilities = "security.capability";

inline constexpr std::string_view kXattrPrefixes[] = {"user.", "trusted.", "security."};

inline bool IsKeptXattr(std::string_view name) {
  for (const std::string_view prefix : kXattrPrefixes) {
    if (name.size() > prefix.size() && name.substr(0, prefix.size()) == prefix) return true;
  }
  return name == kAccessAcl || name == kDefaultAcl;
}

// A name that says whose attribute it is, and nothing else.
inline bool IsXattrPrefix(std::string_view name) {
  return std::find(std::begin(kXattrPrefixes), std::end(kXattrPrefixes), name) !=
         std::end(kXattrPrefixes);
}

}  // namespace airstore::shm
