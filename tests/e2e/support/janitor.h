// SPDX-License-Identifier: Apache-2.0
//
// A directory of the test's own under /tmp, and a process that cleans up after it however the test
// ends: it waits for a pipe that closes with the test process, or for that to be a zombie; aborts
// what is mounted below the directory, kills who mentions it, and removes it.
// Fails how: throws std::runtime_error when the directory cannot be made.
#pragma once

#include <sys/types.h>

#include <string>

#include "shm/base/fd.h"

namespace airstore::e2e {

class Janitor {
 public:
  Janitor();
  // Cleans up and waits until that is done. AIRSTORE_E2E_KEEP=1 keeps the files.
  ~Janitor();
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;

  const std::string& directory() const { return directory_; }
  // The files stay, whatever the environment says.
  void Keep() const;

 private:
  std::string directory_;
  UniqueFd leash_;
  pid_t pid_ = -1;
};

// Detaches all mounts at or below `path`.
void UnmountAllBelow(const std::string& path);

}  // namespace airstore::e2e
