// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/runner.h"

#include <fcntl.h>
#include <unistd.h>

#include "shm/base/fd.h"

namespace airstore::bench {
namespace {

Error In(const Workload& workload, const Target& target, Error error) {
  error.message = std::string(workload.name()) + " on " + target.name + ": " + error.message;
  return error;
}

// Pages that wait for the disk would be written during someone else's turn.
void Settle(const Target& target) {
  const UniqueFd fd(open(target.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) syncfs(fd.get());
}

// Makes a target's directory the working directory for a while. Not longer: a working directory
// keeps a mount busy.
class Visit {
 public:
  explicit Visit(const Target& target) : home_(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    entered_ = chdir(target.dir.c_str()) == 0;
    error_ = errno;
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  ~Visit() { AIRSTORE_CHECK(fchdir(home_.get()) == 0); }

  Result<void> entered() const {
    if (!entered_) return SysError("enter its directory", error_);
    return {};
  }

 private:
  const UniqueFd home_;
  bool entered_ = false;
  int error_ = 0;
};

Result<void> PrepareOn(const Target& target, Workload* workload) {
  const Visit visit(target);
  AIRSTORE_TRY(visit.entered());
  return workload->Prepare(target);
}

Result<double> MeasureOn(const Target& target, Workload* workload, unsigned round) {
  const Visit visit(target);
  if (auto entered = visit.entered(); !entered) return entered.error();
  return workload->Run(target, round);
}

Result<WorkloadResult> RunOne(const RunnerOptions& options, const std::vector<Target>& targets,
                              Workload* workload) {
  WorkloadResult result{workload->name(), workload->unit(), workload->unavailable(), {}};
  if (!result.skipped.empty()) return result;
  const Error stopped{EINTR, "stopped"};
  for (const Target& target : targets) {
    if (options.stopped()) return stopped;
    options.progress(result.name + ": prepare " + target.name);
    auto prepared = PrepareOn(target, workload);
    if (!prepared) return In(*workload, target, prepared.error());
    Settle(target);
  }
  const unsigned rounds = options.rounds * workload->turns();
  for (unsigned round = 0; round < rounds; ++round) {
    for (const size_t turn : TurnsOfRound(targets.size(), round)) {
      const Target& target = targets[turn];
      if (options.stopped()) return stopped;
      if (round % workload->turns() == 0) {
        options.progress(result.name + ": round " + std::to_string(round / workload->turns() + 1) +
                         " " + target.name);
      }
      auto value = MeasureOn(target, workload, round);
      if (!value) return In(*workload, target, value.error());
      result.values[target.name].push_back(*value);
      Settle(target);
    }
  }
  return result;
}

}  // namespace

std::vector<size_t> TurnsOfRound(size_t targets, unsigned round) {
  std::vector<size_t> turns(targets);
  for (size_t i = 0; i < targets; ++i) turns[i] = (i + round) % targets;
  return turns;
}

Result<std::vector<WorkloadResult>> RunWorkloads(
    const RunnerOptions& options, const std::vector<Target>& targets,
    const std::vector<std::unique_ptr<Workload>>& workloads) {
  std::vector<WorkloadResult> results;
  for (const auto& workload : workloads) {
    auto result = RunOne(options, targets, workload.get());
    if (!result) return result.error();
    results.push_back(std::move(*result));
  }
  return results;
}

}  // namespace airstore::bench
