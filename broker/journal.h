// SPDX-License-Identifier: Apache-2.0
//
// Journal: an append-only log of records in a directory of its own. What is read back after any
// death of the process, or damage to a file, is a prefix of what was appended, never anything else.
//
// It is made of segments (journal_segment.h). One more than is in use is always allocated, so the
// disk running full is known before it matters: Admit says ENOSPC while there is still room for
// records without which the rest could not be settled. Rewrite copies what is still wanted to the
// end, between two marks, and gives up everything before.
//
// Threads: one at a time, but for the descriptors of Unsynced.
// Owns: the directory's files.
// Fails: ENOSPC, EDQUOT, EIO of making files; with them nothing was appended. EPROTONOSUPPORT of
// opening what has another format.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "broker/journal_segment.h"

namespace airstore::broker {

struct JournalOptions {
  shm::SessionId session{};
  uint64_t segment_bytes = 4ull << 20;
  // Segments that a rewrite gives up stay until Synced says that the rewrite is on stable storage.
  bool keep_until_synced = false;
};

class Journal {
 public:
  // Marks of Rewrite. Between them lies all that counts of what was before, when both are there.
  static constexpr uint16_t kRewriteBegin = 1;
  static constexpr uint16_t kRewriteEnd = 2;
  static constexpr uint16_t kFirstFreeType = 3;

  using Visit = std::function<void(const JournalRecord&)>;
  struct End {
    uint64_t next_lsn = 1;
    bool damaged = false;     // what follows the last record is no clean end
    bool incomplete = false;  // segments were set aside that may hold more records
  };

  // An empty one. `directory` exists and is for nothing else.
  static Result<std::unique_ptr<Journal>> Create(const std::string& directory,
                                                 const JournalOptions& options);
  // One that an earlier process wrote: visits its records, cuts off what is torn, and goes on.
  static Result<std::unique_ptr<Journal>> Open(const std::string& directory,
                                               const JournalOptions& options, const Visit& visit,
                                               End* end);

  // Whether records that can be refused may be appended now.
  Result<void> Admit();
  // Returns where the payload is kept: valid until Rewrite gives it up.
  Result<std::span<const uint8_t>> Append(uint16_t type, std::span<const uint8_t> payload);
  // `append_live` appends all that is still wanted. When it fails, nothing has happened.
  Result<void> Rewrite(const std::function<Result<void>()>& append_live);

  uint64_t next_lsn() const { return next_lsn_; }
  // Since it was opened, with what did not stay.
  uint64_t appended_bytes() const { return appended_bytes_; }
  // On disk, with what is in reserve.
  uint64_t bytes() const { return (segments_.size() + (spare_ ? 1 : 0)) * options_.segment_bytes; }
  // In segments before the one being written.
  uint64_t old_bytes() const { return segments_.empty() ? 0 : OldBytes(); }
  // New descriptors of all that may not be on stable storage.
  std::vector<UniqueFd> Unsynced() const;
  // What was Unsynced when next_lsn() was `lsn` is on stable storage.
  void Synced(uint64_t lsn);
  // Records before it are on stable storage.
  uint64_t synced_lsn() const { return synced_lsn_; }
  // Segments were given up that only Synced removes.
  bool keeps() const { return !given_up_.empty(); }

 private:
  struct Numbered {
    uint64_t number = 0;
    std::unique_ptr<JournalSegment> segment;
  };
  // A rewrite that is not on stable storage yet.
  struct GivenUp {
    uint64_t needed_from = 0;  // number of the segment it begins in: those before are given up
    uint64_t end_lsn = 0;      // once records before it are on stable storage
  };

  Journal(std::string directory, const JournalOptions& options)
      : directory_(std::move(directory)), options_(options) {}
  std::string PathOf(uint64_t number) const;
  std::string SparePath() const { return directory_ + "/spare"; }
  Result<void> MakeSpare();
  Result<void> StartSegment();
  void ReleaseBefore(uint64_t number);
  uint64_t OldBytes() const;
  uint64_t Reserve() const { return options_.segment_bytes / 4; }
  JournalSegment& current() { return *segments_.back().segment; }

  std::string directory_;
  JournalOptions options_;
  std::deque<Numbered> segments_;  // the last one is written
  std::unique_ptr<JournalSegment> spare_;
  uint64_t next_number_ = 1;
  uint64_t next_lsn_ = 1;
  uint64_t appended_bytes_ = 0;
  uint64_t synced_lsn_ = 1;  // records before it are on stable storage
  std::deque<GivenUp> given_up_;
};

}  // namespace airstore::broker
