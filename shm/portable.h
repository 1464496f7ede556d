// SPDX-License-Identifier: Apache-2.0
//
// Portable form: what the tables of a session and the lane of a mount say, independent of their
// layout. A program of one ABI writes it, a broker of another one makes its own segments from it.
//
//   record: PortableHead | words, 8 bytes each | text, padded with 0 to 8 bytes
//   stream: records, the last one kEnd with the XXH3 of all before it
//
// Numbers of kinds and places of words never change their meaning. A new word is appended: who
// does not know it passes over it, who misses it reads 0. So does a new kind. Numbers within words
// (operations, flags, states) are those of layout.h, which are never given another meaning either.
//
// What is left out: what slabs hold (it is fetched again), hash chains and counts (made anew),
// hazards (their frontends are gone).
// Threads: one at a time for each object. REQUIRES of what is exported: nobody changes it; how far
// its writers had come is of no importance, as after their death.
// Fails: EPROTO when a segment or a stream makes no sense; errors of the file otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"
#include "shm/segment.h"

struct XXH3_state_s;

namespace airstore::shm {

// Of the form as a whole; said by who can write it.
inline constexpr uint32_t kPortableVersion = 1;

enum class PortableKind : uint32_t {
  kEnd = 1,         // checksum
  kTables = 2,      // PortableTables
  kInode = 3,       // index, fields of InodeRecord
  kLostInode = 4,   // index: its writer died in the middle
  kDentry = 5,      // index, fields of DentryRecord; text: the name
  kLostDentry = 6,  // index
  kLane = 7,        // PortableLane; text: the opening message
  kQueued = 8,      // fields of QueueRecord; text: payload of a write
  kSlot = 9,        // index, state, position, args, reply; text: of the slot
  kTrace = 10,      // index, unique, waiting, effect, inode index
  kCounter = 11,    // index, value
  kHistogram = 12,  // row, bucket, value
  kUse = 13,        // inode index, fields of InodeUse
};

struct PortableHead {
  uint32_t kind;
  uint32_t words;
  uint32_t text_bytes;
  uint32_t reserved;
};

class PortableWriter {
 public:
  // Writes from the file's beginning; the descriptor is the caller's.
  explicit PortableWriter(int file);
  ~PortableWriter();
  // Errors are kept for Finish.
  void Put(PortableKind kind, std::span<const uint64_t> words, std::string_view text = {});
  Result<void> Finish();

 private:
  void Append(const void* bytes, size_t count);
  void Flush();

  int file_;
  int error_ = 0;
  std::string buffer_;
  XXH3_state_s* sum_;
};

struct PortableRecord {
  PortableKind kind = PortableKind::kEnd;
  std::vector<uint64_t> words;
  std::string text;

  uint64_t word(size_t at) const { return at < words.size() ? words[at] : 0; }
};

class PortableReader {
 public:
  explicit PortableReader(int file);
  ~PortableReader();
  // False: that was the last one, and the stream is whole. EPROTO, also for a record of kind 0:
  // nobody writes one.
  Result<bool> Next(PortableRecord* record);

 private:
  Result<void> Take(void* to, size_t bytes);

  int file_;
  uint64_t offset_ = 0;
  std::string buffer_;
  size_t at_ = 0;
  XXH3_state_s* sum_;
};

// To be finished by the caller. `meta`: of any session.
Result<void> ExportTables(UniqueFd meta, PortableWriter* out);
Result<void> ExportLane(UniqueFd lane, UniqueFd arena, PortableWriter* out);

// From a stream with tables: ready.
Result<std::unique_ptr<Segment>> ImportTables(int file, const SessionId& session);
// From one with a lane: makes it and its arena at these paths, replacing what is there.
Result<void> ImportLane(int file, const SessionId& session, uint32_t mount_index,
                        const std::string& lane_path, const std::string& arena_path);

}  // namespace airstore::shm
