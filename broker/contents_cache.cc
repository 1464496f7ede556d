// SPDX-License-Identifier: Apache-2.0
//
// The moves between slab and content file, and what is given up when there is too much.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <string>

#include "broker/clock.h"
#include "broker/contents.h"
#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

using shm::ContentKind;
using shm::InodeRecord;

// Of bringing what a writer needs, while others cut, replace and let go of it.
constexpr int kMostRounds = 64;

bool KindIs(const InodeRecord& record, ContentKind kind) {
  return record.content_kind == static_cast<uint32_t>(kind);
}

}  // namespace

Task<Result<void>> Contents::MakeWritable(const NodePtr& node) {
  for (int rounds = 0;;) {
    if (inodes_->IsStale(node->inode) && !node->file) {
      AIRSTORE_TRY_CO(co_await refresh_stale_(node->inode));
    }
    const auto record = inodes_->Get(node->inode);
    if (!record) co_return Error{ESTALE, "the file is gone"};
    if (node->file && node->file->complete) co_return Result<void>{};
    // Of an empty one there is nothing to fetch, whether it was let go or was never here.
    if (KindIs(*record, ContentKind::kSlab) || (record->size == 0 && !node->file)) {
      AIRSTORE_TRY_CO(MoveToFile(node));
      continue;
    }
    if (++rounds == kMostRounds) {
      co_return Error{EIO,
                      "the content of inode " + std::to_string(node->inode) + " does not come"};
    }
    // Writing into a file of which blocks are missing would need to know what was written where;
    // completing it first keeps one truth.
    const uint64_t size = record->size;
    AIRSTORE_TRY_CO(co_await EnsureRange(node->inode, 0, size == 0 ? 1 : size));
  }
}

Result<void> Contents::MoveToFile(const NodePtr& node) {
  const auto record = inodes_->Get(node->inode);
  auto taken = TakeFile(node->inode);
  if (!taken) return taken.error();
  ContentFile& file = **taken;
  if (record->extent_bytes != 0) {  // else there may be no slab at all
    const auto bytes = inodes_->slabs().Bytes(
        shm::Extent{record->slab_index, record->extent_offset, record->extent_bytes});
    const ssize_t written = pwrite(file.fd(), bytes.data(), bytes.size(), 0);
    if (written != static_cast<ssize_t>(bytes.size())) {
      return SysError("write to content file " + file.slot->path, written < 0 ? errno : ENOSPC);
    }
    file.sent_hash = BlockHashes(std::vector<uint64_t>{XXH3_64bits(bytes.data(), bytes.size())});
  }
  const timespec times[2] = {ToTimespec(record->atime_ns), ToTimespec(record->mtime_ns)};
  futimens(file.fd(), times);
  AIRSTORE_TRY(RecordFile(&file, true, false));
  file.complete = true;
  file.base_version = record->content_version;
  auto stamp = file.Stamp();
  if (!stamp) return stamp.error();
  file.sent = *stamp;
  file.settled_bytes = stamp->allocated_bytes;
  Reach(FaultPoint::kContentFromSlab);
  node->file = std::move(*taken);
  PublishFile(node);
  return {};
}

void Contents::MoveToSlab(const NodePtr& node) {
  const auto record = inodes_->Get(node->inode);
  if (!record || !node->file || !node->file->complete || node->opens() != 0 || node->opening != 0 ||
      node->passthrough_used || node->sending != 0 || node->replacing || node->keeping ||
      node->file->refused || record->size > kSmallFile || IsDirty(*node) ||
      log_->PendingOf(node->inode) != 0 || (record->flags & shm::kOrphan) != 0) {
    return;
  }
  std::string content(record->size, '\0');
  const ssize_t got = pread(node->file->fd(), content.data(), content.size(), 0);
  if (got != static_cast<ssize_t>(content.size())) return;
  if (!inodes_->StoreSmall(node->inode,
                           {reinterpret_cast<const uint8_t*>(content.data()), content.size()})) {
    return;
  }
  Reach(FaultPoint::kContentToSlab);
  LeaveLru(node);
  LoseFile(node);
  DropIfIdle(node);
}

void Contents::Touch(const NodePtr& node) {
  LeaveLru(node);
  if (!node->file || node->opens() != 0 || node->passthrough_used) return;
  const auto record = inodes_->Get(node->inode);
  node->lru = lru_.insert(lru_.end(), node->inode);
  node->in_lru = true;
  node->lru_bytes = record ? record->size : 0;
  lru_bytes_ += node->lru_bytes;
  if (lru_bytes_ > options_.limit_bytes) Evict();
}

void Contents::LeaveLru(const NodePtr& node) {
  if (!node->in_lru) return;
  if (lru_hand_ == node->lru) ++lru_hand_;
  lru_.erase(node->lru);
  lru_bytes_ -= node->lru_bytes;
  node->in_lru = false;
}

void Contents::ParkSome() {
  constexpr size_t kParkAtOnce = 1024;  // so that the walk over those already parked is rare
  size_t parked = 0;
  for (auto at = lru_.begin(); at != lru_.end() && parked < kParkAtOnce; ++at) {
    const NodePtr node = Find(*at);
    if (!node || !node->file || !node->file->slot->fd || node->opening != 0 || node->sending != 0 ||
        !node->file->fetching.empty()) {
      continue;
    }
    pool_.Park(node->file->slot);
    ++parked;
  }
}

Result<std::shared_ptr<ContentFile>> Contents::TakeFile(uint64_t inode) {
  if (pool_.crowded()) ParkSome();
  return pool_.Take(inode);
}

bool Contents::MayLetGo(const NodePtr& node) const {
  // A frontend may have it open by itself, and the gateway has it no more.
  const auto record = inodes_->Get(node->inode);
  if (record && (record->flags & shm::kOrphan) != 0) return false;
  return node->opens() == 0 && node->opening == 0 && node->sending == 0 && !node->loading_small &&
         !node->replacing && !node->passthrough_used &&
         (!node->file || node->file->fetching.empty()) && !IsDirty(*node) &&
         log_->PendingOf(node->inode) == 0;
}

void Contents::LetGo(const NodePtr& node) {
  NoteClean(node);
  LeaveLru(node);
  inodes_->DropSmall(node->inode);
  inodes_->Update(node->inode, [](InodeRecord& record) {
    record.content_kind = static_cast<uint32_t>(ContentKind::kNone);
    record.content_file = 0;
    record.flags &= ~static_cast<uint32_t>(shm::kContentComplete);
  });
  LoseFile(node);
  DropIfIdle(node);
}

bool Contents::LetGo(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node) return true;
  if (!MayLetGo(node)) return false;
  LetGo(node);
  return true;
}

uint64_t Contents::DiskBytes(uint64_t inode) const {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return 0;
  const auto stamp = node->file->Stamp();
  return stamp ? stamp->allocated_bytes : 0;
}

void Contents::Evict() {
  constexpr size_t kMostTries = 64;  // at each close, so what is unsent must not cost much
  if (lru_bytes_ > options_.limit_bytes) EvictBytes(lru_bytes_ - options_.limit_bytes, kMostTries);
}

}  // namespace airstore::broker
