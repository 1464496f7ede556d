// SPDX-License-Identifier: Apache-2.0
//
// Write-back: finding what changed in a content file and sending it.
//
// The kernel writes passthrough files without telling us, so what changed is found by comparing the
// XXH3 of each 256 KiB block with that of what was last sent. The hash kept is that of the very
// bytes that were sent, so a write in the middle of sending is seen by the next comparison.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/contents.h"

namespace airstore::broker {
namespace {

constexpr size_t kSendsInFlight = 4;

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

// Ranges of whole blocks whose bytes are not those last sent, each at most `longest` bytes.
// Runs on a worker thread.
std::vector<ByteRange> FindDirty(int fd, uint64_t size, bool never_sent,
                                 const std::vector<uint64_t>& sent_hash, uint64_t longest) {
  std::vector<ByteRange> ranges;
  std::string block(kContentBlock, '\0');
  const auto add = [&](uint64_t offset, uint64_t length) {
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset &&
        ranges.back().length + length <= longest) {
      ranges.back().length += length;
    } else {
      ranges.push_back({offset, length});
    }
  };
  off_t data_end = 0;
  off_t data = -1;
  for (uint64_t i = 0; i < BlocksOf(size); ++i) {
    const uint64_t offset = i * kContentBlock;
    const uint64_t length = std::min(kContentBlock, size - offset);
    const uint64_t sent = i < sent_hash.size() ? sent_hash[i] : 0;
    if (sent == 0) {
      // Never sent: only what is not a hole needs to be.
      if (static_cast<off_t>(offset) >= data_end) {
        data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
        data_end = data < 0 ? static_cast<off_t>(size) : lseek(fd, data, SEEK_HOLE);
        if (data < 0) data = static_cast<off_t>(size);
      }
      if (data >= static_cast<off_t>(offset + length)) continue;
      if (never_sent) {
        add(offset, length);
        continue;
      }
    }
    std::fill_n(block.begin(), length, '\0');
    if (pread(fd, block.data(), length, static_cast<off_t>(offset)) < 0) {
      add(offset, length);  // not known to be clean
      continue;
    }
    if (XXH3_64bits(block.data(), length) != sent) add(offset, length);
  }
  return ranges;
}

struct ReadBlock {
  int error = 0;
  std::string data;
  std::vector<uint64_t> hashes;
};

// Runs on a worker thread.
ReadBlock ReadForSending(int fd, ByteRange range) {
  ReadBlock result;
  result.data.resize(range.length, '\0');
  size_t done = 0;
  while (done < range.length) {
    const ssize_t got = pread(fd, result.data.data() + done, range.length - done,
                              static_cast<off_t>(range.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      result.error = errno;
      return result;
    }
    if (got == 0) break;  // shortened meanwhile: the rest is zeros, and the truncation follows
    done += static_cast<size_t>(got);
  }
  for (uint64_t at = 0; at < range.length; at += kContentBlock) {
    result.hashes.push_back(
        XXH3_64bits(result.data.data() + at, std::min(kContentBlock, range.length - at)));
  }
  return result;
}

BlockId RandomBlockId() {
  BlockId id;
  AIRSTORE_CHECK(getrandom(id.bytes.data(), id.bytes.size(), 0) ==
                 static_cast<ssize_t>(id.bytes.size()));
  return id;
}

}  // namespace

Ticket Contents::Flush(uint64_t inode) {
  const NodePtr node = Find(inode);
  const auto record = inodes_->Get(inode);
  if (node && node->replacing) return log_->PendingOf(inode);
  // Neither a store to a page that is writable already nor a second write in one tick of the clock
  // shows in the stamp: of what the kernel writes only the bytes tell.
  if (node && node->file && record && (record->flags & shm::kPassthroughWriter) != 0) {
    node->dirty_hint = true;
  }
  if (node && node->file && record && (record->flags & shm::kOrphan) == 0 && IsDirty(*node)) {
    Refresh(inode);
    log_->AppendContent(inode);
  }
  return log_->PendingOf(inode);
}

void Contents::FlushAll() {
  for (const auto& [inode, node] : nodes_) Flush(inode);
}

uint64_t Contents::dirty_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [inode, node] : nodes_) {
    const auto record = inodes_->Get(inode);
    if (record && (record->flags & shm::kOrphan) == 0 && IsDirty(*node)) bytes += record->size;
  }
  return bytes;
}

