// SPDX-License-Identifier: Apache-2.0
//
// Inode numbers of virtual nodes: a range that no gateway gives out. The number is made from the
// path, so it is the same after a restart of the broker, whose kernels go on using it.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string_view>

namespace airstore::broker {

inline constexpr uint64_t kVirtualInodes = uint64_t{1} << 62;  // and all above, below 2^63

constexpr bool IsVirtual(uint64_t inode) { return (inode & kVirtualInodes) != 0; }
// `path` from the root, without a slash at its ends.
uint64_t VirtualInode(std::string_view path);

}  // namespace airstore::broker
