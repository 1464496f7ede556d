// SPDX-License-Identifier: Apache-2.0
//
// ListedDirectories: keeps the directories that clients were listing last where they are in the
// tables, so that cookies go on to mean the same. NFS tells of no end of a listing; so the last few
// are kept, and a client that goes on with another one may be told of a name twice.
// Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "frontends/volume/volume.h"

namespace airstore::nfs {

class ListedDirectories {
 public:
  explicit ListedDirectories(volume::Volume* volume) : volume_(*volume) {}

  void Keep(uint64_t inode);
  // Lets all go.
  void Clear();

 private:
  static constexpr size_t kKept = 128;

  volume::Volume& volume_;
  std::mutex mutex_;
  std::array<uint64_t, kKept> kept_{};  // guarded by mutex_; last used first; 0: none
};

}  // namespace airstore::nfs
