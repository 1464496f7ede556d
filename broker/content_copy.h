// SPDX-License-Identifier: Apache-2.0
//
// Copying a range of one file of this host into another one, or elsewhere into the same.
// Threads: any; both files may be read and written by others meanwhile.
#pragma once

#include <cstdint>

namespace airstore::broker {

struct CopiedBytes {
  uint64_t count = 0;  // from the beginning of the range
  int error = 0;       // why not more; 0 also where the source ends
};

// Holes become holes. The file system shares the bytes where it can. The ranges do not overlap.
CopiedBytes CopyBytes(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t length);

}  // namespace airstore::broker
