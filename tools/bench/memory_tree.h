// SPDX-License-Identifier: Apache-2.0
//
// The null server's tree: names, attributes and content in ordinary memory.
//
// A node lives as long as a name or the kernel refers to it, so handlers use the Node* that the
// kernel carries as node id without a look-up. Threads: any. Lock order: the tree lock, then a
// node's lock. Node locks are taken from a fixed set, because the kernel may forget a node between
// our reply and our unlock.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "shm/base/result.h"
#include "tools/bench/file_data.h"

namespace airstore::bench {

struct Node;

// Names of a directory; the order of `by_cookie` is the order of a listing, and a cookie is the
// place a reader resumes from.
struct Directory {
  struct Entry {
    std::string name;
    Node* node;
  };
  std::map<uint64_t, Entry> by_cookie;
  std::unordered_map<std::string, uint64_t> by_name;
  uint64_t next_cookie = 3;  // 1 and 2 are "." and ".."
};

struct Node {
  Node(uint64_t number, mode_t new_mode, DataArena* arena)
      : ino(number), mode(new_mode), data(arena) {}

  const uint64_t ino;
  std::atomic<uint64_t> lookups{0};  // references the kernel holds

  // Guarded by the tree lock.
  uint32_t links = 0;
  Node* parent = nullptr;
  std::unique_ptr<Directory> directory;  // of directories only

  // Guarded by the node's lock.
  mode_t mode;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec atime{};
  timespec mtime{};
  timespec ctime{};
  std::string symlink;
  FileData data;
};

struct NewNode {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string_view symlink;
};

class MemoryTree {
 public:
  explicit MemoryTree(DataArena* arena);
  ~MemoryTree();
  MemoryTree(const MemoryTree&) = delete;
  MemoryTree& operator=(const MemoryTree&) = delete;

  Node* root() { return root_; }

  // Nodes come back with one kernel reference more and their attributes.
  Result<Node*> Lookup(Node* parent, const char* name, struct stat* attributes);
  Result<Node*> Create(Node* parent, const char* name, const NewNode& what,
                       struct stat* attributes);
  // The rest answer 0 or an errno.
  int Remove(Node* parent, const char* name, bool is_directory);
  int Rename(Node* parent, const char* name, Node* new_parent, const char* new_name, bool replace);
  void Forget(Node* node, uint64_t count);

  struct stat Attributes(Node* node);
  // REQUIRES: the tree lock and the node's lock, shared.
  static void FillAttributes(const Node& node, struct stat* attributes);
  std::shared_mutex& NodeLock(const Node* node);
  // Guards what Node says it guards; for listings.
  std::shared_mutex& tree_lock() { return tree_lock_; }

 private:
  Node* NewNodeLocked(const NewNode& what);
  static void Link(Node* parent, std::string name, Node* node);
  void UnlinkLocked(Node* parent, std::unordered_map<std::string, uint64_t>::iterator name);
  void DeleteIfUnused(Node* node);
  static void Touch(Node* node);

  DataArena* const arena_;
  std::shared_mutex tree_lock_;
  std::array<std::shared_mutex, 256> node_locks_;
  uint64_t next_ino_ = 1;              // guarded by tree_lock_
  std::unordered_set<Node*> orphans_;  // without a name, still known to the kernel; tree_lock_
  Node* root_;
};

}  // namespace airstore::bench