Task<Mutation> Contents::BuildWrite(uint64_t inode) {
  Mutation mutation;
  WriteOp op{.inode = inode, .extents = {}, .size = {}, .mtime_ns = {}};
  const NodePtr node = Find(inode);
  const auto before = inodes_->Get(inode);
  if (node && node->file && node->file->complete && before && (before->flags & shm::kOrphan) == 0) {
    const std::shared_ptr<ContentFile> file = node->file;
    node->sending = true;
    Backoff backoff;
    while (file->fd() < 0) {  // out of descriptors: nothing may be sent that was not read
      ParkSome();
      if (file->fd() < 0) co_await backoff.Wait(executor_);
    }
    auto stamp = file->Stamp();
    int error = stamp ? 0 : stamp.error().code;
    if (stamp) {
      const bool all = file->never_sent;
      const FileStamp old = file->sent;
      node->dirty_hint = false;
      node->dirty_since_ns = 0;
      file->sent = *stamp;
      if (stamp->size <= limits_.max_inline_bytes) {
        error = co_await BuildSmall(node, *stamp, &op);
      } else {
        error = co_await BuildLarge(node, *stamp, &op);
      }
      if (error == 0) {
        file->never_sent = false;
        // The same bytes written again are no content, but a new time.
        if (!op.extents.empty() || stamp->size != old.size || stamp->mtime_ns != old.mtime_ns ||
            (all && stamp->size != 0)) {
          op.size = stamp->size;
        }
      }
      Refresh(inode);
    }
    node->sending = false;
    if (error != 0) {
      spdlog::error("reading content file {} failed: {}", file->slot->path, strerror(error));
      op.extents.clear();
      file->never_sent = true;
      inodes_->Update(inode, [&](shm::InodeRecord& record) {
        record.write_error = static_cast<uint32_t>(error);
      });
    }
  }
  const auto after = inodes_->Get(inode);
  if (op.size && after) {
    op.mtime_ns = after->mtime_ns;
    mutation.time_ns = after->ctime_ns;
  }
  mutation.op = std::move(op);
  co_return mutation;
}

Task<int> Contents::BuildSmall(const NodePtr& node, const FileStamp& stamp, WriteOp* op) {
  ContentFile& file = *node->file;
  if (stamp.size == 0) {
    file.sent_hash.clear();
    co_return 0;
  }
  ReadBlock block = ReadForSending(file.fd(), {0, stamp.size});
  if (block.error != 0) co_return block.error;
  if (!file.never_sent && file.sent_hash == block.hashes) co_return 0;
  file.sent_hash = std::move(block.hashes);
  op->extents.push_back(
      WriteExtent{.offset = 0, .length = stamp.size, .source = std::move(block.data)});
  co_return 0;
}

