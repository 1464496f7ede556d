// SPDX-License-Identifier: Apache-2.0
//
// Bringing content from the gateway: whole small files into slabs, blocks of larger ones into their
// content files, each block once for all mounts, with readahead for those who read in order.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/contents.h"
#include "broker/deadline.h"
#include "shm/request_rules.h"

namespace airstore::broker {
namespace {

constexpr uint64_t kReadaheadStart = 4;  // blocks
constexpr uint64_t kReadaheadMost = 64;
constexpr size_t kMostRuns = 8;  // questions under way for one file

// What a reader is told. EACCES: the token is not valid any more.
int ErrnoFor(const Error& error) {
  if (error.code == EAGAIN || error.code == ETIMEDOUT) return ETIMEDOUT;
  return error.code == EACCES ? EACCES : EIO;
}

struct Filled {
  int error = 0;
  std::vector<uint64_t> hashes;
};

// Writes fetched ranges and hashes the blocks they fill. Runs on a worker thread.
Filled FillBlocks(int fd, const std::vector<FetchedRange>& ranges, uint64_t first, uint64_t count,
                  uint64_t size) {
  for (const FetchedRange& range : ranges) {
    size_t done = 0;
    while (done < range.data.size()) {
      const ssize_t written = pwrite(fd, range.data.data() + done, range.data.size() - done,
                                     static_cast<off_t>(range.offset + done));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return {written < 0 ? errno : ENOSPC, {}};
      done += static_cast<size_t>(written);
    }
  }
  std::vector<uint64_t> hashes(count);
  std::string block(kContentBlock, '\0');
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = (first + i) * kContentBlock;
    const uint64_t length = std::min(kContentBlock, size - offset);
    std::fill_n(block.begin(), length, '\0');
    if (pread(fd, block.data(), length, static_cast<off_t>(offset)) < 0) {
      return {errno, {}};
    }
    hashes[i] = XXH3_64bits(block.data(), length);
  }
  return {0, std::move(hashes)};
}

}  // namespace

Task<Result<void>> Contents::EnsureRange(uint64_t inode, uint64_t offset, uint64_t size) {
  if (inodes_->IsStale(inode)) AIRSTORE_TRY_CO(co_await refresh_stale_(inode));
  const NodePtr node = Get(inode);
  const auto record = inodes_->Get(inode);
  if (!record || !IsRegular(record->mode)) {
    DropIfIdle(node);
    co_return Error{ESTALE, "read of a file that is gone"};
  }
  if (record->content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab) ||
      (node->file && node->file->complete) || offset >= record->size || size == 0) {
    DropIfIdle(node);
    co_return Result<void>{};
  }
  if (record->size > shm::kGreatestFile) {
    DropIfIdle(node);
    co_return Error{EFBIG, "read of a file that is larger than any may be"};
  }
  if (record->size <= kSmallFile && !node->file) co_return co_await LoadSmall(node);

  if (!node->file) {
    auto taken = TakeFile(inode);
    if (!taken) {
      DropIfIdle(node);
      co_return taken.error();
    }
    if (auto recorded = RecordFile(taken->get(), false, false); !recorded) {
      DropIfIdle(node);
      co_return recorded.error();
    }
    node->file = std::move(*taken);
    const uint64_t blocks = BlocksOf(record->size);
    node->file->valid.assign(blocks, false);
    node->file->sent_hash.Resize(blocks);
    node->file->base_version = record->content_version;
    if (ftruncate(node->file->fd(), static_cast<off_t>(record->size)) != 0) {
      const Error error = SysError("size content file");
      LoseFile(node);
      DropIfIdle(node);
      co_return error;
    }
    PublishFile(node);
    const std::shared_ptr<ContentFile> file = node->file;
    co_await MarkHoles(node);
    if (node->file != file) {  // cut or replaced meanwhile
      DropIfIdle(node);
      co_return co_await EnsureRange(inode, offset, size);
    }
  }
  const uint64_t end = offset + std::min(size, record->size - offset);
  ReadAhead(node, offset, end - offset);
  auto done = co_await EnsureBlocks(node, offset / kContentBlock, (end - 1) / kContentBlock);
  if (Find(inode) == node) Touch(node);
  co_return done;
}

