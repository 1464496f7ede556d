// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/buffer_pool.h"

namespace airstore::volume {

BufferPool::Lease::~Lease() {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  if (pool_->free_.size() < kKept) pool_->free_.push_back(std::move(buffer_));
}

BufferPool::Buffer BufferPool::Make(size_t bytes) {
  return Buffer(static_cast<uint8_t*>(operator new[](bytes, kAlignment)));
}

BufferPool::Lease BufferPool::Take(size_t bytes) {
  if (bytes > kBufferBytes) return {nullptr, Make(bytes)};
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      Buffer buffer = std::move(free_.back());
      free_.pop_back();
      return {this, std::move(buffer)};
    }
  }
  return {this, Make(kBufferBytes)};
}

}  // namespace airstore::volume
