// SPDX-License-Identifier: Apache-2.0
//
// Files with holes: making them, finding them, and not fetching them.
#include <fcntl.h>
#include <linux/falloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "broker/clock.h"
#include "broker/content_upload.h"
#include "broker/contents.h"
#include "broker/deadline.h"

namespace airstore::broker {
namespace {

std::vector<ResolveItem> Only(LayoutItem item) { return std::vector<ResolveItem>(1, item); }

// Not every file system can make zeros of a range; a hole is as good.
int ZeroRange(int fd, uint64_t size, uint64_t offset, uint64_t length, bool keep_size) {
  const auto start = static_cast<off_t>(offset);
  const auto bytes = static_cast<off_t>(length);
  const int mode = FALLOC_FL_ZERO_RANGE | (keep_size ? FALLOC_FL_KEEP_SIZE : 0);
  if (fallocate(fd, mode, start, bytes) == 0) return 0;
  if (errno != EOPNOTSUPP) return errno;
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, bytes) != 0) return errno;
  if (keep_size || offset + length <= size) return 0;
  return ftruncate(fd, start + bytes) == 0 ? 0 : errno;
}

// How much of the range may have to be allocated.
uint64_t Unallocated(int fd, const FileStamp& file, uint64_t offset, uint64_t length) {
  constexpr int kMostRuns = 1024;
  const uint64_t end = offset + length;
  // What is not elsewhere is there: what is only reserved does not count as data.
  const uint64_t elsewhere = offset + (file.size > end ? file.size - end : 0);
  uint64_t there = 0;
  uint64_t at = offset;
  for (int runs = 0; at < end && runs < kMostRuns; ++runs) {
    const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 || static_cast<uint64_t>(data) >= end) break;
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole <= data) break;
    at = std::min(end, static_cast<uint64_t>(hole));
    there += at - static_cast<uint64_t>(data);
  }
  if (file.allocated_bytes > elsewhere) there = std::max(there, file.allocated_bytes - elsewhere);
  return there < length ? length - there : 0;
}

// What was allocated before it failed: not what somebody has written there meanwhile.
void TakeBack(int fd, uint64_t size) {
  if (lseek(fd, static_cast<off_t>(size), SEEK_DATA) < 0 && errno == ENXIO) {
    (void)!ftruncate(fd, static_cast<off_t>(size));
  }
}

}  // namespace

Result<void> Contents::Fallocate(uint64_t inode, uint64_t offset, uint64_t length, int mode,
                                 const CallPlace& call) {
  constexpr int kKnown = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const bool punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
  const bool zero = (mode & FALLOC_FL_ZERO_RANGE) != 0;
  if ((mode & ~kKnown) != 0 || (punch && (zero || !keep_size))) {
    return Error{EOPNOTSUPP, "fallocate"};
  }
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->file->complete || node->writers() == 0) {
    return Error{EBADF, "fallocate of a file that is not open for writing"};
  }
  Unseal(node);
  const auto before = node->file->Stamp();
  if (!before) return before.error();
  const SpoolBudget& budget = *options_.budget;
  if (!punch && Unallocated(node->file->fd(), *before, offset, length) >
                    budget.limit() - std::min(budget.limit(), budget.used())) {
    return Error{ENOSPC, "fallocate of more than the spool may hold"};
  }
  if (punch || zero) journal_->Append(CutRecord{inode, call});
  const int fd = node->file->fd();
  int error = 0;
  if (zero) {
    error = ZeroRange(fd, before->size, offset, length, keep_size);
  } else if (fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    error = errno;
  }
  if (error != 0) {
    if (!punch) TakeBack(fd, before->size);
    Charge(node);
    return Error{error, "fallocate of content file " + node->file->slot->path};
  }
  const auto after = node->file->Stamp();
  Charge(node);
  const int64_t now_ns = RealtimeNs();
  inodes_->Update(inode, [&](shm::InodeRecord& record) {
    if (after) {
      record.size = after->size;
      record.allocated_bytes = after->allocated_bytes;
    }
    record.mtime_ns = record.ctime_ns = now_ns;
    ++record.content_generation;
  });
  const timespec times[2] = {{0, UTIME_OMIT}, ToTimespec(now_ns)};
  futimens(fd, times);
  node->dirty_hint = true;
  node->last_change_ns = MonotonicNs();
  if (node->dirty_since_ns == 0) node->dirty_since_ns = node->last_change_ns;
  return {};
}

