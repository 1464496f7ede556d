// SPDX-License-Identifier: Apache-2.0
//
// StoreCheck: the one check or collection of the store that runs at a time, in a thread of its own
// with low priority. Who has started it asks for its state; when nobody has asked for a while, it
// ends.
//
// Threads: any.
// Ownership: borrows the gateway's parts; the destructor ends a run.
// Fails: Start() with EBUSY while another one runs, ENOENT when there is no such workspace.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "tools/gateway/check/workspace_check.h"

namespace airstore::gateway {

class StoreCheck {
 public:
  enum class Kind { kCheck, kCollect };
  // So many damages are told; all are counted and mended.
  static constexpr size_t kMostDamages = 10000;

  // `grace_ns`: blocks without a row that are younger are left alone.
  StoreCheck(CheckParts parts, int64_t grace_ns) : parts_(std::move(parts)), grace_ns_(grace_ns) {}
  ~StoreCheck();

  // Answers the id of the run.
  Result<uint64_t> Start(Kind kind, CheckOptions options);
  struct Answer {
    CheckState state;
    std::vector<Damage> damages;  // from the one asked for on
  };
  // ESTALE: not the last run.
  Result<Answer> Ask(uint64_t id, size_t first_damage);
  void Cancel(uint64_t id);

 private:
  void Run(Kind kind, const CheckOptions& options);
  Result<void> CheckAll(const CheckOptions& options);
  Result<void> Collect();
  Result<void> LookForOrphans(const std::unordered_map<WorkspaceKey, std::string>& names,
                              bool repair);
  bool Going(const std::string& phase, uint64_t done, uint64_t total);
  void Report(std::vector<Damage> damages);

  CheckParts parts_;
  const int64_t grace_ns_;
  std::mutex mu_;
  std::thread thread_;  // guarded by mu_, as all below
  uint64_t id_ = 0;
  CheckState state_;
  std::vector<Damage> damages_;
  SteadyTime asked_;
  bool cancelled_ = false;
  std::vector<BlockKey> needed_;  // without a row, but not nobody's; of the running thread
};

}  // namespace airstore::gateway
