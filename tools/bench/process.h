// SPDX-License-Identifier: Apache-2.0
//
// Child processes of the benchmark: commands that are waited for, and servers that end with it.
// Threads: the benchmark's only.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "shm/base/result.h"

namespace airstore::bench {

// Runs a command found by PATH with its standard output thrown away; an exit status other than 0 is
// an error.
Result<void> RunCommand(std::vector<std::string> argv);

// Path of a program installed beside this one.
std::string SiblingProgram(const std::string& name);

// A FUSE server in the foreground of a child process.
class MountedServer {
 public:
  // Returns once `mountpoint` is mounted.
  static Result<std::unique_ptr<MountedServer>> Start(std::vector<std::string> argv,
                                                      std::string mountpoint);
  MountedServer(const MountedServer&) = delete;
  MountedServer& operator=(const MountedServer&) = delete;
  // Ends the server and sees to it that the mount is gone.
  ~MountedServer();

 private:
  MountedServer(pid_t pid, std::string mountpoint)
      : pid_(pid), mountpoint_(std::move(mountpoint)) {}
  Result<void> AwaitMount();

  pid_t pid_;
  const std::string mountpoint_;
};

}  // namespace airstore::bench
