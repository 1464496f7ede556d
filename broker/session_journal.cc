// SPDX-License-Identifier: Apache-2.0
#include "broker/session_journal.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>

namespace airstore::broker {
namespace {

constexpr uint64_t kContentBytes = 64;  // about what a record of an attached file takes
constexpr uint64_t kEntryBytes = 8;     // and one of a batch
// Old records that come until a rewrite that failed is tried again.
constexpr uint64_t kMoreBytes = 4 << 20;

}  // namespace

Result<std::unique_ptr<SessionJournal>> SessionJournal::Create(const std::string& directory,
                                                               const JournalOptions& options) {
  if (mkdir(directory.c_str(), S_IRWXU) != 0) return SysError("create " + directory);
  auto journal = Journal::Create(directory, options);
  if (!journal) return journal.error();
  return std::unique_ptr<SessionJournal>(new SessionJournal(std::move(*journal)));
}

Result<std::unique_ptr<SessionJournal>> SessionJournal::Open(const std::string& directory,
                                                             const JournalOptions& options,
                                                             JournalState* state) {
  JournalReader reader;
  Journal::End end;
  auto journal = Journal::Open(
      directory, options, [&](const JournalRecord& record) { reader.Visit(record); }, &end);
  if (!journal) return journal.error();
  if (end.damaged) spdlog::warn("{}: the end is torn and was cut off", directory);
  if (reader.rejected() != 0) {
    spdlog::error("{}: {} records make no sense", directory, reader.rejected());
  }
  *state = std::move(reader.state());
  state->torn = end.damaged;
  state->incomplete = end.incomplete;

  std::unique_ptr<SessionJournal> self(new SessionJournal(std::move(*journal)));
  self->contents_ = state->contents;
  self->locks_ = state->locks;
  self->inodes_ = state->inodes;
  self->watch_ = state->watch;
  self->xattrs_ = state->xattrs;
  self->counters_ = {state->next_ticket, state->next_sequence};
  self->first_ = state->pending.empty() ? state->next_ticket : state->pending.begin()->first;
  // From here on there is one place for each record that counts.
  AIRSTORE_TRY(self->journal_->Rewrite([&]() -> Result<void> {
    for (const auto& [ticket, record] : state->pending) {
      auto written = self->Write(record);
      if (!written) return written.error();
      self->Keep(ticket, *written);
    }
    for (const auto& [sequence, entry] : state->numbered) {
      BatchRecord one{.first_sequence = sequence, .entries = {entry}};
      self->batches_.push_back(std::move(one));
    }
    return self->WriteLive(nullptr);
  }));
  return self;
}

template <typename Record>
Result<std::span<const uint8_t>> SessionJournal::Write(const Record& record) {
  Encode(record, &buffer_);
  return journal_->Append(static_cast<uint16_t>(Record::kType),
                          {reinterpret_cast<const uint8_t*>(buffer_.data()), buffer_.size()});
}

template <typename Record>
void SessionJournal::WriteIfPossible(const Record& record) {
  if (auto written = Write(record); !written) {
    spdlog::error("journal: {}", written.error().ToString());
  }
}

void SessionJournal::Keep(Ticket ticket, std::span<const uint8_t> payload) {
  if (pending_.empty()) first_ = ticket;
  // Tickets of content leave gaps.
  while (first_ + pending_.size() <= ticket) pending_.emplace_back();
  pending_[ticket - first_] = payload;
  pending_bytes_ += payload.size();
}

void SessionJournal::Drop(Ticket ticket) {
  if (ticket < first_ || ticket - first_ >= pending_.size()) return;
  std::span<const uint8_t>& payload = pending_[ticket - first_];
  pending_bytes_ -= payload.size();
  payload = {};
  while (!pending_.empty() && pending_.front().empty()) {
    pending_.pop_front();
    ++first_;
  }
}

Result<void> SessionJournal::Append(const MutationRecord& record) {
  auto written = Write(record);
  if (!written) return written.error();
  contents_.Note(record);
  Note(record, &xattrs_);
  Keep(record.ticket, *written);
  counters_.next_ticket = std::max(counters_.next_ticket, record.ticket + 1);
  RewriteIfWorthIt();
  return {};
}

void SessionJournal::Expect(Ticket ticket, uint64_t content_version) {
  if (ticket < first_ || ticket - first_ >= pending_.size()) return;
  std::span<const uint8_t>& payload = pending_[ticket - first_];
  auto decoded = Decode(static_cast<uint16_t>(RecordType::kMutation), payload);
  auto* record = decoded ? std::get_if<MutationRecord>(&*decoded) : nullptr;
  if (record == nullptr || record->mutation.if_content_version == content_version) return;
  record->mutation.if_content_version = content_version;
  // Who reads takes the last one of a ticket.
  auto written = Write(*record);
  if (!written) {
    spdlog::error("journal: {}", written.error().ToString());
    return;
  }
  pending_bytes_ += written->size();
  pending_bytes_ -= payload.size();
  payload = *written;
  RewriteIfWorthIt();
}

Result<void> SessionJournal::Append(const BatchRecord& record) {
  auto written = Write(record);
  if (!written) return written.error();
  if (record.first_sequence < counters_.next_sequence) batches_.clear();
  counters_.next_sequence = record.first_sequence + record.entries.size();
  batches_.push_back(record);
  return {};
}

void SessionJournal::Append(const SettledRecord& record) {
  WriteIfPossible(record);
  counters_.next_ticket = std::max(counters_.next_ticket, record.ticket + 1);
  while (!pending_.empty() && first_ <= record.ticket) {
    pending_bytes_ -= pending_.front().size();
    pending_.pop_front();
    ++first_;
  }
  while (!batches_.empty() && batches_.front().first_sequence <= record.sequence) {
    BatchRecord& batch = batches_.front();
    const uint64_t settled = record.sequence - batch.first_sequence + 1;
    if (settled >= batch.entries.size()) {
      batches_.pop_front();
      continue;
    }
    // What is left of another life's is sent in runs.
    batch.entries.erase(batch.entries.begin(),
                        batch.entries.begin() + static_cast<std::ptrdiff_t>(settled));
    batch.first_sequence += settled;
  }
  RewriteIfWorthIt();
}

void SessionJournal::Append(const ElidedRecord& record) {
  WriteIfPossible(record);
  for (const Ticket ticket : record.dropped) Drop(ticket);
  if (AttachedRecord* entry = contents_.Find(record.inode)) entry->orphan = true;
}

Result<void> SessionJournal::Admit() {
  auto admitted = journal_->Admit();
  if (admitted) return admitted;
  RewriteIfWorthIt();  // what it gives up may be room enough
  return journal_->Admit();
}

Result<void> SessionJournal::Append(const AttachedRecord& record) {
  AIRSTORE_TRY(Admit());
  auto written = Write(record);
  if (!written) return written.error();
  contents_.Attach(record);
  // Its record does not tell it, and who reads begins anew with that.
  if (record.version != 0) WriteIfPossible(VersionRecord{record.inode, record.version});
  RewriteIfWorthIt();
  return {};
}

Result<void> SessionJournal::Append(const DirtyRecord& record) {
  AttachedRecord* entry = contents_.Find(record.inode);
  if (entry == nullptr) return Error{ENOENT, "journal: no content file is known of the inode"};
  if (entry->dirty) return {};
  AIRSTORE_TRY(Admit());
  auto written = Write(record);
  if (!written) return written.error();
  entry->dirty = true;
  RewriteIfWorthIt();
  return {};
}

void SessionJournal::Append(const DetachedRecord& record) {
  if (contents_.Find(record.inode) == nullptr) return;
  WriteIfPossible(record);
  contents_.Detach(record.inode);
  RewriteIfWorthIt();
}

void SessionJournal::Append(const CleanRecord& record) {
  AttachedRecord* entry = contents_.Find(record.inode);
  if (entry == nullptr || !entry->dirty) return;
  WriteIfPossible(record);
  entry->dirty = entry->never_sent = false;
  RewriteIfWorthIt();
}

void SessionJournal::Append(const InodesRecord& record) {
  WriteIfPossible(record);
  inodes_ = record;
  RewriteIfWorthIt();
}

void SessionJournal::Append(const CutRecord& record) {
  AttachedRecord* entry = contents_.Find(record.inode);
  if (entry == nullptr || record.call.mount == CallPlace::kNoMount) return;
  WriteIfPossible(record);
  entry->cut = record.call;
  RewriteIfWorthIt();
}

void SessionJournal::Append(const WatchRecord& record) {
  WriteIfPossible(record);
  watch_ = record;
  RewriteIfWorthIt();
}

void SessionJournal::Append(const VersionRecord& record) {
  AttachedRecord* entry = contents_.Find(record.inode);
  if (entry == nullptr || entry->version == record.version) return;
  WriteIfPossible(record);
  entry->version = record.version;
  RewriteIfWorthIt();
}

Result<void> SessionJournal::Append(const XattrsRecord& record) {
  if (record.xattrs.empty()) {
    if (!xattrs_.contains(record.inode)) return {};
    WriteIfPossible(record);
  } else {
    AIRSTORE_TRY(Admit());
    auto written = Write(record);
    if (!written) return written.error();
  }
  Note(record, &xattrs_);
  RewriteIfWorthIt();
  return {};
}

Result<void> SessionJournal::Append(const LockRecord& record, int64_t now_ns) {
  const bool gives =
      record.action == LockRecord::Action::kWait ||
      (record.action == LockRecord::Action::kSet && record.call.range.type != LockType::kUnlock);
  if (gives) AIRSTORE_TRY(Admit());
  const bool idle =
      (record.action == LockRecord::Action::kSet && record.unique == 0 && !gives &&
       !locks_.held.HasLocks(record.call.inode)) ||
      (record.action == LockRecord::Action::kFlush && !locks_.held.FlushTakes(record.call)) ||
      (record.action == LockRecord::Action::kRelease && !locks_.held.ReleaseTakes(record.call) &&
       std::none_of(locks_.waiting.begin(), locks_.waiting.end(),
                    [&](const auto& one) { return WaitsThrough(one.call, record.call); }));
  if (!idle) {
    auto written = Write(record);
    if (!written && gives) return written.error();
  }
  locks_.Apply(record, now_ns);
  RewriteIfWorthIt();
  return {};
}

uint64_t SessionJournal::live_bytes() const {
  uint64_t bytes = pending_bytes_ + pending_.size() * JournalSegment::RecordBytes(0);
  for (const BatchRecord& batch : batches_) bytes += batch.entries.size() * kEntryBytes;
  for (const auto& [inode, xattrs] : xattrs_) {
    for (const auto& [name, value] : xattrs) bytes += name.size() + value.size();
  }
  return bytes + contents_.entries().size() * kContentBytes;
}

// Never more than every second byte is old, and each byte is rewritten about once.
void SessionJournal::RewriteIfWorthIt() {
  const uint64_t old = journal_->old_bytes();
  const uint64_t counted = live_bytes();
  const uint64_t live = counted + uncounted_bytes_;
  if (old == 0 || old < 2 * live) return;
  // Without room for it the next try would end the same way, after the same work.
  if (failed_.old_bytes != 0 && old < failed_.old_bytes + kMoreBytes &&
      live > failed_.live_bytes / 2) {
    return;
  }
  failed_ = {};
  std::deque<std::span<const uint8_t>> moved;
  const uint64_t before = journal_->appended_bytes();
  auto done = journal_->Rewrite([&] { return WriteLive(&moved); });
  if (done) {
    pending_ = std::move(moved);
    const uint64_t written = journal_->appended_bytes() - before;
    uncounted_bytes_ = written > counted ? written - counted : 0;
  } else {
    spdlog::warn("journal: {}", done.error().ToString());
    failed_ = {old, live};
  }
}

// Without `moved`: all but the mutations.
Result<void> SessionJournal::WriteLive(std::deque<std::span<const uint8_t>>* moved) {
  if (moved != nullptr) {
    for (const std::span<const uint8_t> payload : pending_) {
      if (payload.empty()) {
        moved->emplace_back();
        continue;
      }
      auto written = journal_->Append(static_cast<uint16_t>(RecordType::kMutation), payload);
      if (!written) return written.error();
      moved->push_back(*written);
    }
  }
  const auto write = [this](const auto& record) -> Result<void> {
    auto written = Write(record);
    if (!written) return written.error();
    return {};
  };
  for (const BatchRecord& batch : batches_) AIRSTORE_TRY(write(batch));
  for (const auto& [inode, entry] : contents_.entries()) {
    AIRSTORE_TRY(write(entry));
    if (entry.version != 0) AIRSTORE_TRY(write(VersionRecord{inode, entry.version}));
  }
  AIRSTORE_TRY(write(counters_));
  if (inodes_.count != 0) AIRSTORE_TRY(write(inodes_));
  if (watch_.cursor != 0 || watch_.lease_id != 0) AIRSTORE_TRY(write(watch_));
  for (const auto& [inode, xattrs] : xattrs_) AIRSTORE_TRY(write(XattrsRecord{inode, xattrs}));
  Result<void> done;
  locks_.held.ForEach([&](const LockCall& call) {
    if (done) done = write(LockRecord{LockRecord::Action::kSet, call, 0});
  });
  AIRSTORE_TRY(done);
  for (const LockState::Waiting& one : locks_.waiting) {
    AIRSTORE_TRY(write(LockRecord{LockRecord::Action::kWait, one.call, one.unique}));
    if (one.granted) {
      AIRSTORE_TRY(write(LockRecord{LockRecord::Action::kGranted, one.call, one.unique}));
    }
  }
  return {};
}

}  // namespace airstore::broker
