// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/block_pattern.h"

#include <cstring>

namespace airstore::bench {
namespace {

uint64_t StampOf(uint64_t number, uint32_t generation) {
  return Mix(number * 0x1'0000'0001ULL + generation + 1);
}

}  // namespace

uint64_t Mix(uint64_t seed) {
  uint64_t z = seed + 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

BlockPattern::BlockPattern() : noise_(kPatternBytes) {
  for (uint64_t at = 0; at < kPatternBytes; at += sizeof(uint64_t)) {
    const uint64_t word = at % kBlockBytes == 0 ? 0 : Mix(at);
    memcpy(noise_.data() + at, &word, sizeof(word));
  }
}

void BlockPattern::Stamp(char* block, uint64_t number, uint32_t generation) {
  const uint64_t stamp = StampOf(number, generation);
  memcpy(block, &stamp, sizeof(stamp));
}

bool BlockPattern::HasStamp(const char* block, uint64_t number, uint32_t generation) {
  const uint64_t stamp = StampOf(number, generation);
  return memcmp(block, &stamp, sizeof(stamp)) == 0;
}

bool BlockPattern::CheckBlock(const char* data, uint64_t number, uint32_t generation) const {
  const char* noise = noise_.data() + number % kPatternBlocks * kBlockBytes;
  return HasStamp(data, number, generation) &&
         memcmp(data + sizeof(uint64_t), noise + sizeof(uint64_t),
                kBlockBytes - sizeof(uint64_t)) == 0;
}

}  // namespace airstore::bench
