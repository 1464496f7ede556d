// SPDX-License-Identifier: Apache-2.0
#include "shm/base/siphash.h"

#include <endian.h>

#include <bit>
#include <cstring>

namespace airstore {
namespace {

uint64_t LoadWord(const uint8_t* at) {
  uint64_t word = 0;
  memcpy(&word, at, sizeof(word));
  return le64toh(word);
}

struct State {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void Add(uint64_t word) {
    v3 ^= word;
    Round();
    Round();
    v0 ^= word;
  }
};

}  // namespace

uint64_t SipHash(const SipKey& key, std::span<const uint8_t> bytes) {
  const uint64_t k0 = LoadWord(key.data());
  const uint64_t k1 = LoadWord(key.data() + 8);
  State state{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
              k1 ^ 0x7465646279746573};
  const size_t whole = bytes.size() / 8 * 8;
  for (size_t at = 0; at < whole; at += 8) state.Add(LoadWord(bytes.data() + at));
  uint8_t last[8] = {};
  if (whole != bytes.size()) memcpy(last, bytes.data() + whole, bytes.size() - whole);
  last[7] = static_cast<uint8_t>(bytes.size());
  state.Add(LoadWord(last));
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace airstore
