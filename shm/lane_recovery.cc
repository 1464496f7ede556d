// SPDX-License-Identifier: Apache-2.0
#include "shm/lane_recovery.h"

#include <algorithm>

namespace airstore::shm {

QueueEnd CloseQueueGaps(LaneLayout* lane) {
  const uint64_t applied = lane->cursors.applied.load(std::memory_order_acquire);
  QueueEnd end{applied, lane->cursors.arena_applied.load(std::memory_order_acquire)};
  for (uint64_t place = applied; place < applied + kQueueRecords; ++place) {
    const QueueRecord& record = lane->queue[place % kQueueRecords];
    if (record.position.load(std::memory_order_acquire) != place + 1) continue;
    end.record = place + 1;
    if (static_cast<QueueOp>(record.op) == QueueOp::kWrite) {
      end.arena = std::max(end.arena, record.arena_position + record.length);
    }
  }
  for (uint64_t place = applied; place < end.record; ++place) {
    QueueRecord& record = lane->queue[place % kQueueRecords];
    if (record.position.load(std::memory_order_acquire) == place + 1) continue;
    record.op = static_cast<uint32_t>(QueueOp::kNone);
    record.position.store(place + 1, std::memory_order_release);
  }
  return end;
}

}  // namespace airstore::shm
