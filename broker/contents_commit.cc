// SPDX-License-Identifier: Apache-2.0
//
// Write-back: finding what changed in a content file and sending it.
//
// The kernel writes passthrough files without telling us, so what changed is found by comparing the
// XXH3 of each 256 KiB block with that of what was last sent. The hash kept is that of the very
// bytes that were sent, so a write in the middle of sending is seen by the next comparison.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/content_upload.h"
#include "broker/contents.h"
#include "shm/request_rules.h"

namespace airstore::broker {
namespace {

// The worker is everybody's: so much of a file is compared before others have their turn.
constexpr uint64_t kComparedAtOnce = 64u << 20;
constexpr uint64_t kLongContent = 8u << 20;

}  // namespace

Ticket Contents::Flush(uint64_t inode) {
  const NodePtr node = Find(inode);
  const auto record = inodes_->Get(inode);
  if (node && node->replacing) {
    if (node->replace_runs || !WrittenHere(*node)) return log_->PendingOf(inode);
    // The next replacement would find it, and may never come.
    KeepMixture(node);
  }
  // Neither a store to a page that is writable already nor a second write in one tick of the clock
  // shows in the stamp: of what the kernel writes only the bytes tell.
  if (node && node->file && record && (record->flags & shm::kPassthroughWriter) != 0) {
    node->dirty_hint = true;
  }
  if (node && node->keeping) return log_->PendingOf(inode);
  if (node && node->file && record && (record->flags & shm::kOrphan) == 0 && IsDirty(*node)) {
    Refresh(inode);
    log_->AppendContent(inode);
  }
  return log_->PendingOf(inode);
}

void Contents::FlushAll() {
  for (const uint64_t inode : std::vector<uint64_t>(maybe_dirty_.begin(), maybe_dirty_.end())) {
    Flush(inode);
  }
}

uint64_t Contents::dirty_bytes() {
  uint64_t bytes = 0;
  std::erase_if(maybe_dirty_, [&](uint64_t inode) {
    const NodePtr node = Find(inode);
    if (!node || !node->file || !node->file->needed) return true;
    const auto record = inodes_->Get(inode);
    if (record && (record->flags & shm::kOrphan) == 0 && IsDirty(*node)) bytes += record->size;
    return false;
  });
  return bytes;
}

std::vector<Contents::Unsent> Contents::ListUnsent() const {
  std::vector<Unsent> unsent;
  for (const auto& [inode, node] : nodes_) {
    const auto record = inodes_->Get(inode);
    if (!record || (record->flags & shm::kOrphan) != 0) continue;
    const int64_t queued_ns = log_->PendingSince(inode);
    if (queued_ns == 0 && !IsDirty(*node)) continue;
    // Of what the kernel writes the record may not tell yet.
    uint64_t size = record->size;
    if ((record->flags & shm::kPassthroughWriter) != 0 && node->file) {
      if (const auto stamp = node->file->Stamp()) size = stamp->size;
    }
    unsent.push_back({inode, size, queued_ns != 0 ? queued_ns : node->dirty_since_ns,
                      static_cast<int>(record->write_error)});
  }
  return unsent;
}

Task<Mutation> Contents::BuildWrite(uint64_t inode) {
  Mutation mutation;
  WriteOp op{.inode = inode, .extents = {}, .size = {}, .mtime_ns = {}};
  const NodePtr node = Find(inode);
  const auto before = inodes_->Get(inode);
  const uint64_t from = node && node->file ? std::exchange(node->file->next_part, 0) : 0;
  if (node) node->build_error = 0;
  if (node && node->file && node->file->complete && before && (before->flags & shm::kOrphan) == 0) {
    const std::shared_ptr<ContentFile> file = node->file;
    ++node->sending;
    const uint64_t truncations = file->truncations;
    Backoff backoff;
    // Out of descriptors: nothing may be sent that was not read.
    while (file->fd() < 0 && (errno == EMFILE || errno == ENFILE) && !stopped_) {
      ParkSome();
      if (file->fd() < 0) co_await backoff.Wait(executor_);
    }
    auto stamp = file->Stamp();
    int error = stamp ? 0 : stamp.error().code;
    if (stamp && stamp->size > shm::kGreatestFile) error = EFBIG;  // the kernel asks nobody
    if (error == 0) {
      const bool all = file->never_sent || file->resend;
      const bool everything = file->resend;
      const FileStamp old = file->sent;
      file->part_since_ns = MonotonicNs();
      if (from != 0) {
        // What changed since the first part was begun is found by the next comparison.
        *stamp = file->sent;
      } else {
        // Cut while it waited for a descriptor: what is read is of behind that cut, which follows.
        node->dirty_hint = file->truncations != truncations;
        node->dirty_since_ns = 0;
        file->sent = *stamp;
        file->refused = false;  // whatever becomes of this, lost+found has an earlier state
      }
      if (from == 0 && stamp->size <= limits_.max_inline_bytes) {
        error = co_await BuildSmall(node, *stamp, truncations, &op);
      } else {
        error = co_await BuildLarge(node, from, *stamp, truncations, &op);
      }
      if (error == ENOENT) {  // the log will hear the same, and say so
        op.extents.clear();
        op.size = stamp->size;
        error = 0;
      } else if (error == 0 && file->next_part == 0) {
        file->never_sent = file->resend = false;
        // The same bytes written again are no content, but a new time.
        if (from != 0 || !op.extents.empty() || stamp->size != old.size ||
            stamp->mtime_ns != old.mtime_ns || (all && stamp->size != 0) || everything) {
          op.size = stamp->size;
        }
      }
      Refresh(inode);
    }
    --node->sending;
    if (error != 0) {
      spdlog::error("reading content file {} failed: {}", file->slot->path, strerror(error));
      op.extents.clear();
      node->build_error = error;
      // With hashes of what was read and not sent the next try would take it for holes.
      file->never_sent = true;
      file->sent_hash.Forget();
      inodes_->Update(inode, [&](shm::InodeRecord& record) {
        record.write_error = static_cast<uint32_t>(error);
      });
    }
  }
  const auto after = inodes_->Get(inode);
  if ((op.size || !op.extents.empty()) && after) {
    op.mtime_ns = after->mtime_ns;
    // Who reads between the parts sees a change when the last one comes.
    if (HasMore(inode)) *op.mtime_ns -= 1;
    mutation.time_ns = after->ctime_ns;
  }
  mutation.op = std::move(op);
  co_return mutation;
}

Task<int> Contents::BuildSmall(const NodePtr& node, const FileStamp& stamp, uint64_t truncations,
                               WriteOp* op) {
  ContentFile& file = *node->file;
  if (stamp.size == 0) {
    file.sent_hash.Clear();
    co_return 0;
  }
  ReadBlock block = ReadForSending(file.fd(), {0, stamp.size});
  if (block.error != 0) co_return block.error;
  if (!file.never_sent && !file.resend && file.sent_hash == block.hashes) co_return 0;
  file.sent_hash = BlockHashes(block.hashes);
  if (file.truncations != truncations) file.sent_hash.Fill(kUnknownHash);
  AddInline({0, stamp.size}, std::move(block), op);
  co_return 0;
}

Task<int> Contents::BuildLarge(const NodePtr& node, uint64_t from, const FileStamp& stamp,
                               uint64_t truncations, WriteOp* op) {
  const std::shared_ptr<ContentFile> file = node->file;
  file->sent_hash.Resize(BlocksOf(stamp.size));
  const bool all = file->never_sent || file->resend;
  // What has its hash from parts that were given up would be taken for holes.
  if (all && from == 0) file->sent_hash.Forget();
  auto find = [](int fd, uint64_t begin, uint64_t size, bool never_sent,
                 std::shared_ptr<const BlockHashes> sent, uint64_t longest) -> Task<DirtyRanges> {
    co_return FindDirty(fd, begin, size, never_sent, *sent, longest, kComparedAtOnce);
  };
  const auto sent_hash = std::make_shared<const BlockHashes>(file->sent_hash);
  DirtyRanges dirty{{}, from};
  std::vector<ByteRange> ranges;
  while (dirty.end < stamp.size && ranges.size() < kRangesOfAPart) {
    dirty = co_await boost::asio::co_spawn(
        workers_->get_executor(),
        find(file->fd(), dirty.end, stamp.size, all, sent_hash, limits_.block_bytes),
        boost::asio::use_awaitable);
    ranges.insert(ranges.end(), dirty.ranges.begin(), dirty.ranges.end());
  }

  auto keep_hashes = [file, truncations](const ByteRange& range,
                                         const std::vector<uint64_t>& hashes) {
    for (size_t i = 0; i < hashes.size(); ++i) {
      const size_t at = range.offset / kContentBlock + i;
      if (at >= file->sent_hash.size()) break;
      // Cut meanwhile: what was read may be of before, so it vouches for nothing.
      file->sent_hash.Set(at, file->truncations == truncations ? hashes[i] : kUnknownHash);
    }
  };
  Uploader with{executor_, tasks_, workers_, gateway_};
  OnRead on_read = keep_hashes;
  const bool copied = !node->copied_from.empty();
  if (copied) ranges = co_await ShareCopied(node, std::move(ranges), on_read, op);
  const SentRanges sent =
      co_await SendRanges(with, file->fd(), ranges, limits_.block_bytes, copied, on_read, op);
  if (sent.count < ranges.size()) dirty.end = ranges[sent.count].offset;
  if (copied) {
    std::sort(op->extents.begin(), op->extents.end(),
              [](const WriteExtent& a, const WriteExtent& b) { return a.offset < b.offset; });
  }
  if (all) AddHoles(op, from, dirty.end);
  if (sent.error == 0 && dirty.end < stamp.size) file->next_part = dirty.end;
  co_return sent.error;
}

int Contents::BuildError(uint64_t inode) const {
  const NodePtr node = Find(inode);
  return node ? node->build_error : 0;
}

bool Contents::TakesLong(uint64_t inode) const {
  const auto record = inodes_->Get(inode);
  return record && record->size > kLongContent;
}

bool Contents::HasMore(uint64_t inode) const {
  const NodePtr node = Find(inode);
  return node && node->file && node->file->next_part != 0;
}

void Contents::ForgetParts(uint64_t inode) {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return;
  ContentFile& file = *node->file;
  const uint64_t sent = std::exchange(file.next_part, 0) / kContentBlock;
  node->dirty_hint = true;
  if (sent == 0 || !(file.never_sent || file.resend)) return;
  // What was sent is not sent again, or a file that is cut now and then would never arrive. Where
  // no bytes were, holes were sent; of what comes behind, the gateway may have anything.
  const BlockHashes before = std::exchange(file.sent_hash, BlockHashes());
  file.sent_hash.Resize(before.size());
  file.sent_hash.Fill(kUnknownHash);
  for (uint64_t block = 0; block < std::min(sent, before.size()); ++block) {
    file.sent_hash.Set(block, before[block] != 0 ? before[block] : HashOfZeros(kContentBlock));
  }
  file.never_sent = file.resend = false;
}

Settled Contents::ContentSettled(uint64_t inode, int error) {
  const NodePtr node = Find(inode);
  if (!node || !node->file) return Settled::kForGood;
  if (error == 0 && node->file->next_part != 0) return Settled::kMore;
  node->file->next_part = 0;
  // Blocks that it refers to were collected meanwhile. Once, if it came soon: it may be another
  // reason.
  node->file->sent_again =
      error == EIO &&
      (!node->file->sent_again || MonotonicNs() - node->file->part_since_ns > kTimeToCollectNs);
  if (node->file->sent_again) {
    node->file->resend = true;
    node->file->sent_hash.Forget();
    return Settled::kSendAgain;
  }
  if (error != 0) {
    // Keep everything as unsent: the next change, close or fsync tries again with all of it.
    node->file->never_sent = true;
    node->file->unsure = true;
    node->file->sent_hash.Forget();
    inodes_->Update(inode, [&](shm::InodeRecord& record) {
      record.write_error = static_cast<uint32_t>(error);
    });
    if (!std::exchange(node->keeping, true)) tasks_->Spawn(Refused(node, node->file, error));
    return Settled::kForGood;
  }
  if (!node->file->never_sent) {
    const FileStamp& sent = node->file->sent;
    node->file->settled_bytes = sent.allocated_bytes;
    // The stamp may be of a moment in which ext4 had counted too little.
    const auto now = node->file->Stamp();
    if (now && now->size == sent.size && now->mtime_ns == sent.mtime_ns) {
      node->file->settled_bytes = std::max(sent.allocated_bytes, now->allocated_bytes);
    }
  }
  Charge(node);
  if (node->opens() == 0) {
    // The log still counts this item as pending: look again once it does not.
    tasks_->Spawn(AfterSettled(inode));
  }
  return Settled::kForGood;
}

Task<void> Contents::AfterSettled(uint64_t inode) {
  if (const NodePtr node = Find(inode)) {
    NoteClean(node);
    MoveToSlab(node);
    if (Find(inode) == node) Touch(node);
  }
  co_return;
}

// Runs while any file is open for writing or mapped, so that long writers are sent without being
// closed, and maps that outlived their descriptors are not forgotten.
Task<void> Contents::Debounce() {
  while (!watched_.empty()) {
    debounce_timer_.expires_after(LookEvery());
    boost::system::error_code ignored;
    co_await debounce_timer_.async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    if (stopped_) break;
    LookAtKernelWrites();
    const int64_t now = MonotonicNs();
    if (now < debounce_at_ns_) continue;
    debounce_at_ns_ = now + options_.debounce_ns;
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
