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
    if (power_lost_) entry.error = co_await Vet(inode, entry.file, entry.cut_to);
    if (entry.error == 0) entry.error = co_await Read(&entry, &op, &mutation.time_ns);
    if (entry.error != 0) {
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
  const auto size = static_cast<uint64_t>(info.st_size);
  entry->file.size = size;
  op->size = size;
  op->mtime_ns = FromTimespec(info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
  *time_ns = std::max(*op->mtime_ns, entry->changed_ns);
  if (size <= limits_.max_inline_bytes) {
    if (size == 0) co_return 0;
    const ByteRange whole{0, size};
    ReadBlock block = ReadForSending(file.get(), whole);
    const int error = block.error;
    AddInline(whole, std::move(block), op);
    co_return error;
  }
  std::vector<ByteRange> ranges =
      FindDirty(file.get(), size, true, BlockHashes(), limits_.block_bytes);
  OnRead ignore = [](const ByteRange&, const std::vector<uint64_t>&) {};
  const int error = co_await SendRanges(with_, file.get(), std::move(ranges), ignore, op);
  AddHoles(op, size);
  co_return error;
}

uint64_t ReplayContents::ContentVersion(uint64_t inode) const {
  const AttachedRecord* entry = journal_->contents().Find(inode);
  return entry == nullptr ? 0 : entry->version;
}

void ReplayContents::ContentApplied(uint64_t inode, uint64_t content_version) {
  journal_->Append(VersionRecord{inode, content_version});
}

Settled ReplayContents::ContentSettled(uint64_t inode, int error) {
  const auto found = entries_.find(inode);
  if (found == entries_.end()) return Settled::kForGood;
  // Blocks that it refers to were collected meanwhile. Once: it may be another reason.
  if (error == EIO && found->second.error == 0 && !std::exchange(found->second.sent_again, true)) {
    return Settled::kSendAgain;
  }
  const Entry entry = found->second;
  entries_.erase(found);
  const int failed = entry.error != 0 ? entry.error : error;
  if (failed != 0) on_refused_(inode, entry.file, failed);
  journal_->Append(CleanRecord{inode});
  return Settled::kForGood;
}

}  // namespace airstore::broker
