// SPDX-License-Identifier: Apache-2.0
//
// Workers: processes that use a mount without a pause, know what every call must return, and write
// down each one that returned something else.
// Threads: one for each worker process; Crew: the test's.
#pragma once

#include <string>
#include <vector>

#include "tests/e2e/support/process.h"

namespace airstore::fault {

inline constexpr char kWorkerFlag[] = "--worker";

// In the worker's process. Works in `directory`, which it has for itself, until the file
// `report`.stop appears; then writes what it found into `report`.
int RunWorker(const std::string& kind, const std::string& directory, const std::string& report);

// Workers of a test.
class Crew {
 public:
  // Reports go to files that begin with `reports`.
  explicit Crew(std::string reports) : reports_(std::move(reports)) {}

  // `kind`: names, files, readers, maps, holder. Makes a directory for it below `root`.
  void Start(const std::string& kind, const std::string& root);

  struct Outcome {
    uint64_t steps = 0;                  // of all together
    std::vector<std::string> surprises;  // "kind: what: how"
  };
  // Ends them all; a worker that does not come back is a surprise, too.
  Outcome Stop();

 private:
  struct Worker {
    std::string kind;
    std::string report;
    e2e::Process process;
  };
  std::string reports_;
  std::vector<Worker> workers_;
};

}  // namespace airstore::fault