Task<int> Contents::BuildLarge(const NodePtr& node, const FileStamp& stamp, WriteOp* op) {
  const std::shared_ptr<ContentFile> file = node->file;
  file->sent_hash.resize(BlocksOf(stamp.size), 0);
  const uint64_t truncations = file->truncations;
  auto find = [](int fd, uint64_t size, bool never_sent, std::vector<uint64_t> sent,
                 uint64_t longest) -> Task<std::vector<ByteRange>> {
    co_return FindDirty(fd, size, never_sent, sent, longest);
  };
  const std::vector<ByteRange> ranges = co_await boost::asio::co_spawn(
      workers_->get_executor(),
      find(file->fd(), stamp.size, file->never_sent, file->sent_hash, limits_.block_bytes),
      boost::asio::use_awaitable);

  int error = 0;
  size_t in_flight = 0;
  Event sent(executor_);
  auto send = [](Contents* self, BlockId id, std::string data, size_t* running,
                 Event* done) -> Task<void> {
    co_await self->SendBlock(id, std::move(data));
    --*running;
    done->NotifyAll();
  };
  for (const ByteRange& range : ranges) {
    while (in_flight >= kSendsInFlight) co_await sent.Wait();
    auto read = [](int fd, ByteRange what) -> Task<ReadBlock> {
      co_return ReadForSending(fd, what);
    };
    ReadBlock block = co_await boost::asio::co_spawn(
        workers_->get_executor(), read(file->fd(), range), boost::asio::use_awaitable);
    if (block.error != 0) {
      error = block.error;
      break;
    }
    for (size_t i = 0; i < block.hashes.size(); ++i) {
      const size_t at = range.offset / kContentBlock + i;
      if (at >= file->sent_hash.size()) break;
      // Cut meanwhile: what was read may be of before, so it vouches for nothing.
      file->sent_hash[at] = file->truncations == truncations ? block.hashes[i] : 0;
    }
    const BlockId id = RandomBlockId();
    op->extents.push_back(WriteExtent{
        .offset = range.offset, .length = range.length, .source = std::make_pair(id, uint64_t{0})});
    ++in_flight;
    tasks_->Spawn(send(this, id, std::move(block.data), &in_flight, &sent));
  }
  while (in_flight > 0) co_await sent.Wait();
  co_return error;
}

Task<void> Contents::SendBlock(BlockId id, std::string data) {
  Backoff backoff;
  for (;;) {
    auto stored = co_await gateway_->PutBlock(id, data);
    if (stored) co_return;
    spdlog::warn("storing a block failed, will retry: {}", stored.error().ToString());
    co_await backoff.Wait(executor_);
  }
}

void Contents::ContentSettled(uint64_t inode, int error) {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return;
  if (error != 0) {
    // Keep everything as unsent: the next change, close or fsync tries again with all of it.
    node->file->never_sent = true;
    std::fill(node->file->sent_hash.begin(), node->file->sent_hash.end(), 0);
    inodes_->Update(inode, [&](shm::InodeRecord& record) {
      record.write_error = static_cast<uint32_t>(error);
    });
    return;
  }
  if (node->opens() == 0) {
    // The log still counts this item as pending: look again once it does not.
    tasks_->Spawn(AfterSettled(inode));
  }
}

Task<void> Contents::AfterSettled(uint64_t inode) {
  if (const NodePtr node = Find(inode)) {
    MoveToSlab(node);
    if (Find(inode) == node) Touch(node);
  }
  co_return;
}

// Runs while any file is open for writing or mapped, so that long writers are sent without being
// closed, and maps that outlived their descriptors are not forgotten.
Task<void> Contents::Debounce() {
  while (!watched_.empty()) {
    debounce_timer_.expires_after(std::chrono::nanoseconds(options_.debounce_ns));
    boost::system::error_code ignored;
    co_await debounce_timer_.async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    const int64_t now = MonotonicNs();
    for (const uint64_t inode : std::vector<uint64_t>(watched_.begin(), watched_.end())) {
      const NodePtr node = Find(inode);
      if (!node || !node->file) {
        watched_.erase(inode);
        continue;
      }
      if (node->opens() == 0) {
        Closed(node);
        if (!watched_.contains(inode)) continue;
      }
      const auto stamp = node->file->Stamp();
      if (!stamp) continue;
      if (!(*stamp == node->seen)) {
        node->seen = *stamp;
        node->last_change_ns = now;
        if (node->dirty_since_ns == 0) node->dirty_since_ns = now;
      }
      if (node->dirty_since_ns == 0) continue;
      const bool quiet = now - node->last_change_ns >= options_.debounce_ns;
      const bool long_ago = now - node->dirty_since_ns >= options_.debounce_max_ns;
      if (quiet || long_ago) {
        Flush(inode);
        node->dirty_since_ns = 0;
      }
    }
  }
  debounce_running_ = false;
}

}  // namespace airstore::broker
