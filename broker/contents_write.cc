// SPDX-License-Identifier: Apache-2.0
//
// Writes that go through the daemon, truncations, and times.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "broker/clock.h"
#include "broker/content_upload.h"
#include "broker/contents.h"
#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

using shm::InodeRecord;

}  // namespace

Result<uint64_t> Contents::Write(uint64_t inode, uint64_t offset, std::span<const uint8_t> data,
                                 int64_t time_ns, Placing placing, size_t* progress) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->file->complete || node->writers() == 0) {
    // It was answered already.
    inodes_->Update(inode, [](InodeRecord& record) { record.write_error = EIO; });
    return Error{EIO, "write to a file that is not open for writing"};
  }
  Unseal(node);  // it was accepted
  Reach(FaultPoint::kContentBeforeWrite);
  const auto kernel_writes = [&] {
    const auto record = inodes_->Get(inode);
    return record && (record->flags & shm::kPassthroughWriter) != 0;
  };
  bool at_end = placing != Placing::kAtOffset && !data.empty() && kernel_writes();
  if (at_end && placing == Placing::kRepeatedly) {
    if (const auto found = FindAppended(node->file->fd(), offset, data)) {
      at_end = false;
      offset = *found;
    }
  }
  size_t here = 0;
  size_t& done = progress != nullptr ? *progress : here;
  uint64_t place = offset;
  while (done < data.size()) {
    const int fd = node->file->fd();
    const auto rest = data.subspan(done);
    const ssize_t written =
        at_end ? WriteAtEnd(fd, rest, &place)
               : pwrite(fd, rest.data(), rest.size(), static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int code = written < 0 ? errno : ENOSPC;
      if (code == ENOSPC || code == EDQUOT) {
        if (MakeRoom(data.size() - done)) continue;
        return Error{ENOSPC, "write to content file " + node->file->slot->path};
      }
      inodes_->Update(
          inode, [&](InodeRecord& record) { record.write_error = static_cast<uint32_t>(code); });
      return SysError("write to content file", code);
    }
    if (at_end) offset = place - done;
    done += static_cast<size_t>(written);
  }
  Reach(FaultPoint::kContentAfterWrite);
  const uint64_t allocated = Charge(node);
  inodes_->Update(inode, [&](InodeRecord& record) {
    record.size = std::max(record.size, offset + data.size());
    record.allocated_bytes = allocated;
    record.mtime_ns = time_ns;
    record.ctime_ns = time_ns;
    ++record.content_generation;
  });
  if (offset + data.size() >= node->append_end) AppendDone(node);
  node->dirty_hint = true;
  node->last_change_ns = MonotonicNs();
  if (node->dirty_since_ns == 0) node->dirty_since_ns = node->last_change_ns;
  return offset;
}

Task<Result<void>> Contents::Truncate(uint64_t inode, uint64_t size) {
  co_await NotMoving(inode);
  const NodePtr node = Get(inode);
  ++node->opening;
  Result<void> result;
  const bool was_dirty = IsDirty(*node);
  uint64_t allocated = 0;
  if (size == 0 && !node->file) {
    const std::span<const uint8_t> empty;
    result = inodes_->StoreSmall(inode, empty);
  } else if (size == 0 && !node->file->complete) {
    // Blocks on their way belong to the old file: they end up in it and go with it.
    LoseFile(node);
    result = inodes_->StoreSmall(inode, std::span<const uint8_t>());
    node->progress->NotifyAll();
  } else {
    result = co_await MakeWritable(node);
    if (result) co_await AwaitUnsealed(node);
    if (result && !node->file) result = Error{EIO, "truncate of a file that is gone"};
    Reach(FaultPoint::kContentBeforeTruncate);
    if (result && ftruncate(node->file->fd(), static_cast<off_t>(size)) != 0) {
      result = SysError("truncate content file");
    }
    Reach(FaultPoint::kContentAfterTruncate);
    if (result) {
      // The disk must not have it long before its record, or it looks like content that was lost.
      if (sync_soon_) sync_soon_();
      ContentFile& file = *node->file;
      ++file.truncations;
      file.refused = false;  // the rest is to be sent with it
      if (file.sent_hash.size() > BlocksOf(size)) file.sent_hash.Resize(BlocksOf(size));
      // The last block changed; the gateway cuts or fills it the same way, so only its hash is new.
      if (const uint64_t blocks = file.sent_hash.size(); blocks != 0) {
        file.sent_hash.Set(blocks - 1, kUnknownHash);
      }
      if (auto stamp = file.Stamp()) {
        if (!was_dirty) file.sent = *stamp;
        allocated = stamp->allocated_bytes;
      }
      Charge(node);
    }
  }
  --node->opening;
  if (result) {
    AppendDone(node);
    inodes_->Update(inode, [&](InodeRecord& changed) {
      changed.size = size;
      changed.allocated_bytes = allocated;
      ++changed.content_generation;
    });
  }
  if (Find(inode) == node) Touch(node);
  DropIfIdle(node);
  co_return result;
}

void Contents::SetTimes(uint64_t inode, int64_t atime_ns, int64_t mtime_ns) {
  SetFileTimes(inode, ToTimespec(atime_ns), ToTimespec(mtime_ns));
}

void Contents::ShowUnread(uint64_t inode, int64_t atime_ns) {
  SetFileTimes(inode, ToTimespec(atime_ns), {0, UTIME_OMIT});
}

void Contents::SetFileTimes(uint64_t inode, timespec atime, timespec mtime) {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return;
  const bool dirty = IsDirty(*node);
  const timespec times[2] = {atime, mtime};
  Unseal(node);
  futimens(node->file->fd(), times);
  if (dirty) return;
  if (auto stamp = node->file->Stamp()) node->file->sent = *stamp;
}

int64_t Contents::AccessTime(uint64_t inode, uint32_t mount) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->passthrough_opens.contains(mount)) return 0;
  struct stat st {};
  if (fstat(node->file->fd(), &st) != 0) return 0;
  return int64_t{st.st_atim.tv_sec} * 1'000'000'000 + st.st_atim.tv_nsec;
}

void Contents::Refresh(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node || !node->file || !node->file->complete) return;
  const auto stamp = node->file->Stamp();
  if (!stamp) return;
  inodes_->Update(inode, [&](InodeRecord& record) {
    if ((record.flags & shm::kPassthroughWriter) == 0) return;
    if (record.size != stamp->size || record.mtime_ns != stamp->mtime_ns) {
      record.ctime_ns = std::max(record.ctime_ns, stamp->mtime_ns);
      ++record.content_generation;
    }
    record.size = stamp->size;
    record.mtime_ns = stamp->mtime_ns;
    record.allocated_bytes = stamp->allocated_bytes;
  });
}

}  // namespace airstore::broker
