// SPDX-License-Identifier: Apache-2.0
//
// OpenWriters: files that are open for writing because a client writes to them. NFS knows no open
// files, and the broker takes bytes for open ones only; opening for each WRITE would cost a call.
//
// Few, and closed when they are committed or idle: who opens the file on another mount is not to
// find a writer that has gone long ago. When this process dies, the broker closes them.
// Threads: any.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "frontends/volume/volume.h"

namespace airstore::nfs {

class OpenWriters {
 public:
  static constexpr size_t kLimit = 64;
  static constexpr uint64_t kIdleNs = 2'000'000'000;

  explicit OpenWriters(volume::Volume* volume) : volume_(*volume) {}

  // Opens the file unless it is open, and keeps it so until Done. An errno.
  int Use(volume::Request& request, uint64_t inode);
  // A Use has ended. `close`: the client is through with the file, as it seems.
  void Done(volume::Request& request, uint64_t inode, bool close);
  // Nobody is writing: it is committed. Closes it.
  void Close(volume::Request& request, uint64_t inode);
  // Closes those that are idle. False: none is left.
  bool CloseIdle(volume::Request& request);

 private:
  struct Writer {
    volume::OpenHandle handle;
    uint32_t users = 0;
    uint64_t used_ns = 0;
  };
  void Add(volume::Request& request, uint64_t inode, volume::OpenHandle handle);
  // Takes out what is idle and, when there are too many, who was used least lately.
  void CloseSome(volume::Request& request);

  volume::Volume& volume_;
  std::mutex mutex_;
  std::unordered_map<uint64_t, Writer> writers_;  // guarded by mutex_
};

}  // namespace airstore::nfs
