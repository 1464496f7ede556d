// SPDX-License-Identifier: Apache-2.0
//
// TargetSet: the places to measure, each a fresh directory of its own, and the servers started for
// them. Destroying it removes the directories and ends the servers.
// Threads: the benchmark's only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "shm/base/result.h"
#include "tools/bench/process.h"
#include "tools/bench/workload.h"

namespace airstore::bench {

struct TargetOptions {
  std::vector<std::string> targets;  // NAME=DIR
  bool tmpfs = false;                // adds "tmpfs" in /dev/shm
  std::string ext4;                  // adds "ext4" in this directory
  bool null_server = false;          // adds "null"
  std::string loopback;              // adds "loopback" over this directory
  std::vector<std::string> slow;     // names of those that are Target::is_slow
};

class TargetSet {
 public:
  static Result<std::unique_ptr<TargetSet>> Create(const TargetOptions& options);
  TargetSet(const TargetSet&) = delete;
  TargetSet& operator=(const TargetSet&) = delete;
  ~TargetSet();

  const std::vector<Target>& targets() const { return targets_; }
  // A memory-backed directory off all targets but tmpfs.
  const std::string& scratch() const { return scratch_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  TargetSet() = default;
  Result<void> MakeScratch();
  Result<void> Add(const std::string& name, const std::string& parent);
  Result<void> Serve(const std::string& name, std::vector<std::string> argv);
  Result<std::string> MakeDirectory(const std::string& parent);
  void CheckFileSystem(const std::string& name, const std::string& dir);

  std::string scratch_;
  std::vector<std::string> directories_;  // to be removed
  std::vector<Target> targets_;
  std::vector<std::unique_ptr<MountedServer>> servers_;
  std::vector<std::string> warnings_;
};

}  // namespace airstore::bench
