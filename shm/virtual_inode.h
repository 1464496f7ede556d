// SPDX-License-Identifier: Apache-2.0
//
// Inode numbers of virtual nodes: a range that no gateway gives out. Frontends know it because what
// is written there is refused before anybody has accepted it.
// Threads: pure functions.
#pragma once

#include <cstdint>

namespace airstore::shm {

inline constexpr uint64_t kVirtualInodes = uint64_t{1} << 62;  // and all above, below 2^63

constexpr bool IsVirtual(uint64_t inode) { return (inode & kVirtualInodes) != 0; }

}  // namespace airstore::shm
