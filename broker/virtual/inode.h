// SPDX-License-Identifier: Apache-2.0
//
// Inode numbers of virtual nodes. The number is made from the path, so it is the same after a
// restart of the broker, whose kernels go on using it.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "shm/virtual_inode.h"

namespace airstore::broker {

using shm::IsVirtual;
using shm::kVirtualInodes;

// `path` from the root, without a slash at its ends.
uint64_t VirtualInode(std::string_view path);

}  // namespace airstore::broker
