// SPDX-License-Identifier: Apache-2.0
//
// TreeLoad: a program that changes a tree in every way, one change after the other, and knows what
// it was told: what is there afterwards must be exactly that.
//
// Threads: Run has one of its own; the rest is for the test's after Join.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "shm/base/fd.h"

namespace airstore::fault {

class TreeLoad {
 public:
  // In `root`, which is made. `maps`: stores to shared maps are as good as written at once.
  TreeLoad(std::string root, uint64_t seed, bool maps);
  ~TreeLoad();

  void Start();
  // From here on nothing counts as acknowledged. Changes go on until one fails.
  void BeginEnd() { ending_ = true; }
  void Join();

  uint64_t acknowledged() const { return acknowledged_; }
  // Compares with the same tree elsewhere; the first differences, empty when there is none. What
  // the last, unacknowledged changes touched may be anything.
  std::string Compare(const std::string& root) const;

 private:
  struct Node {
    char type = 'f';  // 'f'ile, 'd'irectory, 'l'ink
    std::string content;
    mode_t mode = 0;
  };
  using NodePtr = std::shared_ptr<Node>;
  struct OpenFile {
    NodePtr node;
    UniqueFd fd;
  };

  void Run();
  // One change: what it touches is noted before, what it has done after. False: it failed.
  bool Step();
  bool Create(size_t length, bool keep_open);
  bool Overwrite(int fd, const NodePtr& node);
  bool WriteOpenFile();
  bool WriteThroughMap(const std::string& path, const NodePtr& node);
  bool Truncate(const std::string& path, const NodePtr& node);
  bool Append(const std::string& path, const NodePtr& node);
  bool Rewrite(const std::string& path, const NodePtr& node);
  bool Rename(const std::string& path);
  bool Unlink(const std::string& path);
  bool Link(const std::string& path, const NodePtr& node);
  bool Symlink();
  bool MakeDirectory();
  bool Chmod(const std::string& path, const NodePtr& node);

  bool Done(bool ok);  // the change returned
  size_t Random(size_t below) { return static_cast<size_t>(random_() % below); }
  std::string NewPath();
  std::string AnyFile();
  std::string At(const std::string& path) const { return root_ + "/" + path; }

  std::string root_;
  std::mt19937_64 random_;
  bool maps_;
  std::thread thread_;
  std::atomic<bool> ending_{false};
  std::atomic<uint64_t> acknowledged_{0};
  std::map<std::string, NodePtr> names_;
  std::vector<std::string> directories_{""};
  std::vector<OpenFile> open_;
  uint64_t next_name_ = 0;
  std::set<std::string> touching_paths_;  // of the change under way
  std::set<NodePtr> touching_nodes_;
  std::set<std::string> uncertain_paths_;
  std::set<NodePtr> uncertain_nodes_;
};

}  // namespace airstore::fault
