// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/path_map.h"

#include <vector>

namespace airstore::broker::v1 {

std::optional<std::string> PathMap::PathOf(uint64_t inode) const {
  constexpr size_t kDeepest = 4096;
  std::vector<const std::string*> names;
  while (inode != kRoot) {
    const auto found = places_.find(inode);
    if (found == places_.end() || names.size() == kDeepest) return std::nullopt;
    names.push_back(&found->second.name);
    inode = found->second.parent;
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (!path.empty()) path += '/';
    path += **name;
  }
  return path;
}

uint64_t PathMap::Find(uint64_t parent, std::string_view name) const {
  const auto directory = children_.find(parent);
  if (directory == children_.end()) return 0;
  const auto found = directory->second.find(name);
  return found == directory->second.end() ? 0 : found->second;
}

uint64_t PathMap::ParentOf(uint64_t inode) const {
  const auto found = places_.find(inode);
  return found == places_.end() ? 0 : found->second.parent;
}

void PathMap::Bind(uint64_t parent, const std::string& name, uint64_t inode) {
  if (const auto had = places_.find(inode); had != places_.end()) {
    const Place place = had->second;
    Unbind(place.parent, place.name);
  }
  Unbind(parent, name);
  places_[inode] = Place{parent, name};
  children_[parent][name] = inode;
}

void PathMap::Unbind(uint64_t parent, const std::string& name) {
  const auto directory = children_.find(parent);
  if (directory == children_.end()) return;
  const auto found = directory->second.find(name);
  if (found == directory->second.end()) return;
  places_.erase(found->second);
  directory->second.erase(found);
  if (directory->second.empty()) children_.erase(directory);
}

bool PathMap::Move(uint64_t parent, const std::string& name, uint64_t new_parent,
                   const std::string& new_name) {
  const uint64_t inode = Find(parent, name);
  if (inode == 0) return false;
  Unbind(parent, name);
  Bind(new_parent, new_name, inode);
  return true;
}

void PathMap::ForEach(
    const std::function<void(uint64_t, const std::string&, uint64_t)>& visit) const {
  for (const auto& [parent, names] : children_) {
    for (const auto& [name, inode] : names) visit(parent, name, inode);
  }
}

void PathMap::ForEachChild(uint64_t parent,
                           const std::function<void(const std::string&, uint64_t)>& visit) const {
  const auto directory = children_.find(parent);
  if (directory == children_.end()) return;
  for (const auto& [name, inode] : directory->second) visit(name, inode);
}

std::string JoinPath(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.empty()) path += '/';
  path += name;
  return path;
}

}  // namespace airstore::broker::v1
