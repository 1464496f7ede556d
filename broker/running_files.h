// SPDX-License-Identifier: Apache-2.0
//
// Whether a file is the program of some process.
// Threads: any.
#pragma once

#include <cstdint>

namespace airstore::broker {

// The file with that number, of the file system with device number 0:`minor`. Looks at every
// process that this one may look at, and asks no file system anything.
bool IsRun(uint32_t minor, uint64_t inode);

}  // namespace airstore::broker
