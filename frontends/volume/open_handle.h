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

  bool for_write() const { return (mode & shm::kOpenForWrite) != 0; }
  uint32_t path() const { return mode & shm::kOpenModeMask; }

  uint64_t Encode() const {
    return static_cast<uint64_t>(index) << 32 | (local ? kLocal : 0) | (mode & kModeBits);
  }
  static OpenHandle Decode(uint64_t value) {
    return {static_cast<uint32_t>(value & kModeBits), static_cast<uint32_t>(value >> 32),
            (value & kLocal) != 0};
  }

 private:
  static constexpr uint64_t kModeBits = 0xffff;
  static constexpr uint64_t kLocal = 1u << 16;
};

}  // namespace airstore::volume
