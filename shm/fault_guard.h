// SPDX-License-Identifier: Apache-2.0
//
// FaultGuard: survives a mapped file that somebody else cuts short.
//
// A lane and its arena are files, which cannot be sealed as memfds can, and their frontend holds a
// writable descriptor: it may truncate them, or punch holes on a full disk, and the broker's next
// access is a SIGBUS. While a range is guarded, such a fault puts zeroed private memory in place of
// the range and marks it lost; the lane is then ended like any other that broke the protocol.
// Another way out would be a copy of everything through read(2), at a system call per record.
// Threads: guards are made and ended by any thread; the signal handler reads them without a lock.
// Owns: the process's SIGBUS handler, from the first guard on; faults elsewhere go to the one that
// was there before.
#pragma once

#include <cstddef>

#include "shm/base/result.h"

namespace airstore::shm {

class FaultGuard {
 public:
  // ENOSPC when too many ranges are guarded. REQUIRES: the range is mapped for as long as this
  // lives.
  static Result<FaultGuard> Watch(void* address, size_t bytes);

  FaultGuard() = default;
  FaultGuard(FaultGuard&& other) noexcept;
  FaultGuard& operator=(FaultGuard&& other) noexcept;
  ~FaultGuard();

  // The memory of the range is no longer the file's.
  bool lost() const;

 private:
  explicit FaultGuard(int entry) : entry_(entry) {}

  int entry_ = -1;
};

}  // namespace airstore::shm
