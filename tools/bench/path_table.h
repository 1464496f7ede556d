// SPDX-License-Identifier: Apache-2.0
//
// PathTable: which path a kernel node id stands for, the way simple FUSE daemons keep it: each node
// knows its parent and its name there.
//
// Why not one O_PATH descriptor per node: a tree larger than the descriptor limit could not be
// served. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace airstore::bench {

class PathTable {
 public:
  struct Node;

  explicit PathTable(std::string root);
  ~PathTable();
  PathTable(const PathTable&) = delete;
  PathTable& operator=(const PathTable&) = delete;

  Node* root() { return root_; }
  // The node of a name, made when new; one reference more.
  Node* Take(Node* parent, const char* name);
  void Forget(Node* node, uint64_t count);

  std::string PathOf(const Node* node);
  std::string PathOf(const Node* parent, const char* name);

  // The name is gone, or now means what another name meant. A node that lost its name has a path
  // that no longer exists, as for any path-based daemon.
  void Removed(Node* parent, const char* name);
  void Renamed(Node* parent, const char* name, Node* new_parent, const char* new_name);

 private:
  using Name = std::pair<const Node*, std::string>;

  void BuildPath(const Node* node, std::string* out) const;
  void DeleteIfUnused(Node* node);
  void TakeNameAway(const Name& name);

  const std::string root_path_;
  std::mutex mutex_;
  Node* const root_;
  // Guarded by mutex_, as is what is in a Node.
  std::map<Name, Node*> names_;
  std::set<Node*> nameless_;  // still known to the kernel
};

}  // namespace airstore::bench
