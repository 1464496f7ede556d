// SPDX-License-Identifier: Apache-2.0
#include "broker/content_upload.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "broker/backoff.h"
#include "broker/content_file.h"
#include "broker/log_limit.h"
#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

constexpr size_t kSendsInFlight = 4;
constexpr size_t kMostPieces = 64;  // of a range: what has more small holes is sent with them

BlockId RandomBlockId() {
  BlockId id;
  AIRSTORE_CHECK(getrandom(id.bytes.data(), id.bytes.size(), 0) ==
                 static_cast<ssize_t>(id.bytes.size()));
  return id;
}

// 0 or ENOENT.
Task<int> SendBlock(Uploader with, BlockId id, std::string data) {
  Backoff backoff;
  for (;;) {
    auto stored = co_await with.gateway->PutBlock(id, data);
    Reach(FaultPoint::kLogBlockStored);
    if (stored) co_return 0;
    if (stored.error().code == ENOENT) co_return ENOENT;
    static LogLimit limit(std::chrono::seconds(10));
    if (limit.Due()) {
      spdlog::warn("storing a block failed, will retry: {}", stored.error().ToString());
    }
    co_await backoff.Wait(with.executor);
  }
}

void AddHole(const ByteRange& range, WriteOp* op) {
  op->extents.push_back(
      WriteExtent{.offset = range.offset, .length = range.length, .source = std::monostate()});
}

// Asks the file system for each run of data or zeros once.
class HoleFinder {
 public:
  HoleFinder(int fd, uint64_t size) : fd_(fd), size_(size) {}

  // REQUIRES: offsets ascend.
  bool IsHole(uint64_t offset, uint64_t length) {
    Look(offset);
    return data_ >= offset + length;
  }
  // Where the data at or behind the offset begins and ends; the size where there is none.
  ByteRange DataAt(uint64_t offset) {
    Look(offset);
    const uint64_t start = std::max(data_, offset);
    return {start, std::max(end_, start) - start};
  }

 private:
  void Look(uint64_t offset) {
    if (offset < end_) return;
    // Twice: while ext4 changes blocks from reserved to allocated it may take them for a hole,
    // once.
    const auto [data, end] = DataBehind(offset);
    const auto [again_data, again_end] = DataBehind(offset);
    data_ = std::min(data, again_data);
    end_ = std::max(end, again_end);
  }
  std::pair<uint64_t, uint64_t> DataBehind(uint64_t offset) const {
    const off_t data = lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
    // ENXIO: no more data. A file system that cannot tell has no holes.
    if (data < 0) return {errno == ENXIO ? size_ : offset, size_};
    const off_t hole = lseek(fd_, data, SEEK_HOLE);
    return {std::min(static_cast<uint64_t>(data), size_),
            hole < 0 ? size_ : std::min(static_cast<uint64_t>(hole), size_)};
  }

  const int fd_;
  const uint64_t size_;
  uint64_t data_ = 0;
  uint64_t end_ = 0;
};

// Written meanwhile or not: what is taken for a hole here is hashed as zeros, so the next
// comparison finds it.
std::vector<ByteRange> PiecesOf(int fd, const ByteRange& range) {
  std::vector<ByteRange> pieces;
  const uint64_t end = range.offset + range.length;
  HoleFinder holes(fd, end);
  for (uint64_t at = range.offset; at < end;) {
    if (pieces.size() >= kMostPieces) {
      pieces.push_back({at, end - at, false});
      break;
    }
    const ByteRange data = holes.DataAt(at);
    if (data.offset > at) pieces.push_back({at, std::min(data.offset, end) - at, true});
    if (data.offset < end && data.length != 0) {
      pieces.push_back(
          {data.offset, std::min(data.offset + data.length, end) - data.offset, false});
    }
    at = data.offset + data.length;
  }
  return pieces;
}

}  // namespace

