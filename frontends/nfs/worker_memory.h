// SPDX-License-Identifier: Apache-2.0
//
// WorkerMemory: what a worker reads into and writes its replies to. Mapped as a whole, so that it
// is there as far as it was used; given back when the worker has nothing to do. Threads: one.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <span>

#include "frontends/nfs/connection.h"
#include "frontends/nfs/dispatcher.h"

namespace airstore::nfs {

class WorkerMemory {
 public:
  WorkerMemory() {
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    base_ = at == MAP_FAILED ? nullptr : static_cast<uint8_t*>(at);
  }
  ~WorkerMemory() {
    if (base_ != nullptr) munmap(base_, kBytes);
  }
  WorkerMemory(const WorkerMemory&) = delete;
  WorkerMemory& operator=(const WorkerMemory&) = delete;

  explicit operator bool() const { return base_ != nullptr; }
  std::span<uint8_t> record() const { return {base_, Connection::kMostRecord}; }
  std::span<char> reply() const {
    return {reinterpret_cast<char*>(base_ + Connection::kMostRecord), Dispatcher::kReplyBytes};
  }
  // All but the first pages, which the next call needs anyhow.
  void GiveBack() const {
    madvise(base_ + kKept, Connection::kMostRecord - kKept, MADV_DONTNEED);
    madvise(base_ + Connection::kMostRecord + kKept, Dispatcher::kReplyBytes - kKept,
            MADV_DONTNEED);
  }

 private:
  static constexpr size_t kKept = 4096;
  static constexpr size_t kBytes = Connection::kMostRecord + Dispatcher::kReplyBytes;
  static_assert(Connection::kMostRecord % kKept == 0);

  uint8_t* base_;
};

}  // namespace airstore::nfs