Task<Result<void>> Contents::LoadSmall(NodePtr node) {
  if (node->loading_small) {
    while (node->loading_small) co_await node->progress->Wait();
    if (node->fetch_error != 0) co_return Error{node->fetch_error, "reading from the gateway"};
    co_return Result<void>{};
  }
  node->loading_small = true;
  node->fetch_error = 0;
  Backoff backoff;
  const int64_t deadline = MonotonicNs() + options_.patience_ns;
  for (;;) {
    const auto record = inodes_->Get(node->inode);
    if (!record || node->file ||
        record->content_kind != static_cast<uint32_t>(shm::ContentKind::kNone)) {
      break;  // somebody truncated or removed it meanwhile
    }
    const uint64_t size = record->size;
    const uint64_t version = record->content_version;
    auto fetched =
        co_await Before(deadline, tasks_, executor_, gateway_->Fetch(node->inode, 0, size));
    if (fetched && fetched->content_version != version && version != 0) {
      // Attributes and content are of different versions: the former are older.
      inodes_->MarkStale(node->inode);
      auto refreshed = co_await refresh_stale_(node->inode);
      if (refreshed && MonotonicNs() < deadline) continue;
      node->fetch_error = EIO;
      break;
    }
    if (fetched) {
      const auto now = inodes_->Get(node->inode);
      if (!now || now->size != size || now->content_version != version || node->file ||
          now->content_kind != static_cast<uint32_t>(shm::ContentKind::kNone)) {
        continue;
      }
      std::string content(size, '\0');
      for (const FetchedRange& range : fetched->ranges) {
        if (range.offset + range.data.size() > size) continue;
        std::copy(range.data.begin(), range.data.end(),
                  content.begin() + static_cast<ptrdiff_t>(range.offset));
      }
      auto stored = inodes_->StoreSmall(
          node->inode, {reinterpret_cast<const uint8_t*>(content.data()), content.size()});
      if (!stored) node->fetch_error = stored.error().code;
      break;
    }
    if (fetched.error().code != EAGAIN || MonotonicNs() > deadline) {
      node->fetch_error = ErrnoFor(fetched.error());
      spdlog::warn("reading inode {} failed: {}", node->inode, fetched.error().ToString());
      break;
    }
    co_await backoff.Wait(executor_);
  }
  node->loading_small = false;
  node->progress->NotifyAll();
  const int error = node->fetch_error;
  DropIfIdle(node);
  if (error != 0) co_return Error{error, "reading from the gateway"};
  co_return Result<void>{};
}

Task<Result<void>> Contents::EnsureBlocks(NodePtr node, uint64_t first, uint64_t last) {
  const std::shared_ptr<ContentFile> file = node->file;
  if (file->fetching.empty()) node->fetch_error = 0;
  for (;;) {
    if (node->file != file || file->complete) co_return Result<void>{};
    bool all = true;
    for (uint64_t block = first; block <= last && all; ++block) all = file->valid[block];
    if (all) co_return Result<void>{};
    if (node->fetch_error != 0) co_return Error{node->fetch_error, "reading from the gateway"};
    StartFetches(node, first, last);
    co_await node->progress->Wait();
  }
}

void Contents::StartFetches(const NodePtr& node, uint64_t first, uint64_t last) {
  ContentFile& file = *node->file;
  const uint64_t longest = std::max<uint64_t>(1, limits_.max_fetch_bytes / kContentBlock);
  // Who wants all of a large file asks on as it comes: else none of it might come in time.
  const bool many = last - first >= longest;
  const auto wanted = [&](uint64_t block) {
    return !file.valid[block] && !file.fetching.contains(block);
  };
  for (uint64_t block = first; block <= last && !(many && file.runs >= kMostRuns);) {
    if (!wanted(block)) {
      ++block;
      continue;
    }
    uint64_t count = 1;
    while (block + count <= last && count < longest && wanted(block + count)) ++count;
    for (uint64_t i = 0; i < count; ++i) file.fetching.insert(block + i);
    ++file.runs;
    tasks_->Spawn(FetchRun(node, node->file, block, count));
    block += count;
  }
}

