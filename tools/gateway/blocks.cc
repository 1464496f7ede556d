// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks.h"

#include <openssl/rand.h>
#include <xxhash.h>

#include <cstring>

namespace airstore::gateway {
namespace {

constexpr char kMagic[8] = {'A', 'S', 'B', 'L', 'O', 'C', 'K', '1'};

// Little-endian on disk, as on every machine this runs on.
struct Header {
  char magic[8];
  uint64_t length;
  uint64_t xxh3;
  uint64_t reserved;
};
static_assert(sizeof(Header) == Blocks::kHeaderBytes);

}  // namespace

uint64_t ContentHash(std::string_view data) { return XXH3_64bits(data.data(), data.size()); }

bool IsIntactBlock(std::string_view stored) {
  Header header;
  if (stored.size() < sizeof header) return false;
  std::memcpy(&header, stored.data(), sizeof header);
  const std::string_view data = stored.substr(sizeof header);
  return std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 && header.length == data.size() &&
         header.xxh3 == ContentHash(data);
}

BlockId RandomBlockId() {
  BlockId id;
  AIRSTORE_CHECK(RAND_bytes(id.bytes.data(), static_cast<int>(id.bytes.size())) == 1);
  return id;
}

Result<void> Blocks::Put(const BlockKey& key, std::string_view data, uint64_t xxh3) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.length = data.size();
  header.xxh3 = xxh3;
  auto stored = store_.Put(key, {reinterpret_cast<const char*>(&header), sizeof header}, data);
  if (!stored) {
    ++counters_.failures;
    return stored;
  }
  ++counters_.stored;
  counters_.stored_bytes += data.size();
  return stored;
}

Result<BlockData> Blocks::Get(const BlockKey& key) {
  {
    std::unique_lock lock(mu_);
    while (true) {
      if (auto it = cache_.find(key); it != cache_.end()) {
        by_use_.splice(by_use_.begin(), by_use_, it->second.position);
        ++counters_.cached;
        counters_.cached_bytes += it->second.data->size() - kHeaderBytes;
        return it->second.data;
      }
      if (loading_.insert(key).second) break;
      loaded_.wait(lock);
    }
  }
  Result<std::string> stored = store_.Get(key);
  const bool intact = stored && IsIntactBlock(*stored);
  BlockData data;
  if (intact) data = std::make_shared<const std::string>(std::move(*stored));
  {
    std::lock_guard lock(mu_);
    loading_.erase(key);
    if (intact) Insert(key, data);
  }
  loaded_.notify_all();
  if (intact) {
    ++counters_.read;
    counters_.read_bytes += data->size() - kHeaderBytes;
  } else {
    ++counters_.failures;
  }
  if (!stored) return stored.error();
  if (!intact) return Error{EIO, "block is damaged"};
  return data;
}

Result<void> Blocks::Delete(std::span<const BlockKey> keys) {
  {
    std::lock_guard lock(mu_);
    for (const BlockKey& key : keys) Erase(key);
  }
  auto deleted = store_.Delete(keys);
  if (deleted) {
    counters_.deleted += keys.size();
  } else {
    ++counters_.failures;
  }
  return deleted;
}

uint64_t Blocks::cached_bytes() {
  const std::lock_guard lock(mu_);
  return cached_bytes_;
}

void Blocks::Insert(const BlockKey& key, BlockData data) {
  Erase(key);
  by_use_.push_front(key);
  cached_bytes_ += data->size();
  cache_[key] = {std::move(data), by_use_.begin()};
  while (cached_bytes_ > cache_bytes_ && !by_use_.empty()) Erase(BlockKey(by_use_.back()));
}

void Blocks::Erase(const BlockKey& key) {
  const auto it = cache_.find(key);
  if (it == cache_.end()) return;
  cached_bytes_ -= it->second.data->size();
  by_use_.erase(it->second.position);
  cache_.erase(it);
}

}  // namespace airstore::gateway
