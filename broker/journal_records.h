// SPDX-License-Identifier: Apache-2.0
//
// What a session writes into its journal, and how: variable-length numbers and strings with their
// length, in the order of the fields.
//
// Threads: any; pure functions.
// Fails: decoding what no encoder wrote is EPROTO.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "broker/gateway.h"
#include "broker/journal.h"
#include "broker/lock_table.h"

namespace airstore::broker {

// Place in the mutation log; grows with each append.
using Ticket = uint64_t;

// The call that caused a change: where it lay in the queue of its mount. Writes that were queued
// before it had been applied before it.
struct CallPlace {
  static constexpr uint32_t kNoMount = ~0u;
  uint32_t mount = kNoMount;
  uint64_t position = 0;  // place in the endless queue + 1
};

enum class RecordType : uint16_t {
  kMutation = Journal::kFirstFreeType,
  kBatch,
  kSettled,
  kElided,
  kAttached,
  kDetached,
  kDirty,
  kClean,
  kInodes,
  kCounters,
  kCut,
  kWatch,
  kLock,
  kXattrs,
  kVersion,
};

// A change was made here. It is never a write: of content the journal knows only whether it is
// dirty.
struct MutationRecord {
  static constexpr RecordType kType = RecordType::kMutation;
  Ticket ticket = 0;
  CallPlace call;
  uint64_t orphan = 0;  // the inode that lost its last name by it; 0: none
  std::vector<uint64_t> subjects;
  std::vector<uint64_t> parents;
  Mutation mutation;
};
// Numbers are given, to one mutation or the content of one inode each, and are about to be sent.
struct BatchRecord {
  static constexpr RecordType kType = RecordType::kBatch;
  struct Entry {
    Ticket ticket = 0;
    uint64_t content_inode = 0;  // 0: the mutation with this ticket
    bool operator==(const Entry&) const = default;
  };
  uint64_t first_sequence = 0;
  std::vector<Entry> entries;
};
// The gateway has answered all up to here.
struct SettledRecord {
  static constexpr RecordType kType = RecordType::kSettled;
  Ticket ticket = 0;
  uint64_t sequence = 0;
};
// These mutations are not to be sent: the inode was made and removed here.
struct ElidedRecord {
  static constexpr RecordType kType = RecordType::kElided;
  uint64_t inode = 0;
  std::vector<Ticket> dropped;
};
// From now on the inode's content is in this file, and that of no other inode is.
struct AttachedRecord {
  static constexpr RecordType kType = RecordType::kAttached;
  uint64_t inode = 0;
  uint64_t file = 0;  // number of the file in the pool: its name
  uint64_t id = 0;    // of this use of the file
  bool complete = false;
  bool never_sent = false;
  bool dirty = false;
  bool orphan = false;
  // Of the last change of its size, or hole: writes queued before it are not to be applied behind
  // it.
  CallPlace cut;
  uint64_t version = 0;  // has a record of its own; 0: not known
};
struct DetachedRecord {
  static constexpr RecordType kType = RecordType::kDetached;
  uint64_t inode = 0;
};
// The file may hold bytes that the gateway does not have.
struct DirtyRecord {
  static constexpr RecordType kType = RecordType::kDirty;
  uint64_t inode = 0;
};
struct CleanRecord {
  static constexpr RecordType kType = RecordType::kClean;
  uint64_t inode = 0;
};
// Numbers for new inodes that nobody has used.
struct InodesRecord {
  static constexpr RecordType kType = RecordType::kInodes;
  uint64_t first = 0;
  uint64_t count = 0;
};
// What can no longer be seen in the records that are left.
struct CountersRecord {
  static constexpr RecordType kType = RecordType::kCounters;
  Ticket next_ticket = 1;
  uint64_t next_sequence = 1;
};
// Content was taken away by this call, as by a change of size.
struct CutRecord {
  static constexpr RecordType kType = RecordType::kCut;
  uint64_t inode = 0;
  CallPlace call;
};

// How far other hosts' changes were followed, and the write lease that is held (0: none).
struct WatchRecord {
  static constexpr RecordType kType = RecordType::kWatch;
  uint64_t cursor = 0;
  uint64_t lease_id = 0;
};

// What happened to locks. `unique` is the request of the mount that waits, or has waited.
struct LockRecord {
  static constexpr RecordType kType = RecordType::kLock;
  enum class Action : uint32_t {
    kSet,           // done; ends the wait of `unique`, if that is not 0, which is to be told
    kFlush,         // LockTable's
    kRelease,       // ditto
    kReleaseMount,  // ditto; of range.owner.mount
    kWait,          // `unique` begins to wait
    kGranted,       // `unique` holds what it waited for: after a rewrite
    kAnswered,      // `unique` has been told
  };
  Action action = Action::kSet;
  LockCall call;
  uint64_t unique = 0;
};

// All extended attributes of an inode without a name, which nobody else has; none: it has gone, or
// has none.
struct XattrsRecord {
  static constexpr RecordType kType = RecordType::kXattrs;
  uint64_t inode = 0;
  Xattrs xattrs;
};
// What is dirty of the inode is made of this version of the gateway's.
struct VersionRecord {
  static constexpr RecordType kType = RecordType::kVersion;
  uint64_t inode = 0;
  uint64_t version = 0;
};

using AnyRecord =
    std::variant<MutationRecord, BatchRecord, SettledRecord, ElidedRecord, AttachedRecord,
                 DetachedRecord, DirtyRecord, CleanRecord, InodesRecord, CountersRecord, CutRecord,
                 WatchRecord, LockRecord, XattrsRecord, VersionRecord>;

// Into `to`, which is emptied before: one buffer serves all records.
void Encode(const MutationRecord& record, std::string* to);
void Encode(const BatchRecord& record, std::string* to);
void Encode(const SettledRecord& record, std::string* to);
void Encode(const ElidedRecord& record, std::string* to);
void Encode(const AttachedRecord& record, std::string* to);
void Encode(const DetachedRecord& record, std::string* to);
void Encode(const DirtyRecord& record, std::string* to);
void Encode(const CleanRecord& record, std::string* to);
void Encode(const InodesRecord& record, std::string* to);
void Encode(const CountersRecord& record, std::string* to);
void Encode(const CutRecord& record, std::string* to);
void Encode(const WatchRecord& record, std::string* to);
void Encode(const LockRecord& record, std::string* to);
void Encode(const XattrsRecord& record, std::string* to);
void Encode(const VersionRecord& record, std::string* to);

Result<AnyRecord> Decode(uint16_t type, std::span<const uint8_t> payload);

}  // namespace airstore::broker
