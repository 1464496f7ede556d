// SPDX-License-Identifier: Apache-2.0
#include "broker/content_upload.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>

#include "broker/backoff.h"
#include "broker/content_file.h"

namespace airstore::broker {
namespace {

constexpr size_t kSendsInFlight = 4;

BlockId RandomBlockId() {
  BlockId id;
  AIRSTORE_CHECK(getrandom(id.bytes.data(), id.bytes.size(), 0) ==
                 static_cast<ssize_t>(id.bytes.size()));
  return id;
}

Task<void> SendBlock(Uploader with, BlockId id, std::string data) {
  Backoff backoff;
  for (;;) {
    auto stored = co_await with.gateway->PutBlock(id, data);
    if (stored) co_return;
    spdlog::warn("storing a block failed, will retry: {}", stored.error().ToString());
    co_await backoff.Wait(with.executor);
  }
}

}  // namespace

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

void AddHoles(WriteOp* op, uint64_t size) {
  std::vector<WriteExtent> all;
  uint64_t at = 0;
  const auto hole_until = [&](uint64_t end) {
    if (at < end) {
      all.push_back(WriteExtent{.offset = at, .length = end - at, .source = std::monostate()});
    }
  };
  for (WriteExtent& extent : op->extents) {
    hole_until(extent.offset);
    at = extent.offset + extent.length;
    all.push_back(std::move(extent));
  }
  hole_until(size);
  op->extents = std::move(all);
}

Task<int> SendRanges(Uploader with, int fd, std::vector<ByteRange> ranges, OnRead on_read,
                     WriteOp* op) {
  int error = 0;
  size_t in_flight = 0;
  Event sent(with.executor);
  auto send = [](Uploader through, BlockId id, std::string data, size_t* running,
                 Event* done) -> Task<void> {
    co_await SendBlock(through, id, std::move(data));
    --*running;
    done->NotifyAll();
  };
  for (const ByteRange& range : ranges) {
    while (in_flight >= kSendsInFlight) co_await sent.Wait();
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
    const BlockId id = RandomBlockId();
    op->extents.push_back(WriteExtent{
        .offset = range.offset, .length = range.length, .source = std::make_pair(id, uint64_t{0})});
    ++in_flight;
    with.tasks->Spawn(send(with, id, std::move(block.data), &in_flight, &sent));
  }
  while (in_flight > 0) co_await sent.Wait();
  co_return error;
}

}  // namespace airstore::broker
