// SPDX-License-Identifier: Apache-2.0
//
// Blocks with checksums and a cache, above any block store. Every stored block carries a header
// (magic, length, XXH3-64 of the data); a block that does not match it is never served: EIO.
//
// Whole blocks are cached, because small files are packed into shared blocks: reading a directory
// of them costs one read of the store. Concurrent readers of one block wait for a single read.
//
// Threads: any.
// Ownership: borrows the store; cached blocks are shared with readers that still copy from them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "tools/gateway/block_store.h"

namespace airstore::gateway {

uint64_t ContentHash(std::string_view data);  // XXH3-64
BlockId RandomBlockId();
// Whether stored bytes are a header and the data that it describes.
bool IsIntactBlock(std::string_view stored);

struct BlockKeyHash {
  size_t operator()(const BlockKey& key) const {
    return Id16Hash()(key.id) ^ std::hash<WorkspaceKey>()(key.workspace);
  }
};

// Shared by the cache and by those who read from it right now.
using BlockData = std::shared_ptr<const std::string>;

class Blocks {
 public:
  Blocks(BlockStore& store, uint64_t cache_bytes) : store_(store), cache_bytes_(cache_bytes) {}

  Result<void> Put(const BlockKey& key, std::string_view data, uint64_t xxh3);
  // The data starts at kHeaderBytes of the string. ENOENT: no such block. EIO: damaged.
  Result<BlockData> Get(const BlockKey& key);
  Result<void> Delete(std::span<const BlockKey> keys);
  BlockStore& store() { return store_; }

  // Since the start. Bytes are those of the data.
  struct Counters {
    std::atomic<uint64_t> stored{0}, stored_bytes{0};
    std::atomic<uint64_t> read{0}, read_bytes{0};      // of the store
    std::atomic<uint64_t> cached{0}, cached_bytes{0};  // of the cache
    std::atomic<uint64_t> deleted{0};
    std::atomic<uint64_t> failures{0};  // of the store; or what it has is damaged
  };
  const Counters& counters() const { return counters_; }
  uint64_t cached_bytes();

  static constexpr size_t kHeaderBytes = 32;

 private:
  void Insert(const BlockKey& key, BlockData data);  // REQUIRES: mu_
  void Erase(const BlockKey& key);                   // REQUIRES: mu_

  struct Cached {
    BlockData data;
    std::list<BlockKey>::iterator position;
  };

  BlockStore& store_;
  const uint64_t cache_bytes_;
  Counters counters_;
  std::mutex mu_;
  std::condition_variable loaded_;
  // Guarded by mu_.
  std::unordered_map<BlockKey, Cached, BlockKeyHash> cache_;
  std::list<BlockKey> by_use_;  // most recent first
  std::unordered_set<BlockKey, BlockKeyHash> loading_;
  uint64_t cached_bytes_ = 0;
};

}  // namespace airstore::gateway
