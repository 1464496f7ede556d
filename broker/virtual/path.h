// SPDX-License-Identifier: Apache-2.0
//
// Paths below a workspace's root, as virtual nodes are named: no slash in front, "" is the root.
//
// Threads: any.
#pragma once

#include <string>

namespace airstore::broker {

inline std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

inline std::string NameOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

inline std::string Join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

}  // namespace airstore::broker
