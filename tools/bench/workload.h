// SPDX-License-Identifier: Apache-2.0
//
// A workload does one piece of work on a target's directory and says how fast it was. More is
// better in every unit, so that ratios read the same way everywhere. Data is checked: a wrong byte
// is an error, not a result. Threads: one; the benchmark measures a single client.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::bench {

struct Target {
  std::string name;
  std::string dir;       // ours alone, on the file system to be measured
  bool is_fuse = false;  // has kernel caches that can be dropped without touching its server
  bool is_slow = false;  // each change waits for distance: rates are taken from fewer of them
};

class Workload {
 public:
  virtual ~Workload() = default;
  virtual const char* name() const = 0;
  virtual const char* unit() const = 0;
  // Why it cannot run here; empty when it can.
  virtual std::string unavailable() const { return {}; }
  // Untimed, once per target before the first round.
  virtual Result<void> Prepare(const Target& target) = 0;
  // Counts turns, over all rounds.
  virtual Result<double> Run(const Target& target, unsigned turn) = 0;
  // Measurements of a target in a round, each in turn with those of the others. More than one short
  // one where a neighbour of this machine, who comes and goes within a second, would decide a ratio
  // near 1.
  virtual unsigned turns() const { return 1; }
};

struct WorkloadOptions {
  uint64_t file_mib = 256;
  std::string repository;  // of the git and tar workloads
  std::string scratch;     // a directory off all targets
};

// Every workload, in the order to run them.
std::vector<std::unique_ptr<Workload>> MakeWorkloads(const WorkloadOptions& options);

// Parts of it, by subject.
void AddFileWorkloads(const WorkloadOptions& options, std::vector<std::unique_ptr<Workload>>* out);
void AddTreeWorkloads(std::vector<std::unique_ptr<Workload>>* out);
void AddFindWorkloads(const WorkloadOptions& options, std::vector<std::unique_ptr<Workload>>* out);
void AddRepositoryWorkloads(const WorkloadOptions& options,
                            std::vector<std::unique_ptr<Workload>>* out);
void AddDistanceWorkloads(const WorkloadOptions& options,
                          std::vector<std::unique_ptr<Workload>>* out);

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace airstore::bench
