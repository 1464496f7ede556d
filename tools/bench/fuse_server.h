// SPDX-License-Identifier: Apache-2.0
//
// Mounts and serves a libfuse low-level operation table with the connection settings of our FUSE
// frontend, so that what the comparison servers measure differs only in what they do per request.
// Threads: RunFuseServer serves on libfuse's worker threads and returns on SIGTERM, SIGINT, SIGHUP
// or unmount.
#pragma once

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <string>

#include "shm/base/result.h"

namespace airstore::bench {

// Names and attributes change only through the mount itself: the kernel may keep them.
constexpr double kFuseTimeoutSeconds = 3600;

// To be called from the init operation.
void ApplyFuseSettings(fuse_conn_info* connection);

// Cached pages and listings outlive open and close.
void KeepFileCache(fuse_file_info* file);
void KeepDirectoryCache(fuse_file_info* file);

struct FuseServer {
  std::string mountpoint;
  std::string name;  // shown in /proc/mounts
  fuse_lowlevel_ops operations;
  void* userdata = nullptr;
};

// Serves until told to stop; the mount is gone when it returns.
Result<void> RunFuseServer(const FuseServer& server);

}  // namespace airstore::bench
