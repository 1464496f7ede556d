// SPDX-License-Identifier: Apache-2.0
//
// BlockHashes: a hash for each block of a file. Where neighbours have the same, as in what was
// never sent and in holes, it is kept once: a file may be of millions of blocks and have a few of
// data. Threads: any, one at a time. Copies are values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace airstore::broker {

class BlockHashes {
 public:
  BlockHashes() = default;
  explicit BlockHashes(const std::vector<uint64_t>& hashes) {
    Resize(hashes.size());
    for (size_t i = 0; i < hashes.size(); ++i) Set(i, hashes[i]);
  }

  uint64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // 0 behind the end.
  uint64_t operator[](uint64_t block) const {
    if (block >= size_) return 0;
    const Chunk& chunk = chunks_[block / kChunk];
    return chunk.each.empty() ? chunk.all : chunk.each[block % kChunk];
  }
  // The blocks from this one up to there are known to have the same hash, whatever it is.
  uint64_t SameUntil(uint64_t block) const {
    if (block >= size_) return UINT64_MAX;
    if (!chunks_[block / kChunk].each.empty()) return block + 1;
    return std::min(size_, (block / kChunk + 1) * kChunk);
  }
  // REQUIRES: block < size(), but for Fill.
  void Set(uint64_t block, uint64_t hash) {
    Chunk& chunk = chunks_[block / kChunk];
    if (chunk.each.empty()) {
      if (chunk.all == hash) return;
      chunk.each.assign(kChunk, chunk.all);
    }
    chunk.each[block % kChunk] = hash;
    // Who sets one after the other has come to the end of it.
    if ((block + 1) % kChunk == 0) Join(&chunk);
  }
  // What is added is 0.
  void Resize(uint64_t size) {
    if (size < size_ && size % kChunk != 0) {
      for (uint64_t block = size; block < std::min(size_, (size / kChunk + 1) * kChunk); ++block) {
        Set(block, 0);
      }
    }
    size_ = size;
    chunks_.resize(static_cast<size_t>((size + kChunk - 1) / kChunk));
  }
  // All of them this.
  void Fill(uint64_t hash) {
    for (Chunk& chunk : chunks_) chunk = {hash, {}};
    for (uint64_t block = size_; block < chunks_.size() * kChunk; ++block) Set(block, 0);
  }
  void Forget() { Fill(0); }
  void Clear() { Resize(0); }

 private:
  static constexpr uint64_t kChunk = 512;
  struct Chunk {
    uint64_t all = 0;
    std::vector<uint64_t> each = {};  // when they differ
  };

  static void Join(Chunk* chunk) {
    const uint64_t first = chunk->each.front();
    const auto same = [first](uint64_t hash) { return hash == first; };
    if (std::all_of(chunk->each.begin(), chunk->each.end(), same)) *chunk = {first, {}};
  }

  uint64_t size_ = 0;
  std::vector<Chunk> chunks_;
};

inline bool operator==(const BlockHashes& hashes, const std::vector<uint64_t>& others) {
  if (hashes.size() != others.size()) return false;
  for (size_t i = 0; i < others.size(); ++i) {
    if (hashes[i] != others[i]) return false;
  }
  return true;
}

}  // namespace airstore::broker
