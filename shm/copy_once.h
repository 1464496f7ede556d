// SPDX-License-Identifier: Apache-2.0
//
// Copies out of memory that a hostile process may be changing. Each byte is read once, so what was
// validated is what is used; a plain memcpy would let the compiler read the source again.
// Threads: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace airstore::shm {

template <typename T>
T LoadOnce(const T& shared) {
  return __atomic_load_n(&shared, __ATOMIC_RELAXED);
}

// Its counterpart: the other side may be reading, which with a plain store would be a data race.
template <typename T>
void StoreOnce(T* shared, T value) {
  __atomic_store_n(shared, value, __ATOMIC_RELAXED);
}

// REQUIRES: `from` is aligned to 8 bytes, and readable up to the next multiple of 8 bytes.
inline void CopyOnce(void* to, const void* from, size_t bytes) {
  const auto* words = static_cast<const uint64_t*>(from);
  auto* out = static_cast<uint8_t*>(to);
  for (size_t done = 0; done < bytes; done += 8, ++words) {
    const uint64_t word = __atomic_load_n(words, __ATOMIC_RELAXED);
    memcpy(out + done, &word, bytes - done < 8 ? bytes - done : 8);
  }
}

template <typename T>
T CopyOnce(const T& shared) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0 && alignof(T) == 8);
  T copy;
  CopyOnce(&copy, &shared, sizeof(T));
  return copy;
}

}  // namespace airstore::shm
