// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/path_table.h"

namespace airstore::bench {

struct PathTable::Node {
  Node* parent = nullptr;
  std::string name;
  uint64_t lookups = 0;   // the kernel's references
  uint64_t children = 0;  // nodes whose parent this is: forgets of a branch come in any order
};

PathTable::PathTable(std::string root) : root_path_(std::move(root)), root_(new Node()) {
  root_->lookups = 1;
}

PathTable::~PathTable() {
  for (const auto& [name, node] : names_) delete node;
  for (const Node* node : nameless_) delete node;
  delete root_;
}

PathTable::Node* PathTable::Take(Node* parent, const char* name) {
  const std::lock_guard lock(mutex_);
  Node*& node = names_[{parent, name}];
  if (node == nullptr) {
    node = new Node{parent, name, 0, 0};
    ++parent->children;
  }
  ++node->lookups;
  return node;
}

void PathTable::Forget(Node* node, uint64_t count) {
  const std::lock_guard lock(mutex_);
  node->lookups -= count;
  DeleteIfUnused(node);
}

void PathTable::DeleteIfUnused(Node* node) {
  while (node != root_ && node->lookups == 0 && node->children == 0) {
    Node* parent = node->parent;
    if (nameless_.erase(node) == 0) names_.erase({parent, node->name});
    delete node;
    --parent->children;
    node = parent;
  }
}

void PathTable::BuildPath(const Node* node, std::string* out) const {
  if (node == root_) {
    *out = root_path_;
    return;
  }
  BuildPath(node->parent, out);
  *out += '/';
  *out += node->name;
}

std::string PathTable::PathOf(const Node* node) {
  const std::lock_guard lock(mutex_);
  std::string path;
  BuildPath(node, &path);
  return path;
}

std::string PathTable::PathOf(const Node* parent, const char* name) {
  std::string path = PathOf(parent);
  path += '/';
  path += name;
  return path;
}

void PathTable::TakeNameAway(const Name& name) {
  const auto found = names_.find(name);
  if (found == names_.end()) return;
  nameless_.insert(found->second);
  names_.erase(found);
}

void PathTable::Removed(Node* parent, const char* name) {
  const std::lock_guard lock(mutex_);
  TakeNameAway({parent, name});
}

void PathTable::Renamed(Node* parent, const char* name, Node* new_parent, const char* new_name) {
  const std::lock_guard lock(mutex_);
  const auto found = names_.find({parent, name});
  Node* node = found == names_.end() ? nullptr : found->second;
  if (node != nullptr) names_.erase(found);
  TakeNameAway({new_parent, new_name});
  if (node == nullptr) return;
  node->parent = new_parent;
  node->name = new_name;
  names_[{new_parent, new_name}] = node;
  ++new_parent->children;
  --parent->children;
  DeleteIfUnused(parent);
}

}  // namespace airstore::bench
