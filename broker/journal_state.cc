// SPDX-License-Identifier: Apache-2.0
#include "broker/journal_state.h"

#include <algorithm>

namespace airstore::broker {

void ContentTable::Attach(const AttachedRecord& entry) {
  Detach(entry.inode);
  if (const auto other = owner_.find(entry.file); other != owner_.end()) {
    entries_.erase(other->second);
    other->second = entry.inode;
  } else {
    owner_.emplace(entry.file, entry.inode);
  }
  entries_[entry.inode] = entry;
}

void ContentTable::Detach(uint64_t inode) {
  const auto found = entries_.find(inode);
  if (found == entries_.end()) return;
  owner_.erase(found->second.file);
  entries_.erase(found);
}

AttachedRecord* ContentTable::Find(uint64_t inode) {
  const auto found = entries_.find(inode);
  return found == entries_.end() ? nullptr : &found->second;
}

const AttachedRecord* ContentTable::Find(uint64_t inode) const {
  const auto found = entries_.find(inode);
  return found == entries_.end() ? nullptr : &found->second;
}

void ContentTable::Note(const MutationRecord& record) {
  if (record.orphan != 0) {
    if (AttachedRecord* entry = Find(record.orphan)) entry->orphan = true;
  }
  if (const auto* create = std::get_if<CreateOp>(&record.mutation.op)) {
    // A file that had no name so far, and whose content was nobody's business.
    if (AttachedRecord* entry = Find(create->inode); entry != nullptr && entry->orphan) {
      entry->orphan = false;
      entry->dirty = entry->never_sent = true;
    }
  }
  const auto* change = std::get_if<SetattrOp>(&record.mutation.op);
  if (change == nullptr || !change->size || record.call.mount == CallPlace::kNoMount) return;
  if (AttachedRecord* entry = Find(change->inode)) entry->cut = record.call;
}

bool WaitsThrough(const LockCall& waiting, const LockCall& closed) {
  return waiting.inode == closed.inode && waiting.handle == closed.handle &&
         waiting.range.owner.mount == closed.range.owner.mount;
}

void LockState::Apply(const LockRecord& record, int64_t now_ns) {
  const auto is_this = [&](const Waiting& one) {
    return one.unique == record.unique &&
           one.call.range.owner.mount == record.call.range.owner.mount;
  };
  switch (record.action) {
    case LockRecord::Action::kSet:
      held.Set(record.call);
      for (Waiting& one : waiting) one.granted |= record.unique != 0 && is_this(one);
      break;
    case LockRecord::Action::kFlush:
      held.Flush(record.call, now_ns);
      break;
    case LockRecord::Action::kRelease:
      held.Release(record.call);
      std::erase_if(waiting,
                    [&](const Waiting& one) { return WaitsThrough(one.call, record.call); });
      break;
    case LockRecord::Action::kReleaseMount:
      held.ReleaseMount(record.call.range.owner.mount);
      std::erase_if(waiting, [&](const Waiting& one) {
        return one.call.range.owner.mount == record.call.range.owner.mount;
      });
      break;
    case LockRecord::Action::kWait:
      waiting.push_back({record.call, record.unique, false});
      break;
    case LockRecord::Action::kGranted:
      for (Waiting& one : waiting) one.granted |= is_this(one);
      break;
    case LockRecord::Action::kAnswered:
      std::erase_if(waiting, is_this);
      break;
  }
}

void Note(const XattrsRecord& record, NamelessXattrs* xattrs) {
  if (record.xattrs.empty()) {
    xattrs->erase(record.inode);
  } else {
    (*xattrs)[record.inode] = record.xattrs;
  }
}

void Note(const MutationRecord& record, NamelessXattrs* xattrs) {
  if (const auto* create = std::get_if<CreateOp>(&record.mutation.op)) xattrs->erase(create->inode);
}

bool JournalState::empty() const {
  return pending.empty() && numbered.empty() &&
         std::none_of(contents.entries().begin(), contents.entries().end(),
                      [](const auto& entry) { return entry.second.dirty && !entry.second.orphan; });
}

namespace {

// No session comes near it: greater numbers make no sense, and sums of smaller ones are safe.
constexpr uint64_t kMostNumber = 1ull << 62;

struct Applier {
  JournalState* state;

