// SPDX-License-Identifier: Apache-2.0
//
// JournalSegment: one file of a journal, mapped, all of its blocks allocated.
//
// A file is a header and records behind it, each with a checksum that also depends on the file's
// number, so what a recycled file still holds of its last use is never taken for a record.
// Appending is a copy into the map: it cannot fail, and it survives the process.
//
// Threads: one at a time.
// Owns: the descriptor and the mapping, not the name.
// Fails: ENOSPC when the blocks are not to be had, before anything is written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"
#include "shm/segment.h"

namespace airstore::broker {

struct JournalRecord {
  uint64_t lsn = 0;
  uint16_t type = 0;
  std::span<const uint8_t> payload;  // in the map
};

class JournalSegment {
 public:
  ~JournalSegment();
  JournalSegment(const JournalSegment&) = delete;
  JournalSegment& operator=(const JournalSegment&) = delete;

  // A file without a header, for Format. Replaces what is there.
  static Result<std::unique_ptr<JournalSegment>> Create(const std::string& path, uint64_t bytes);
  // One that an earlier process wrote; EPROTO when its header is not of this session and number.
  static Result<std::unique_ptr<JournalSegment>> Open(const std::string& path,
                                                      const shm::SessionId& session,
                                                      uint64_t number);

  // Nothing was ever written to the file.
  static bool IsBlank(const std::string& path);

  // Makes it an empty segment, whatever it was.
  void Format(const shm::SessionId& session, uint64_t number, uint64_t first_lsn);
  uint64_t first_lsn() const;

  // Bytes that a record with such a payload takes.
  static uint64_t RecordBytes(uint64_t payload_bytes);
  // The greatest payload that a segment of this size can hold.
  static uint64_t MaxPayload(uint64_t segment_bytes);
  uint64_t room() const { return bytes_ - end_; }  // for RecordBytes
  uint64_t end() const { return end_; }
  uint64_t bytes() const { return bytes_; }
  int fd() const { return fd_.get(); }

  // REQUIRES: room() >= RecordBytes(). Returns where the payload lies.
  const uint8_t* Append(uint64_t lsn, uint16_t type, std::span<const uint8_t> payload);
  // Forgets the records from `end` on.
  void CutTo(uint64_t end);

  // The record at `*offset`, which moves behind it. Nothing at the end, and where the next record
  // is not the one with this number, intact.
  std::optional<JournalRecord> Next(uint64_t* offset, uint64_t lsn) const;
  static uint64_t FirstOffset();
  // Nothing was ever written behind `offset`: the end is no damage.
  bool EndsAt(uint64_t offset) const;

 private:
  JournalSegment(UniqueFd fd, uint8_t* base, uint64_t bytes);
  static Result<std::unique_ptr<JournalSegment>> Map(UniqueFd fd, uint64_t bytes,
                                                     const std::string& path);

  UniqueFd fd_;
  uint8_t* base_;
  uint64_t bytes_;
  uint64_t end_;
  uint64_t seed_ = 0;
};

}  // namespace airstore::broker