Task<void> Contents::FetchRun(NodePtr node, std::shared_ptr<ContentFile> file, uint64_t first,
                              uint64_t count) {
  const auto record = inodes_->Get(node->inode);
  const uint64_t size = record ? record->size : 0;
  const uint64_t offset = first * kContentBlock;
  const uint64_t length = std::min(count * kContentBlock, size - std::min(size, offset));
  Backoff backoff;
  const int64_t deadline = MonotonicNs() + options_.patience_ns;
  int error = 0;
  while (node->file == file && length > 0) {
    auto fetched =
        co_await Before(deadline, tasks_, executor_, gateway_->Fetch(node->inode, offset, length));
    if (fetched && file->base_version != 0 && fetched->content_version != file->base_version) {
      // Blocks of different versions are no content: whoever wants it begins again.
      if (node->file == file) {
        inodes_->MarkStale(node->inode);
        DropFile(node);
      }
      break;
    }
    if (fetched) {
      const int fd = file->fd();
      auto fill = [](int to, std::vector<FetchedRange> from, uint64_t begin, uint64_t blocks,
                     uint64_t bytes) -> Task<Filled> {
        co_return FillBlocks(to, from, begin, blocks, bytes);
      };
      const Filled filled = co_await boost::asio::co_spawn(
          options_.fetchers->get_executor(),
          fill(fd, std::move(fetched->ranges), first, count, size), boost::asio::use_awaitable);
      if (filled.error == ENOSPC && EvictBytes(length) != 0) continue;
      if (filled.error != 0) {
        error = filled.error;
        spdlog::error("filling content file {}: {}", file->slot->path, strerror(error));
        break;
      }
      for (uint64_t i = 0; i < count; ++i) {
        file->sent_hash.Set(first + i, filled.hashes[i]);
        if (!file->valid[first + i]) ++file->valid_count;
        file->valid[first + i] = true;
      }
      break;
    }
    if (fetched.error().code != EAGAIN || MonotonicNs() > deadline) {
      error = ErrnoFor(fetched.error());
      spdlog::warn("reading inode {} failed: {}", node->inode, fetched.error().ToString());
      break;
    }
    co_await backoff.Wait(executor_);
  }
  --file->runs;
  for (uint64_t i = 0; i < count; ++i) file->fetching.erase(first + i);
  if (node->file == file) {
    if (error != 0) node->fetch_error = error;
    if (file->valid_count == file->valid.size()) Complete(node);
  }
  node->progress->NotifyAll();
}

void Contents::Complete(const NodePtr& node) {
  ContentFile& file = *node->file;
  if (std::exchange(file.complete, true)) return;
  if (const auto record = inodes_->Get(node->inode)) {
    const timespec times[2] = {ToTimespec(record->atime_ns), ToTimespec(record->mtime_ns)};
    futimens(file.fd(), times);
  }
  if (auto stamp = file.Stamp()) {
    file.sent = *stamp;
    file.settled_bytes = stamp->allocated_bytes;
  }
  SetFlags(node->inode, shm::kContentComplete, 0);
}

void Contents::ReadAhead(const NodePtr& node, uint64_t offset, uint64_t size) {
  const uint64_t blocks = node->file->valid.size();
  const bool sequential = offset == node->read_end || offset == 0;
  node->read_end = offset + size;
  // A random reader would pay for what it does not want; it turns readahead off for itself.
  node->readahead =
      sequential ? std::clamp(node->readahead * 2, kReadaheadStart, kReadaheadMost) : 0;
  if (node->readahead == 0) return;
  const uint64_t from = offset / kContentBlock;
  const uint64_t to = std::min(blocks, (offset + size) / kContentBlock + node->readahead);
  if (from < to) StartFetches(node, from, to - 1);
}

}  // namespace airstore::broker
