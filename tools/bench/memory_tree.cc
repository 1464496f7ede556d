// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/memory_tree.h"

#include <unistd.h>

#include <ctime>
#include <mutex>
#include <utility>
#include <vector>

namespace airstore::bench {
namespace {

timespec Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

}  // namespace

MemoryTree::MemoryTree(DataArena* arena) : arena_(arena) {
  root_ = NewNodeLocked({S_IFDIR | 0755, geteuid(), getegid(), {}});
  root_->parent = root_;
  root_->links = 2;
  root_->lookups = 1;
}

MemoryTree::~MemoryTree() {
  std::vector<Node*> todo(orphans_.begin(), orphans_.end());
  todo.push_back(root_);
  while (!todo.empty()) {
    Node* node = todo.back();
    todo.pop_back();
    if (node->directory) {
      for (auto& [cookie, entry] : node->directory->by_cookie) todo.push_back(entry.node);
    }
    delete node;
  }
}

std::shared_mutex& MemoryTree::NodeLock(const Node* node) {
  return node_locks_[node->ino % node_locks_.size()];
}

void MemoryTree::FillAttributes(const Node& node, struct stat* attributes) {
  *attributes = {};
  attributes->st_ino = node.ino;
  attributes->st_mode = node.mode;
  attributes->st_nlink = node.links;
  attributes->st_uid = node.uid;
  attributes->st_gid = node.gid;
  attributes->st_size = S_ISLNK(node.mode) ? static_cast<off_t>(node.symlink.size())
                                           : static_cast<off_t>(node.data.size());
  attributes->st_blksize = 4096;
  attributes->st_blocks = (attributes->st_size + 511) / 512;
  attributes->st_atim = node.atime;
  attributes->st_mtim = node.mtime;
  attributes->st_ctim = node.ctime;
}

struct stat MemoryTree::Attributes(Node* node) {
  struct stat attributes;
  const std::shared_lock tree(tree_lock_);
  const std::shared_lock lock(NodeLock(node));
  FillAttributes(*node, &attributes);
  return attributes;
}

Node* MemoryTree::NewNodeLocked(const NewNode& what) {
  auto node = std::make_unique<Node>(next_ino_++, what.mode, arena_);
  node->uid = what.uid;
  node->gid = what.gid;
  node->atime = node->mtime = node->ctime = Now();
  node->symlink = what.symlink;
  if (S_ISDIR(what.mode)) node->directory = std::make_unique<Directory>();
  return node.release();
}

void MemoryTree::Touch(Node* node) { node->mtime = node->ctime = Now(); }

void MemoryTree::Link(Node* parent, std::string name, Node* node) {
  Directory& directory = *parent->directory;
  const uint64_t cookie = directory.next_cookie++;
  directory.by_name.emplace(name, cookie);
  directory.by_cookie.emplace(cookie, Directory::Entry{std::move(name), node});
  node->parent = parent;
  node->links += node->directory ? 2 : 1;
  if (node->directory) ++parent->links;
}

void MemoryTree::UnlinkLocked(Node* parent,
                              std::unordered_map<std::string, uint64_t>::iterator name) {
  Directory& directory = *parent->directory;
  const auto entry = directory.by_cookie.find(name->second);
  Node* node = entry->second.node;
  directory.by_cookie.erase(entry);
  directory.by_name.erase(name);
  node->links -= node->directory ? 2 : 1;
  if (node->directory) --parent->links;
}

void MemoryTree::DeleteIfUnused(Node* node) {
  if (node->links > 0) return;
  if (node->lookups.load(std::memory_order_relaxed) > 0) {
    orphans_.insert(node);
  } else {
    orphans_.erase(node);
    delete node;
  }
}

Result<Node*> MemoryTree::Lookup(Node* parent, const char* name, struct stat* attributes) {
  const std::shared_lock tree(tree_lock_);
  if (!parent->directory) return SysError("", ENOTDIR);
  const auto found = parent->directory->by_name.find(name);
  if (found == parent->directory->by_name.end()) return SysError("", ENOENT);
  Node* node = parent->directory->by_cookie.find(found->second)->second.node;
  // Relaxed: the count reaches zero only under the exclusive tree lock.
  node->lookups.fetch_add(1, std::memory_order_relaxed);
  const std::shared_lock lock(NodeLock(node));
  FillAttributes(*node, attributes);
  return node;
}

Result<Node*> MemoryTree::Create(Node* parent, const char* name, const NewNode& what,
                                 struct stat* attributes) {
  const std::unique_lock tree(tree_lock_);
  if (!parent->directory) return SysError("", ENOTDIR);
  if (parent->links == 0) return SysError("", ENOENT);
  if (parent->directory->by_name.contains(name)) return SysError("", EEXIST);
  Node* node = NewNodeLocked(what);
  node->lookups = 1;
  Link(parent, name, node);
  FillAttributes(*node, attributes);
  const std::unique_lock lock(NodeLock(parent));
  Touch(parent);
  return node;
}

int MemoryTree::Remove(Node* parent, const char* name, bool is_directory) {
  const std::unique_lock tree(tree_lock_);
  if (!parent->directory) return ENOTDIR;
  const auto found = parent->directory->by_name.find(name);
  if (found == parent->directory->by_name.end()) return ENOENT;
  Node* node = parent->directory->by_cookie.find(found->second)->second.node;
  if (is_directory && !node->directory) return ENOTDIR;
  if (!is_directory && node->directory) return EISDIR;
  if (node->directory && !node->directory->by_name.empty()) return ENOTEMPTY;
  UnlinkLocked(parent, found);
  DeleteIfUnused(node);
  const std::unique_lock lock(NodeLock(parent));
  Touch(parent);
  return 0;
}

int MemoryTree::Rename(Node* parent, const char* name, Node* new_parent, const char* new_name,
                       bool replace) {
  const std::unique_lock tree(tree_lock_);
  if (!parent->directory || !new_parent->directory) return ENOTDIR;
  auto source = parent->directory->by_name.find(name);
  if (source == parent->directory->by_name.end()) return ENOENT;
  Node* node = parent->directory->by_cookie.find(source->second)->second.node;
  for (const Node* up = new_parent; node->directory && up != root_; up = up->parent) {
    if (up == node) return EINVAL;
  }
  const auto target = new_parent->directory->by_name.find(new_name);
  if (target != new_parent->directory->by_name.end()) {
    Node* old = new_parent->directory->by_cookie.find(target->second)->second.node;
    if (old == node) return 0;
    if (!replace) return EEXIST;
    if (old->directory && !node->directory) return EISDIR;
    if (!old->directory && node->directory) return ENOTDIR;
    if (old->directory && !old->directory->by_name.empty()) return ENOTEMPTY;
    UnlinkLocked(new_parent, target);
    DeleteIfUnused(old);
    source = parent->directory->by_name.find(name);
  }
  UnlinkLocked(parent, source);
  Link(new_parent, new_name, node);
  for (Node* changed : {parent, new_parent}) {
    const std::unique_lock lock(NodeLock(changed));
    Touch(changed);
  }
  return 0;
}

void MemoryTree::Forget(Node* node, uint64_t count) {
  if (node == root_) return;
  const std::unique_lock tree(tree_lock_);
  node->lookups.fetch_sub(count, std::memory_order_relaxed);
  DeleteIfUnused(node);
}

}  // namespace airstore::bench
