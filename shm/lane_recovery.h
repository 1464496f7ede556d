// SPDX-License-Identifier: Apache-2.0
//
// What is left in a lane's queue when its frontend has died.
//
// Records are reserved in order but written by many threads: a death may leave a gap with later
// records, already acknowledged, behind it. A gap becomes a void record, else the broker would wait
// for it for ever.
// Threads: REQUIRES that no frontend produces; the broker may be consuming.
#pragma once

#include "shm/layout.h"

namespace airstore::shm {

// Cursors behind the last record that was written.
struct QueueEnd {
  uint64_t record = 0;
  uint64_t arena = 0;
};
// Of what lies there now. `applied`: how far the broker is. It is read once, or one's own: who
// shares the lane may change it at any time.
QueueEnd EndOfQueue(const LaneLayout* lane, uint64_t applied);
QueueEnd CloseQueueGaps(LaneLayout* lane, uint64_t applied);

}  // namespace airstore::shm