  bool operator()(const MutationRecord& record) const {
    if (record.ticket == 0 || record.ticket > kMostNumber) return false;
    state->next_ticket = std::max(state->next_ticket, record.ticket + 1);
    state->contents.Note(record);
    Note(record, &state->xattrs);
    state->pending[record.ticket] = record;
    return true;
  }
  bool operator()(const BatchRecord& record) const {
    if (record.first_sequence == 0 || record.first_sequence > kMostNumber ||
        std::any_of(record.entries.begin(), record.entries.end(),
                    [](const auto& entry) { return entry.ticket > kMostNumber; })) {
      return false;
    }
    // Numbers that go back: the gateway had forgotten the ones before.
    if (record.first_sequence < state->next_sequence) {
      state->numbered.clear();
      state->next_sequence = 1;
    }
    for (size_t i = 0; i < record.entries.size(); ++i) {
      state->numbered[record.first_sequence + i] = record.entries[i];
      state->next_ticket = std::max(state->next_ticket, record.entries[i].ticket + 1);
    }
    state->next_sequence =
        std::max(state->next_sequence, record.first_sequence + record.entries.size());
    return true;
  }
  bool operator()(const SettledRecord& record) const {
    if (record.ticket > kMostNumber || record.sequence > kMostNumber) return false;
    auto& pending = state->pending;
    pending.erase(pending.begin(), pending.upper_bound(record.ticket));
    auto& numbered = state->numbered;
    numbered.erase(numbered.begin(), numbered.upper_bound(record.sequence));
    state->next_ticket = std::max(state->next_ticket, record.ticket + 1);
    state->next_sequence = std::max(state->next_sequence, record.sequence + 1);
    return true;
  }
  bool operator()(const ElidedRecord& record) const {
    for (const Ticket ticket : record.dropped) state->pending.erase(ticket);
    if (AttachedRecord* entry = state->contents.Find(record.inode)) entry->orphan = true;
    return true;
  }
  bool operator()(const AttachedRecord& record) const {
    if (record.inode == 0 || record.file == 0) return false;
    state->contents.Attach(record);
    return true;
  }
  bool operator()(const DetachedRecord& record) const {
    state->contents.Detach(record.inode);
    return true;
  }
  bool operator()(const DirtyRecord& record) const {
    AttachedRecord* entry = state->contents.Find(record.inode);
    if (entry == nullptr) return false;
    entry->dirty = true;
    return true;
  }
  bool operator()(const CleanRecord& record) const {
    AttachedRecord* entry = state->contents.Find(record.inode);
    if (entry == nullptr) return false;
    entry->dirty = entry->never_sent = false;
    return true;
  }
  bool operator()(const CutRecord& record) const {
    AttachedRecord* entry = state->contents.Find(record.inode);
    if (entry == nullptr) return false;
    entry->cut = record.call;
    return true;
  }
  bool operator()(const InodesRecord& record) const {
    state->inodes = record;
    return true;
  }
  bool operator()(const WatchRecord& record) const {
    state->watch = record;
    return true;
  }
  bool operator()(const CountersRecord& record) const {
    state->next_ticket = std::max(state->next_ticket, record.next_ticket);
    state->next_sequence = std::max(state->next_sequence, record.next_sequence);
    return true;
  }
  bool operator()(const LockRecord& record) const {
    if (record.call.range.first > record.call.range.last) return false;
    state->locks.Apply(record);
    return true;
  }
  bool operator()(const VersionRecord& record) const {
    AttachedRecord* entry = state->contents.Find(record.inode);
    if (entry == nullptr) return false;
    entry->version = record.version;
    return true;
  }
  bool operator()(const XattrsRecord& record) const {
    Note(record, &state->xattrs);
    return true;
  }
};

}  // namespace

Result<void> JournalState::Apply(const AnyRecord& record) {
  if (!std::visit(Applier{this}, record)) return Error{EPROTO, "journal record out of place"};
  return {};
}

void JournalReader::Visit(const JournalRecord& record) {
  if (record.type == Journal::kRewriteBegin) {
    // One without an end was taken back; what follows it now is another one.
    if (!rewrite_) before_ = std::move(state_);
    state_ = JournalState();
    rewrite_ = true;
    return;
  }
  if (record.type == Journal::kRewriteEnd) {
    before_ = JournalState();
    rewrite_ = false;
    return;
  }
  auto decoded = Decode(record.type, record.payload);
  if (!decoded || !state_.Apply(*decoded)) ++rejected_;
}

}  // namespace airstore::broker
