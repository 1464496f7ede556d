// SPDX-License-Identifier: Apache-2.0
//
// Segments made from portable records. Inner part of portable.h: the records may come from anyone.
// Threads: one. Owns: what it makes, until Finish.
#pragma once

#include "shm/meta_table.h"
#include "shm/portable.h"

namespace airstore::shm {

class TablesImport {
 public:
  Result<void> Begin(const PortableRecord& record, const SessionId& session);  // kTables
  Result<void> Take(const PortableRecord& record);  // kInode to kLostDentry
  Result<std::unique_ptr<Segment>> Finish();        // fails when nothing has begun

 private:
  Result<void> TakeInode(uint32_t index, const PortableRecord& from);
  Result<void> TakeDentry(uint32_t index, const PortableRecord& from);
  template <typename EntryType>
  Result<void> Lost(EntryType* entry);

  std::unique_ptr<MetaWriter> writer_;
  uint32_t next_long_name_ = 1;
};

class LaneImport {
 public:
  Result<void> Begin(const PortableRecord& record, const Segment::Identity& lane,
                     const std::string& lane_path, const std::string& arena_path);  // kLane
  Result<void> Take(const PortableRecord& record);  // kQueued to kUse
  Result<void> Finish();                            // fails when nothing has begun

 private:
  LaneLayout* layout() const { return lane_->At<LaneLayout>(0); }
  Result<void> TakeQueued(const PortableRecord& from);
  Result<void> TakeSlot(const PortableRecord& from);
  Result<void> TakeTrace(const PortableRecord& from);
  Result<void> TakeUse(const PortableRecord& from);

  std::unique_ptr<Segment> lane_;
  std::unique_ptr<Segment> arena_;
  uint64_t ring_bytes_ = 0;
};

}  // namespace airstore::shm
