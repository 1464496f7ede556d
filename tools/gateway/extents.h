// SPDX-License-Identifier: Apache-2.0
//
// The overlay arithmetic of content: what happens to existing extents when a range is replaced.
// Pure, so that it can be tested against a model without a store.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/gateway/types.h"

namespace airstore::gateway {

struct Carving {
  std::vector<uint64_t> removed;  // offsets of extents that go, or that `added` replaces
  std::vector<Extent> added;      // what is left of them outside of the range
  std::vector<Extent> freed;      // the parts inside of the range: references that are gone
};

// Cuts [start, end) out of `touching`, the extents that overlap it.
inline Carving Carve(const std::vector<Extent>& touching, uint64_t start, uint64_t end) {
  Carving carving;
  for (const Extent& e : touching) {
    if (e.end() <= start || e.offset >= end) continue;
    carving.removed.push_back(e.offset);
    Extent inside = e;
    if (e.offset < start) {
      const uint64_t head = start - e.offset;
      carving.added.push_back({e.offset, head, e.block, e.block_offset});
      inside.offset = start;
      inside.block_offset += head;
      inside.length -= head;
    }
    if (e.end() > end) {
      const uint64_t tail = e.end() - end;
      carving.added.push_back({end, tail, e.block, e.block_offset + (end - e.offset)});
      inside.length -= tail;
    }
    carving.freed.push_back(inside);
  }
  return carving;
}

}  // namespace airstore::gateway
