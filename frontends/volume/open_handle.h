// SPDX-License-Identifier: Apache-2.0
//
// OpenHandle: what a frontend must remember of an open file, in the protocol's 64-bit handle.
//
// No object stands behind a handle, because handles outlive the process: after a crash the kernel
// presents those of the old frontend to the new one.
// Threads: plain values.
#pragma once

#include <cstdint>

#include "shm/layout.h"

namespace airstore::volume {

struct OpenHandle {
  uint32_t mode = shm::kOpenCached;  // OpenMode, with kOpenForWrite
  uint32_t index = shm::kNoIndex;    // of the inode: a hint, verified at each use
  bool local = false;                // opened without the broker, counted in InodeUse::opens
  uint64_t serial = 0;               // tells the open files of an inode apart; at most kMostSerial

  static constexpr uint64_t kMostSerial = (uint64_t{1} << 34) - 1;
  static constexpr uint32_t kMostIndex = (1u << 26) - 2;

  bool for_write() const { return (mode & shm::kOpenForWrite) != 0; }
  uint32_t path() const { return mode & shm::kOpenModeMask; }

  // An index that does not fit is left out.
  uint64_t Encode() const {
    return serial << 30 | static_cast<uint64_t>(index <= kMostIndex ? index : kLeftOut) << 4 |
           (local ? kLocal : 0) | (for_write() ? kWrite : 0) | path();
  }
  static OpenHandle Decode(uint64_t value) {
    const auto path = static_cast<uint32_t>(value & shm::kOpenModeMask);
    const uint32_t index = static_cast<uint32_t>(value >> 4) & kLeftOut;
    return {path | ((value & kWrite) != 0 ? shm::kOpenForWrite : 0u),
            index == kLeftOut ? shm::kNoIndex : index, (value & kLocal) != 0, value >> 30};
  }

 private:
  static_assert(shm::kOpenModeMask == 3);
  static constexpr uint32_t kLeftOut = kMostIndex + 1;
  static constexpr uint64_t kWrite = 1u << 2;
  static constexpr uint64_t kLocal = 1u << 3;
};

}  // namespace airstore::volume
