// SPDX-License-Identifier: Apache-2.0
//
// PathMap: which inode number of a session stands for which path of a v1 gateway, which knows paths
// only. A name hangs on its directory's number, so that a rename moves what is below with it.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace airstore::broker::v1 {

inline constexpr uint64_t kRoot = 1;

class PathMap {
 public:
  // From the root, without a slash at its ends. nullopt: it has no name (any more).
  std::optional<std::string> PathOf(uint64_t inode) const;
  // 0: none.
  uint64_t Find(uint64_t parent, std::string_view name) const;
  uint64_t ParentOf(uint64_t inode) const;
  // The number that had the name has none from then on.
  void Bind(uint64_t parent, const std::string& name, uint64_t inode);
  void Unbind(uint64_t parent, const std::string& name);
  // What had the new name has none from then on. False: there is no such name.
  bool Move(uint64_t parent, const std::string& name, uint64_t new_parent,
            const std::string& new_name);
  void ForEach(const std::function<void(uint64_t parent, const std::string& name, uint64_t inode)>&
                   visit) const;
  void ForEachChild(
      uint64_t parent,
      const std::function<void(const std::string& name, uint64_t inode)>& visit) const;
  size_t size() const { return places_.size(); }

 private:
  struct Place {
    uint64_t parent = 0;
    std::string name;
  };

  std::unordered_map<uint64_t, Place> places_;
  std::map<uint64_t, std::map<std::string, uint64_t, std::less<>>> children_;
};

// A path below another one. `directory` "" is the root.
std::string JoinPath(const std::string& directory, std::string_view name);

}  // namespace airstore::broker::v1
