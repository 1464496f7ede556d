// SPDX-License-Identifier: Apache-2.0
//
// Reading a content file and storing its bytes at the gateway as blocks, for a write that refers to
// them.
//
// Threads: as said below; the file may be written by others meanwhile.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "broker/block_hashes.h"
#include "broker/gateway.h"
#include "broker/task.h"

namespace airstore::broker {

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool hole = false;  // zeros that the file does not store
};

// In place of a hash: the gateway has something there, but nobody knows what.
inline constexpr uint64_t kUnknownHash = 1;

// XXH3 of so many zeros, at most a content block.
uint64_t HashOfZeros(uint64_t length);

// What a write is made of is limited: a file is sent in parts, so that what refers to blocks
// reaches the gateway before it collects those that nothing refers to, and in one message. Between
// the parts others see a file that is half new, so there are no more of them than needed.
inline constexpr size_t kRangesOfAPart = 4096;
inline constexpr size_t kExtentsOfAPart = 32768;
inline constexpr std::chrono::seconds kTimeOfAPart{300};
// Blocks were collected, if that may be why a write was refused: it took this long to come.
inline constexpr int64_t kTimeToCollectNs = 600'000'000'000;

struct DirtyRanges {
  std::vector<ByteRange> ranges;
  uint64_t end = 0;  // how far was looked: the file's size when that is all of it
};
// Ranges of whole content blocks from `from` on whose bytes are not those last sent, each at most
// `longest` bytes, holes excepted; at most kRangesOfAPart. `sent_hash`: XXH3 by block, 0 where
// never sent. What is a hole and was never sent is left out. REQUIRES: `from` is where a block
// begins. Stops when it has read `most_read` bytes. Any thread.
DirtyRanges FindDirty(int fd, uint64_t from, uint64_t size, bool never_sent,
                      const BlockHashes& sent_hash, uint64_t longest,
                      uint64_t most_read = UINT64_MAX);

struct ReadBlock {
  int error = 0;
  std::string data;               // as long as was asked for; zeros behind the file's end
  std::vector<uint64_t> hashes;   // XXH3 by content block
  std::vector<ByteRange> pieces;  // data and holes of the file, in order, without gaps
};
// Any thread.
ReadBlock ReadForSending(int fd, ByteRange range);

// Adds the range that was read to a write, bytes inline.
void AddInline(const ByteRange& range, ReadBlock block, WriteOp* op);
// Adds holes where the write says nothing so far from `from` to `end`: the gateway may hold bytes
// there. REQUIRES: the write's extents are in order, and none begins before `from`.
void AddHoles(WriteOp* op, uint64_t from, uint64_t end);

// What sending needs; all borrowed. The event loop.
struct Uploader {
  boost::asio::any_io_executor executor;
  Tasks* tasks;
  boost::asio::thread_pool* workers;
  Gateway* gateway;
};
// Called with each range when it was read, before it is sent.
using OnRead = std::function<void(const ByteRange&, const std::vector<uint64_t>& hashes)>;

struct SentRanges {
  int error = 0;     // errno of the file; ENOENT: there is no workspace any more
  size_t count = 0;  // so many of the ranges were sent
};
// Stores the ranges as blocks of at most `longest` bytes, several at a time, and adds extents that
// refer to them to `op`, until that is enough for a part; at least one. `all`: of all of them,
// however long that takes. Tries for ever while the gateway is away. The event loop.
Task<SentRanges> SendRanges(Uploader with, int fd, std::vector<ByteRange> ranges, uint64_t longest,
                            bool all, OnRead on_read, WriteOp* op);

}  // namespace airstore::broker
