// SPDX-License-Identifier: Apache-2.0
//
// SessionJournal: what a session must not forget, written down when it happens. It knows which of
// its records still count, and rewrites the journal when the others have become the greater part.
//
// Threads: the event loop.
// Owns: the journal.
// Fails: ENOSPC and the like. Records that only follow from earlier ones may use the reserve that
// Admit keeps.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "broker/journal_state.h"

namespace airstore::broker {

class SessionJournal {
 public:
  // For a new session; `directory` is made.
  static Result<std::unique_ptr<SessionJournal>> Create(const std::string& directory,
                                                        const JournalOptions& options);
  // Of a session whose broker has died; `state` is what it left.
  static Result<std::unique_ptr<SessionJournal>> Open(const std::string& directory,
                                                      const JournalOptions& options,
                                                      JournalState* state);

  // Asked before something is changed: whether that can be written down.
  Result<void> Admit();

  Result<void> Append(const MutationRecord& record);
  Result<void> Append(const BatchRecord& record);
  // A change that is not settled is made on that version of the content by now.
  void Expect(Ticket ticket, uint64_t content_version);
  void Append(const SettledRecord& record);
  void Append(const ElidedRecord& record);
  Result<void> Append(const AttachedRecord& record);
  Result<void> Append(const DirtyRecord& record);
  void Append(const DetachedRecord& record);
  void Append(const CleanRecord& record);
  void Append(const InodesRecord& record);
  void Append(const CutRecord& record);
  void Append(const WatchRecord& record);
  void Append(const VersionRecord& record);
  // Without attributes it does not fail.
  Result<void> Append(const XattrsRecord& record);
  // Also changes locks(). ENOSPC for a lock that is to be had, which is not then; what takes locks
  // away is done in any case. `now_ns`: of a kFlush.
  Result<void> Append(const LockRecord& record, int64_t now_ns = 0);

  const ContentTable& contents() const { return contents_; }
  const LockState& locks() const { return locks_; }
  Journal& journal() { return *journal_; }
  uint64_t live_bytes() const;

 private:
  explicit SessionJournal(std::unique_ptr<Journal> journal) : journal_(std::move(journal)) {}
  template <typename Record>
  Result<std::span<const uint8_t>> Write(const Record& record);
  // For records without which the journal says less than it could, but nothing wrong.
  template <typename Record>
  void WriteIfPossible(const Record& record);
  void Keep(Ticket ticket, std::span<const uint8_t> payload);
  void Drop(Ticket ticket);
  void RewriteIfWorthIt();
  Result<void> WriteLive(std::deque<std::span<const uint8_t>>* moved);

  std::unique_ptr<Journal> journal_;
  std::string buffer_;
  // Payloads of the mutations that count, where the journal keeps them, by ticket from first_ on.
  std::deque<std::span<const uint8_t>> pending_;
  Ticket first_ = 1;
  uint64_t pending_bytes_ = 0;
  std::deque<BatchRecord> batches_;
  ContentTable contents_;
  LockState locks_;
  InodesRecord inodes_;
  WatchRecord watch_;
  NamelessXattrs xattrs_;
  CountersRecord counters_;
  uint64_t uncounted_bytes_ = 0;  // of the last rewrite, beyond live_bytes(): locks, and heads
  struct Failed {
    uint64_t old_bytes = 0;
    uint64_t live_bytes = 0;
  };
  Failed failed_;  // what there was when a rewrite found no room
};

}  // namespace airstore::broker
