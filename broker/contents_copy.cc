// SPDX-License-Identifier: Apache-2.0
//
// copy_file_range(2) between files of the session: the bytes go from content file to content file
// on this host, and where they came from is remembered until they are sent (contents_share.cc).
//
// A copy that a broker dies in is made again by the next one, like a write: it says where each byte
// goes, and until it has returned it may as well happen later.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "broker/clock.h"
#include "broker/content_copy.h"
#include "broker/content_upload.h"
#include "broker/contents.h"

namespace airstore::broker {
namespace {

constexpr size_t kMostOrigins = 1024;  // of what was copied into one file; the rest is just sent

// A small file, which lies in a slab.
CopiedBytes WriteBytes(int to, uint64_t offset, std::span<const uint8_t> bytes) {
  CopiedBytes copied;
  while (copied.count < bytes.size()) {
    const ssize_t done = pwrite(to, bytes.data() + copied.count, bytes.size() - copied.count,
                                static_cast<off_t>(offset + copied.count));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return {copied.count, done < 0 ? errno : ENOSPC};
    copied.count += static_cast<uint64_t>(done);
  }
  return copied;
}

}  // namespace

Task<Result<uint64_t>> Contents::Copy(CopyRange range, CallPlace call) {
  const NodePtr target = Find(range.target);
  if (!target || !target->file || !target->file->complete || target->writers() == 0) {
    co_return Error{EBADF, "copy into a file that is not open for writing"};
  }
  Refresh(range.source);
  const auto record = inodes_->Get(range.source);
  if (!record) co_return Error{ESTALE, "copy of a file that is gone"};
  if (!IsRegular(record->mode)) co_return Error{EINVAL, "copy of what is no file"};
  if (range.source_offset >= record->size) co_return uint64_t{0};
  range.length = std::min({range.length, record->size - range.source_offset, kMostCopied});
  if (range.length == 0) co_return uint64_t{0};
  if (range.target_offset > limits_.max_file_bytes - range.length) {
    co_return Error{EFBIG, "copy"};
  }
  if (range.source == range.target && range.source_offset < range.target_offset + range.length &&
      range.target_offset < range.source_offset + range.length) {
    co_return Error{EINVAL, "copy of a range into itself"};
  }
  ++target->opening;
  auto copied = co_await CopyInto(target, range, call);
  --target->opening;
  if (Find(range.target) == target) Touch(target);
  DropIfIdle(target);
  co_return copied;
}

Task<Result<uint64_t>> Contents::CopyInto(NodePtr target, CopyRange range, CallPlace call) {
  AIRSTORE_TRY_CO(co_await EnsureRange(range.source, range.source_offset, range.length));
  const std::shared_ptr<ContentFile> to = target->file;
  if (!to || to->fd() < 0) co_return Error{EIO, "copy into a file that is gone"};
  co_await AwaitUnsealed(target);
  if (target->file != to) co_return Error{EIO, "copy into a file that is gone"};
  // What the lane still holds of before must not come back.
  journal_->Append(CutRecord{range.target, call});
  const auto record = inodes_->Get(range.source);
  const NodePtr source = Find(range.source);
  CopiedBytes copied;
  if (source && source->file) {
    copied = co_await CopyFrom(source, to, range);
  } else if (record && record->content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab)) {
    const auto bytes = inodes_->slabs().Bytes(
        shm::Extent{record->slab_index, record->extent_offset, record->extent_bytes});
    if (range.source_offset < bytes.size()) {
      copied = WriteBytes(
          to->fd(), range.target_offset,
          bytes.subspan(range.source_offset,
                        std::min<size_t>(range.length, bytes.size() - range.source_offset)));
    }
  } else {
    co_return Error{EIO, "the content of the source has gone while it was copied"};
  }
  if (copied.count != 0) Copied(target, to, range, copied.count);
  if (copied.count == 0 && copied.error != 0) {
    co_return SysError("copy into content file " + to->slot->path, copied.error);
  }
  co_return copied.count;
}

Task<CopiedBytes> Contents::CopyFrom(NodePtr source, std::shared_ptr<ContentFile> to,
                                     CopyRange range) {
  const std::shared_ptr<ContentFile> from = source->file;
  if (from->fd() < 0) co_return CopiedBytes{0, EMFILE};
  ++source->opening;
  auto copy = [](int in, int out, CopyRange what) -> Task<CopiedBytes> {
    co_return CopyBytes(in, what.source_offset, out, what.target_offset, what.length);
  };
  CopiedBytes copied;
  // First, for what is sent in the middle of it; and behind it, for what comes after that.
  Remember(range, range.length);
  do {
    Task<CopiedBytes> copying = copy(from->fd(), to->fd(), range);
    copied = co_await boost::asio::co_spawn(workers_->get_executor(), std::move(copying),
                                            boost::asio::use_awaitable);
  } while (copied.count == 0 && copied.error == ENOSPC && EvictBytes(range.length) != 0);
  --source->opening;
  if (Find(range.source) == source) Touch(source);
  if (copied.count != 0) Remember(range, copied.count);
  DropIfIdle(source);
  co_return copied;
}

void Contents::Copied(const NodePtr& target, const std::shared_ptr<ContentFile>& to,
                      const CopyRange& range, uint64_t count) {
  const int64_t now_ns = RealtimeNs();
  const timespec times[2] = {{0, UTIME_OMIT}, ToTimespec(now_ns)};
  futimens(to->fd(), times);
  if (target->file != to) return;  // another host's content has taken its place
  const auto stamp = to->Stamp();
  Charge(target);
  inodes_->Update(range.target, [&](shm::InodeRecord& record) {
    record.size = stamp ? stamp->size : std::max(record.size, range.target_offset + count);
    if (stamp) record.allocated_bytes = stamp->allocated_bytes;
    record.mtime_ns = record.ctime_ns = now_ns;
    ++record.content_generation;
  });
  target->dirty_hint = true;
  target->last_change_ns = MonotonicNs();
  if (target->dirty_since_ns == 0) target->dirty_since_ns = target->last_change_ns;
}

void Contents::Remember(const CopyRange& range, uint64_t count) {
  const NodePtr target = Find(range.target);
  if (!target || range.source_offset % kContentBlock != range.target_offset % kContentBlock) return;
  std::vector<CopiedFrom>& origins = target->copied_from;
  if (!origins.empty()) {
    CopiedFrom& last = origins.back();
    const bool goes_on =
        last.source == range.source && last.offset <= range.target_offset &&
        last.offset + last.length >= range.target_offset &&
        last.source_offset - last.offset == range.source_offset - range.target_offset;
    if (goes_on) {
      last.length = std::max(last.length, range.target_offset + count - last.offset);
      return;
    }
  }
  if (origins.size() == kMostOrigins) return;
  origins.push_back({range.target_offset, count, range.source, range.source_offset});
  // First, so that the gateway has it when the copy's turn comes.
  Flush(range.source);
}

}  // namespace airstore::broker
