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
#include "tests/fault/load.h"

namespace airstore::fault {

class TreeLoad : public Load {
 public:
  // In a directory of its own in `mount`, which is made. `maps`: stores to shared maps are as good
  // as written at once.
  TreeLoad(const std::string& mount, uint64_t seed, bool maps);
  ~TreeLoad() override;

  void Start() override;
  void BeginEnd() override { ending_ = true; }
  void Join() override;

  std::string name() const override { return kDirectory; }
  uint64_t acknowledged() const override { return acknowledged_; }
  std::vector<LoadError> errors() const override { return errors_; }
  // What the last, unacknowledged changes touched may be anything. Nothing here is synced.
  std::string Check(const std::string& mount, Kept kept) const override;

 private:
  static constexpr char kDirectory[] = "tree";

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
  std::string Compare(const std::string& root) const;
  // One change: what it touches is noted before, what it has done after. False: that was the end.
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
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> acknowledged_{0};
  std::map<std::string, NodePtr> names_;
  std::vector<std::string> directories_{""};
  std::vector<OpenFile> open_;
  uint64_t next_name_ = 0;
  std::set<std::string> touching_paths_;  // of the change under way
  std::set<NodePtr> touching_nodes_;
  std::set<std::string> uncertain_paths_;
  std::set<NodePtr> uncertain_nodes_;
  std::vector<LoadError> errors_;
};

}  // namespace airstore::fault
