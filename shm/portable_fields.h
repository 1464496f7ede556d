// SPDX-License-Identifier: Apache-2.0
//
// The order of fields in portable records: append only. Inner part of portable.h.
// Threads: stateless.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "shm/layout.h"

namespace airstore::shm {

template <typename Record, typename Visit>
requires std::is_same_v<std::remove_const_t<Record>, InodeRecord>
void EachField(Record& r, Visit visit) {
  visit(r.inode), visit(r.generation), visit(r.mode), visit(r.nlink), visit(r.uid), visit(r.gid);
  visit(r.size), visit(r.rdev), visit(r.allocated_bytes);
  visit(r.atime_ns), visit(r.mtime_ns), visit(r.ctime_ns), visit(r.btime_ns);
  visit(r.known_by), visit(r.flags), visit(r.write_error);
  visit(r.content_kind), visit(r.content_generation), visit(r.content_file);
  visit(r.dir_next_cookie), visit(r.xattr_count), visit(r.content_version);
}

template <typename Record, typename Visit>
requires std::is_same_v<std::remove_const_t<Record>, DentryRecord>
void EachField(Record& r, Visit visit) {
  visit(r.parent), visit(r.inode), visit(r.cookie), visit(r.type);
}

template <typename Record, typename Visit>
requires std::is_same_v<std::remove_const_t<Record>, QueueRecord>
void EachField(Record& r, Visit visit) {
  visit(r.op), visit(r.slot), visit(r.inode), visit(r.offset), visit(r.arena_position);
  visit(r.length), visit(r.flags), visit(r.time_ns), visit(r.unique);
}

template <typename Record, typename Visit>
requires std::is_same_v<std::remove_const_t<Record>, RequestArgs>
void EachField(Record& r, Visit visit) {
  visit(r.op), visit(r.flags), visit(r.unique), visit(r.inode), visit(r.inode2), visit(r.offset);
  visit(r.size), visit(r.valid), visit(r.mode), visit(r.uid), visit(r.gid), visit(r.pid);
  visit(r.umask), visit(r.set_uid), visit(r.set_gid), visit(r.rdev), visit(r.atime_ns);
  visit(r.mtime_ns), visit(r.name_bytes), visit(r.name2_bytes);
}

template <typename Record, typename Visit>
requires std::is_same_v<std::remove_const_t<Record>, RequestReply>
void EachField(Record& r, Visit visit) {
  visit(r.error), visit(r.open_mode), visit(r.backing_id), visit(r.inode_index), visit(r.value);
  for (auto& word : r.statfs) visit(word);
  visit(r.text_bytes);
  EachField(r.attr, visit);
}

template <typename Record>
void PutFields(const Record& record, std::vector<uint64_t>* words) {
  EachField(record, [words](const auto& field) { words->push_back(static_cast<uint64_t>(field)); });
}

// From `*at` on; what is missing is 0.
template <typename Record>
void TakeFields(const std::vector<uint64_t>& words, size_t* at, Record* record) {
  EachField(*record, [&words, at](auto& field) {
    field =
        static_cast<std::remove_reference_t<decltype(field)>>(*at < words.size() ? words[*at] : 0);
    ++*at;
  });
}

}  // namespace airstore::shm
