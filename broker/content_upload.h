// SPDX-License-Identifier: Apache-2.0
//
// Reading a content file and storing its bytes at the gateway as blocks, for a write that refers to
// them.
//
// Threads: as said below; the file may be written by others meanwhile.
#pragma once

#include <boost/asio/thread_pool.hpp>
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

// Ranges of whole content blocks whose bytes are not those last sent, each at most `longest` bytes,
// holes excepted. `sent_hash`: XXH3 by block, 0 where never sent. What is a hole and was never sent
// is left out.
// Any thread.
std::vector<ByteRange> FindDirty(int fd, uint64_t size, bool never_sent,
                                 const BlockHashes& sent_hash, uint64_t longest);

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
// Adds holes where the write says nothing so far, up to `size`: the gateway may hold bytes there.
void AddHoles(WriteOp* op, uint64_t size);

// What sending needs; all borrowed. The event loop.
struct Uploader {
  boost::asio::any_io_executor executor;
  Tasks* tasks;
  boost::asio::thread_pool* workers;
  Gateway* gateway;
};
// Called with each range when it was read, before it is sent.
using OnRead = std::function<void(const ByteRange&, const std::vector<uint64_t>& hashes)>;

// Stores the ranges as blocks, several at a time, and adds extents that refer to them to `op`.
// Tries for ever while the gateway is away. errno of the file; ENOENT: there is no workspace any
// more; else 0. The event loop.
Task<int> SendRanges(Uploader with, int fd, std::vector<ByteRange> ranges, OnRead on_read,
                     WriteOp* op);

}  // namespace airstore::broker
