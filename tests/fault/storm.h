// SPDX-License-Identifier: Apache-2.0
//
// StormTest: four mounts of a workspace under fio, git, sqlite, a writer through a map and one of
// random blocks, while a test kills what serves them. None of the programs may see an error.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/support/host_test.h"
#include "tests/fault/ack_log.h"

namespace airstore::fault {

class StormTest : public e2e::HostTest {
 protected:
  static constexpr size_t kMounts = 4;

  void SetUp() override;
  const std::string& mount(size_t i) const { return mounts_[i]; }
  const std::vector<std::string>& mounts() const { return mounts_; }

  // Returns when all are at work.
  void StartLoad(uint64_t seed);
  // Expects that no program has seen an error, and that what each was told is in the first mount.
  // Returns the number of acknowledged calls.
  uint64_t EndLoad();
  // Mounts the workspace with empty caches and compares it with what the first mount showed.
  void ExpectAllAtTheGateway();

 private:
  std::vector<std::string> mounts_;
  e2e::Process fio_;
  std::vector<std::unique_ptr<Load>> loads_;
};

}  // namespace airstore::fault