Task<Result<Layout>> Contents::AskLayout(LayoutItem item) {
  auto results = co_await Before(MonotonicNs() + options_.patience_ns, tasks_, executor_,
                                 gateway_->Resolve(Only(item)));
  if (!results) co_return results.error();
  if (results->front().error != 0) co_return Error{results->front().error, "layout"};
  co_return std::move(results->front().layout);
}

Task<Result<uint64_t>> Contents::Seek(uint64_t inode, uint64_t offset, int whence) {
  const auto record = inodes_->Get(inode);
  if (!record) co_return Error{ESTALE, "seek"};
  if (whence != SEEK_DATA && whence != SEEK_HOLE) co_return Error{EINVAL, "seek"};
  if (offset >= record->size) co_return Error{ENXIO, "seek"};
  const bool for_data = whence == SEEK_DATA;
  const uint64_t size = record->size;
  const NodePtr node = Find(inode);
  if (node && node->file && node->file->complete) {
    const off_t found = lseek(node->file->fd(), static_cast<off_t>(offset), whence);
    if (found < 0) co_return SysError("seek in content file");
    co_return static_cast<uint64_t>(found);
  }
  // One run of data, as far as is known without a question.
  const uint64_t plain = for_data ? offset : size;
  if (record->content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab) ||
      record->allocated_bytes >= size) {
    co_return plain;
  }
  auto layout = co_await AskLayout({.inode = inode, .offset = offset});
  const auto now = inodes_->Get(inode);
  if (!layout || !now || layout->content_version != now->content_version ||
      layout->size != now->size) {
    co_return plain;
  }
  const auto& runs = layout->runs;
  if (for_data) {
    if (runs.empty()) co_return Error{ENXIO, "seek"};
    co_return runs.front().offset;
  }
  if (runs.empty() || runs.front().offset > offset) co_return offset;
  co_return std::min(size, runs.front().offset + runs.front().length);
}

Task<void> Contents::MarkHoles(NodePtr node) {
  const std::shared_ptr<ContentFile> file = node->file;
  const auto record = inodes_->Get(node->inode);
  if (!record || record->allocated_bytes >= record->size) co_return;
  ++node->opening;
  uint64_t hole = 0;  // where the zeros begin that the next run ends
  const uint64_t size = record->size;
  const auto mark = [&](uint64_t end) {
    end = std::min(end, size);  // whatever the gateway says
    const uint64_t last = end == size ? file->valid.size() : end / kContentBlock;
    for (uint64_t block = BlocksOf(hole); block < last; ++block) {
      if (file->valid[block] || file->fetching.contains(block)) continue;
      file->sent_hash.Set(block,
                          HashOfZeros(std::min(kContentBlock, size - block * kContentBlock)));
      file->valid[block] = true;
      ++file->valid_count;
    }
  };
  for (bool end = false; !end;) {
    auto layout = co_await AskLayout({.inode = node->inode, .offset = hole});
    // Without it every block is fetched, holes or not.
    if (!layout || node->file != file || file->complete ||
        layout->content_version != file->base_version || layout->size != size) {
      break;
    }
    for (const Layout::Run& run : layout->runs) {
      mark(run.offset);
      hole = std::min(size, run.offset + run.length);
    }
    end = layout->end;
    if (end) mark(size);
  }
  --node->opening;
  if (node->file == file && file->valid_count == file->valid.size()) Complete(node);
  node->progress->NotifyAll();
}

}  // namespace airstore::broker