uint64_t HashOfZeros(uint64_t length) {
  static const std::string kZeros(kContentBlock, '\0');
  static const uint64_t kWhole = XXH3_64bits(kZeros.data(), kZeros.size());
  return length == kContentBlock ? kWhole : XXH3_64bits(kZeros.data(), length);
}

DirtyRanges FindDirty(int fd, uint64_t from, uint64_t size, bool never_sent,
                      const BlockHashes& sent_hash, uint64_t longest, uint64_t most_read) {
  DirtyRanges found{{}, size};
  std::vector<ByteRange>& ranges = found.ranges;
  std::string block(kContentBlock, '\0');
  const auto add = [&](uint64_t offset, uint64_t length, bool hole) {
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset &&
        ranges.back().hole == hole && (hole || ranges.back().length + length <= longest)) {
      ranges.back().length += length;
    } else {
      ranges.push_back({offset, length, hole});
    }
  };
  HoleFinder holes(fd, size);
  uint64_t next = 0;
  uint64_t read = 0;
  for (uint64_t i = from / kContentBlock; i < BlocksOf(size); i = next) {
    if (read >= most_read) {
      found.end = i * kContentBlock;
      break;
    }
    if (ranges.size() >= kRangesOfAPart) {
      found.end = ranges.back().offset + ranges.back().length;
      break;
    }
    next = i + 1;
    const uint64_t offset = i * kContentBlock;
    const uint64_t length = std::min(kContentBlock, size - offset);
    const uint64_t sent = sent_hash[i];
    if (holes.IsHole(offset, length)) {
      // Where nothing was sent the gateway has a hole as well.
      if (sent != 0 && sent != HashOfZeros(length)) {
        add(offset, length, true);
      } else {
        // The last block may be a short one: it is looked at by itself.
        const uint64_t data = holes.DataAt(offset).offset / kContentBlock;
        next = std::max(next, std::min({sent_hash.SameUntil(i), data, BlocksOf(size) - 1}));
      }
      continue;
    }
    if (sent == 0 && never_sent) {
      add(offset, length, false);
      continue;
    }
    std::fill_n(block.begin(), length, '\0');
    read += length;
    if (pread(fd, block.data(), length, static_cast<off_t>(offset)) < 0) {
      add(offset, length, false);  // not known to be clean
      continue;
    }
    if (XXH3_64bits(block.data(), length) != sent) add(offset, length, false);
  }
  return found;
}

