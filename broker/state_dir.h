// SPDX-License-Identifier: Apache-2.0
//
// StateDir: the broker's directory on local disk, locked against a second broker for its life.
// Threads: made and destroyed on one; the paths may be read from any.
#pragma once

#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

class StateDir {
 public:
  // Creates what is missing (0700) and takes the lock. EBUSY names the process that has it; EPERM:
  // the directory is somebody else's.
  static Result<StateDir> Open(const std::string& path);

  // With the lock of a broker that has given it to us.
  static Result<StateDir> Adopt(const std::string& path, UniqueFd lock);

  const std::string& path() const { return path_; }
  int lock() const { return lock_.get(); }
  std::string spool() const { return path_ + "/spool"; }
  std::string control_socket() const { return path_ + "/control.sock"; }

 private:
  StateDir(std::string path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  UniqueFd lock_;
};

// mkdir -p with this mode for what is new; a directory that is there already is left as it is.
Result<void> MakeDirectories(const std::string& path, unsigned mode);

}  // namespace airstore::broker
