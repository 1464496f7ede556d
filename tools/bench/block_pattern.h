// SPDX-License-Identifier: Apache-2.0
//
// File content that proves where and when it was written: each 4 KiB block starts with a stamp of
// its number and generation, the rest is fixed noise that neither compresses nor repeats within 1
// MiB.
//
// Checking a stamp touches one cache line per block, so it can run inside a timed loop; CheckAll
// compares every byte.
// Threads: const after construction but for Stamp(), which writes the buffer it is given.
#pragma once

#include <cstdint>
#include <vector>

namespace airstore::bench {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kPatternBlocks = 256;
constexpr uint64_t kPatternBytes = kPatternBlocks * kBlockBytes;  // 1 MiB

class BlockPattern {
 public:
  BlockPattern();

  // 1 MiB of content with empty stamps.
  std::vector<char> NewBuffer() const { return noise_; }

  static void Stamp(char* block, uint64_t number, uint32_t generation);
  static bool HasStamp(const char* block, uint64_t number, uint32_t generation);
  // Whole blocks; `data` holds block `number`.
  bool CheckBlock(const char* data, uint64_t number, uint32_t generation) const;

 private:
  std::vector<char> noise_;
};

// A good 64-bit mixer (splitmix64): the same choice everywhere for the same seed.
uint64_t Mix(uint64_t seed);

}  // namespace airstore::bench