ReadBlock ReadForSending(int fd, ByteRange range) {
  ReadBlock result;
  result.pieces = PiecesOf(fd, range);
  result.data.resize(range.length, '\0');
  for (const ByteRange& piece : result.pieces) {
    if (piece.hole) continue;
    size_t done = 0;
    while (done < piece.length) {
      const ssize_t got = pread(fd, result.data.data() + (piece.offset - range.offset) + done,
                                piece.length - done, static_cast<off_t>(piece.offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        result.error = errno;
        return result;
      }
      if (got == 0) break;  // shortened meanwhile: the rest is zeros, and the truncation follows
      done += static_cast<size_t>(got);
    }
  }
  for (uint64_t at = 0; at < range.length; at += kContentBlock) {
    result.hashes.push_back(
        XXH3_64bits(result.data.data() + at, std::min(kContentBlock, range.length - at)));
  }
  return result;
}

void AddInline(const ByteRange& range, ReadBlock block, WriteOp* op) {
  for (const ByteRange& piece : block.pieces) {
    WriteExtent extent{.offset = piece.offset, .length = piece.length, .source = std::monostate()};
    if (!piece.hole) {
      extent.source = piece.length == range.length
                          ? std::move(block.data)
                          : block.data.substr(piece.offset - range.offset, piece.length);
    }
    op->extents.push_back(std::move(extent));
  }
}

void AddHoles(WriteOp* op, uint64_t from, uint64_t end) {
  std::vector<WriteExtent> all;
  uint64_t at = from;
  const auto hole_until = [&](uint64_t next) {
    if (at < next) {
      all.push_back(WriteExtent{.offset = at, .length = next - at, .source = std::monostate()});
    }
  };
  for (WriteExtent& extent : op->extents) {
    hole_until(extent.offset);
    at = extent.offset + extent.length;
    all.push_back(std::move(extent));
  }
  hole_until(end);
  op->extents = std::move(all);
}

namespace {

// Blocks on their way, several at a time; what is small shares one.
class BlockSender {
 public:
  BlockSender(Uploader with, uint64_t longest)
      : with_(with), longest_(longest), sent_(with.executor) {}

  // Refers to the bytes that were read, which are on their way when this returns or soon.
  Task<void> Add(const ByteRange& range, ReadBlock block, WriteOp* op) {
    const bool dense = block.pieces.size() == 1 && !block.pieces[0].hole;
    if (bytes_.size() + block.data.size() > longest_) co_await Send();
    for (const ByteRange& piece : block.pieces) {
      if (piece.hole) {
        AddHole(piece, op);
        continue;
      }
      if (bytes_.empty()) id_ = RandomBlockId();
      op->extents.push_back(WriteExtent{.offset = piece.offset,
                                        .length = piece.length,
                                        .source = std::make_pair(id_, uint64_t{bytes_.size()})});
      if (dense && bytes_.empty()) {
        bytes_ = std::move(block.data);
      } else {
        bytes_.append(block.data, piece.offset - range.offset, piece.length);
      }
    }
  }
  Task<int> Finish() {
    co_await Send();
    while (in_flight_ > 0) co_await sent_.Wait();
    co_return error_;
  }
  int error() const { return error_; }

 private:
  Task<void> Send() {
    if (bytes_.empty()) co_return;
    while (in_flight_ >= kSendsInFlight) co_await sent_.Wait();
    ++in_flight_;
    auto send = [](BlockSender* self, BlockId id, std::string data) -> Task<void> {
      const int refused = co_await SendBlock(self->with_, id, std::move(data));
      if (refused != 0) self->error_ = refused;
      --self->in_flight_;
      self->sent_.NotifyAll();
    };
    with_.tasks->Spawn(send(this, id_, std::exchange(bytes_, {})));
  }

  Uploader with_;
  const uint64_t longest_;
  Event sent_;
  BlockId id_ = {};
  std::string bytes_;  // to be sent as this block
  size_t in_flight_ = 0;
  int error_ = 0;
};

}  // namespace

Task<SentRanges> SendRanges(Uploader with, int fd, std::vector<ByteRange> ranges, uint64_t longest,
                            bool all, OnRead on_read, WriteOp* op) {
  const auto enough_at = std::chrono::steady_clock::now() + kTimeOfAPart;
  int error = 0;
  size_t count = 0;
  BlockSender sender(with, longest);
  for (const ByteRange& range : ranges) {
    if (!all && count != 0 &&
        (op->extents.size() >= kExtentsOfAPart || std::chrono::steady_clock::now() > enough_at)) {
      break;
    }
    ++count;
    if (range.hole) {
      std::vector<uint64_t> hashes;
      for (uint64_t at = 0; at < range.length; at += kContentBlock) {
        hashes.push_back(HashOfZeros(std::min(kContentBlock, range.length - at)));
      }
      on_read(range, hashes);
      AddHole(range, op);
      continue;
    }
    auto read = [](int from, ByteRange what) -> Task<ReadBlock> {
      co_return ReadForSending(from, what);
    };
    ReadBlock block = co_await boost::asio::co_spawn(with.workers->get_executor(), read(fd, range),
                                                     boost::asio::use_awaitable);
    if (block.error != 0) {
      error = block.error;
      break;
    }
    on_read(range, block.hashes);
    co_await sender.Add(range, std::move(block), op);
    if (sender.error() != 0) break;
  }
  const int refused = co_await sender.Finish();
  co_return SentRanges{error != 0 ? error : refused, count};
}

}  // namespace airstore::broker
