// SPDX-License-Identifier: Apache-2.0
//
// JournalState: what a session's journal says, read from its beginning: what is still to be sent,
// under which numbers, and which file holds whose content. It talks to nobody.
//
// Threads: one at a time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "broker/journal_records.h"

namespace airstore::broker {

// Which content file belongs to which inode; one of each to one of the other.
class ContentTable {
 public:
  void Attach(const AttachedRecord& entry);
  void Detach(uint64_t inode);
  AttachedRecord* Find(uint64_t inode);
  const AttachedRecord* Find(uint64_t inode) const;
  // Notes what a mutation means for content: who lost its last name, whose size was set by whom.
  void Note(const MutationRecord& record);
  const std::unordered_map<uint64_t, AttachedRecord>& entries() const { return entries_; }

 private:
  std::unordered_map<uint64_t, AttachedRecord> entries_;  // by inode
  std::unordered_map<uint64_t, uint64_t> owner_;          // by file: its inode
};

// The locks of a session, and who waits for one.
struct LockState {
  struct Waiting {
    LockCall call;
    uint64_t unique = 0;
    bool granted = false;  // it holds what it waited for, and may not have been told
  };
  LockTable held;
  std::vector<Waiting> waiting;  // in the order of their coming

  void Apply(const LockRecord& record, int64_t now_ns = 0);
};

// Whether one waits for a lock through the open file that is closed: then nobody is there any more
// who could have it.
bool WaitsThrough(const LockCall& waiting, const LockCall& closed);

// Attributes of inodes without a name, by inode.
using NamelessXattrs = std::unordered_map<uint64_t, Xattrs>;
// Notes what a record of them, or a creation, which carries them along, means.
void Note(const XattrsRecord& record, NamelessXattrs* xattrs);
void Note(const MutationRecord& record, NamelessXattrs* xattrs);

struct JournalState {
  std::map<Ticket, MutationRecord> pending;  // not settled
  std::map<uint64_t, BatchRecord::Entry>
      numbered;  // by sequence: sent, or about to be; not settled
  ContentTable contents;
  Ticket next_ticket = 1;
  uint64_t next_sequence = 1;
  InodesRecord inodes;  // the range granted last
  LockState locks;
  WatchRecord watch;
  NamelessXattrs xattrs;
  bool torn = false;        // it ended in the middle of a record, which was cut off
  bool incomplete = false;  // parts of the journal could not be read, and are set aside

  bool empty() const;  // nothing is to be sent
  // Of one record. EPROTO: it makes no sense, and nothing is changed.
  Result<void> Apply(const AnyRecord& record);
};

// Applies the records of a journal one by one.
class JournalReader {
 public:
  void Visit(const JournalRecord& record);
  // The state so far. A rewrite that has no end has not happened.
  JournalState& state() { return rewrite_ ? before_ : state_; }
  uint64_t rejected() const { return rejected_; }  // records that made no sense

 private:
  JournalState state_;
  JournalState before_;
  bool rewrite_ = false;
  uint64_t rejected_ = 0;
};

}  // namespace airstore::broker
