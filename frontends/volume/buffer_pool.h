// SPDX-License-Identifier: Apache-2.0
//
// BufferPool: buffers for reads that must pass through memory of ours.
//
// A pool and not one buffer per thread: dozens of threads may wait at the broker, but few copy at
// the same moment, and the process has a few MiB of private memory to spend. What is kept beyond
// use is bounded.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace airstore::volume {

class BufferPool {
  struct Delete {
    void operator()(uint8_t* buffer) const { operator delete[](buffer, kAlignment); }
  };
  using Buffer = std::unique_ptr<uint8_t[], Delete>;

 public:
  // One buffer, back in the pool when it goes out of scope.
  class Lease {
   public:
    Lease(BufferPool* pool, Buffer buffer) : pool_(pool), buffer_(std::move(buffer)) {}
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    uint8_t* data() const { return buffer_.get(); }

   private:
    BufferPool* pool_;  // nullptr: not one of the pool's
    Buffer buffer_;
  };

  // At least `bytes` long, aligned to a page, content undefined.
  Lease Take(size_t bytes);

 private:
  static Buffer Make(size_t bytes);

  // Processors copy whole pages a good deal faster when both sides begin with one.
  static constexpr std::align_val_t kAlignment{4096};
  static constexpr size_t kKept = 2;
  static constexpr size_t kBufferBytes = 1u << 20;  // the greatest read of the kernel

  std::mutex mutex_;
  std::vector<Buffer> free_;  // guarded by mutex_; last used last
};

}  // namespace airstore::volume
