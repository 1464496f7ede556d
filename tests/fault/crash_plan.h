// SPDX-License-Identifier: Apache-2.0
//
// What one run of the crash tests does, all of it decided by a seed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "shm/base/fault.h"
#include "tests/fault/load.h"

namespace airstore::fault {

// Which processes are killed, and what a program in the mount may see of it.
struct Category {
  const char* name;
  bool frontends = false;
  bool broker = false;
  bool gateway = false;
  // The mount goes on: no call of a program fails. Else it ends, and a later one of the same
  // workspace shows everything that was acknowledged.
  bool mount_survives = false;
  std::vector<int> allowed_errors = {};  // errno, of calls that the end of the mount met
};
const std::vector<Category>& Categories();
// nullptr: there is none of that name.
const Category* FindCategory(const std::string& name);

struct CrashPlan {
  uint64_t seed = 0;
  const Category* category = nullptr;
  std::optional<FaultPoint> point;  // else at a random time
  int64_t skip = 0;                 // how often the point is passed before
  uint32_t dying_ms = 0;            // what other threads have left then
  bool during_recovery = false;     // the point is one that the next broker reaches
  bool passthrough = true;
  bool killed_twice = false;  // the next broker, too
  bool host_lost = false;     // with all that it had
  uint32_t commit_ms = 0;     // how slow the gateway is
  uint32_t load_ms = 0;       // before the kill
  std::vector<std::string> loads;

  std::string Describe() const;
};

CrashPlan PlanOf(uint64_t seed, const Category* category = nullptr,
                 std::optional<FaultPoint> point = {});
// Those whose process the category kills.
std::vector<FaultPoint> PointsOf(const Category& category);
std::optional<FaultPoint> FindPoint(const std::string& name);
bool ProcessOf(FaultPoint point, const char* process);  // "frontend", "gateway", "broker"

}  // namespace airstore::fault
