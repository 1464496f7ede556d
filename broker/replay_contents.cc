// SPDX-License-Identifier: Apache-2.0
#include "broker/replay_contents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "broker/backoff.h"
#include "broker/clock.h"

namespace airstore::broker {

ReplayContents::ReplayContents(Uploader with, const SessionLimits& limits, std::string directory,
                               const JournalState& state, SessionJournal* journal,
                               OnRefused on_refused, bool power_lost)
    : with_(with),
      limits_(limits),
      journal_(journal),
      on_refused_(std::move(on_refused)),
      power_lost_(power_lost) {
  for (const auto& [inode, attached] : state.contents.entries()) {
    if (!attached.dirty || attached.orphan) continue;
    Entry entry;
    entry.file.path = directory + "/" + std::to_string(attached.file);
    struct stat info {};
    if (stat(entry.file.path.c_str(), &info) == 0) {
      entry.file.size = static_cast<uint64_t>(info.st_size);
    }
    entries_.emplace(inode, std::move(entry));
  }
  for (const auto& [ticket, record] : state.pending) {
    for (const uint64_t inode : record.subjects) {
      const auto found = entries_.find(inode);
      if (found == entries_.end()) continue;
      Entry& entry = found->second;
      entry.changed_ns = std::max(entry.changed_ns, record.mutation.time_ns);
      const auto* change = std::get_if<SetattrOp>(&record.mutation.op);
      if (change != nullptr && change->size) entry.cut_to = std::min(entry.cut_to, *change->size);
    }
  }
}

std::vector<uint64_t> ReplayContents::inodes() const {
  std::vector<uint64_t> inodes;
  for (const auto& [inode, entry] : entries_) inodes.push_back(inode);
  std::sort(inodes.begin(), inodes.end());
  return inodes;
}

uint64_t ReplayContents::dirty_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [inode, entry] : entries_) bytes += entry.file.size;
  return bytes;
}

Task<Mutation> ReplayContents::BuildWrite(uint64_t inode) {
  Mutation mutation;
  WriteOp op;
  op.inode = inode;
  if (const auto found = entries_.find(inode); found != entries_.end()) {
    Entry& entry = found->second;
    if (power_lost_ && entry.next_part == 0)
      entry.error = co_await Vet(inode, entry.file, entry.cut_to);
    if (entry.error == 0) entry.error = co_await Read(&entry, &op, &mutation.time_ns);
    if (entry.error != 0) {
      entry.next_part = 0;
      op.extents.clear();
      op.size.reset();
    }
  }
  mutation.op = std::move(op);
  co_return mutation;
}

// A file that nobody had waited for has as much as the disk had got: often nothing. Every change
// of size is a mutation, so what is shorter without one was cut by nobody.
Task<int> ReplayContents::Vet(uint64_t inode, const File& file, uint64_t cut_to) {
  Backoff backoff;
  for (;;) {
    std::vector<ResolveItem> items;
    items.push_back(GetattrItem{inode});
    auto answer = co_await with_.gateway->Resolve(std::move(items));
    if (answer && answer->size() == 1) {
      const ResolveResult& there = answer->front();
      if (there.error != 0) co_return 0;  // not there yet, or no more
      co_return file.size < std::min(there.entry.attr.size, cut_to) ? kCutByPowerLoss : 0;
    }
    if (!answer && (answer.error().code == ENOENT || answer.error().code == ESTALE)) {
      co_return answer.error().code;
    }
    co_await backoff.Wait(with_.executor);
  }
}

Task<int> ReplayContents::Read(Entry* entry, WriteOp* op, int64_t* time_ns) {
  const UniqueFd file(open(entry->file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (!file || fstat(file.get(), &info) != 0) co_return errno;
  const uint64_t from = std::exchange(entry->next_part, 0);
  const auto size = static_cast<uint64_t>(info.st_size);
  entry->file.size = size;
  entry->part_since_ns = MonotonicNs();
  op->mtime_ns = FromTimespec(info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
  *time_ns = std::max(*op->mtime_ns, entry->changed_ns);
  if (from == 0 && size <= limits_.max_inline_bytes) {
    op->size = size;
    if (size == 0) co_return 0;
    const ByteRange whole{0, size};
    ReadBlock block = ReadForSending(file.get(), whole);
    const int error = block.error;
    AddInline(whole, std::move(block), op);
    co_return error;
  }
  DirtyRanges dirty = FindDirty(file.get(), from, size, true, BlockHashes(), limits_.block_bytes);
  OnRead ignore = [](const ByteRange&, const std::vector<uint64_t>&) {};
  const SentRanges sent =
      co_await SendRanges(with_, file.get(), dirty.ranges, limits_.block_bytes, false, ignore, op);
  if (sent.count < dirty.ranges.size()) dirty.end = dirty.ranges[sent.count].offset;
  AddHoles(op, from, dirty.end);
  if (dirty.end < size) {
    entry->next_part = sent.error == 0 ? dirty.end : 0;
    // Who reads between the parts sees a change when the last one comes.
    *op->mtime_ns -= 1;
  } else {
    op->size = size;
  }
  co_return sent.error;
}

uint64_t ReplayContents::ContentVersion(uint64_t inode) const {
  const AttachedRecord* entry = journal_->contents().Find(inode);
  return entry == nullptr ? 0 : entry->version;
}

void ReplayContents::ContentApplied(uint64_t inode, uint64_t content_version, bool /*matched*/) {
  journal_->Append(VersionRecord{inode, content_version});
}

bool ReplayContents::HasMore(uint64_t inode) const {
  const auto found = entries_.find(inode);
  return found != entries_.end() && found->second.next_part != 0;
}

void ReplayContents::ForgetParts(uint64_t inode) {
  if (const auto found = entries_.find(inode); found != entries_.end()) {
    found->second.next_part = 0;
  }
}

Settled ReplayContents::ContentSettled(uint64_t inode, int error) {
  const auto found = entries_.find(inode);
  if (found == entries_.end()) return Settled::kForGood;
  if (error == 0 && found->second.next_part != 0) return Settled::kMore;
  found->second.next_part = 0;
  // Blocks that it refers to were collected meanwhile. Once, if it came soon: it may be another
  // reason.
  const bool late = MonotonicNs() - found->second.part_since_ns > kTimeToCollectNs;
  const bool before = std::exchange(found->second.sent_again, error == EIO);
  if (error == EIO && found->second.error == 0 && (!before || late)) return Settled::kSendAgain;
  const Entry entry = found->second;
  entries_.erase(found);
  const int failed = entry.error != 0 ? entry.error : error;
  if (failed != 0) on_refused_(inode, entry.file, failed);
  journal_->Append(CleanRecord{inode});
  return Settled::kForGood;
}

}  // namespace airstore::broker
