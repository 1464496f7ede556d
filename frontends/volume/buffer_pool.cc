// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/buffer_pool.h"

namespace airstore::volume {

BufferPool::Lease::~Lease() {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  if (pool_->free_.size() < kKept) pool_->free_.push_back(std::move(buffer_));
}

BufferPool::Lease BufferPool::Take(size_t bytes) {
  if (bytes > kBufferBytes) return {nullptr, std::make_unique_for_overwrite<uint8_t[]>(bytes)};
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      std::unique_ptr<uint8_t[]> buffer = std::move(free_.back());
      free_.pop_back();
      return {this, std::move(buffer)};
    }
  }
  return {this, std::make_unique_for_overwrite<uint8_t[]>(kBufferBytes)};
}

}  // namespace airstore::volume
