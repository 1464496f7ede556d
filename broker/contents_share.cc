// SPDX-License-Identifier: Apache-2.0
//
// Sending what was copied from another file: where the gateway has the very bytes as part of that
// file, the write refers to the blocks that it keeps them in.
//
// Where a range was copied from is but a hint, because both files may have changed since. What
// counts is that the block of the copy has the hash that the block of the source had when it was
// sent or fetched, and that the gateway still has that version of the source. Blocks never change,
// so it does not matter what becomes of the source afterwards.
#include <algorithm>
#include <map>
#include <set>

#include "broker/content_upload.h"
#include "broker/contents.h"

namespace airstore::broker {
namespace {

constexpr size_t kMostExtents = 4096;  // of one write; what is in more pieces is sent
constexpr size_t kHashedAtOnce = 256;  // blocks, by one task of the worker

struct Candidate {
  ByteRange range;  // of the copy: one content block
  uint64_t from = 0;
  uint64_t hash = 0;
};

// Which of them are, in the copy as it is now, what they were in the source. A worker thread.
std::vector<bool> Compare(int fd, const std::vector<Candidate>& candidates) {
  std::vector<bool> same;
  for (const Candidate& candidate : candidates) {
    const ReadBlock block = ReadForSending(fd, candidate.range);
    same.push_back(block.error == 0 && block.hashes.size() == 1 &&
                   block.hashes[0] == candidate.hash);
  }
  return same;
}

void AddExtent(WriteExtent extent, std::vector<WriteExtent>* extents) {
  if (!extents->empty()) {
    WriteExtent& last = extents->back();
    const auto* before = std::get_if<BlockPlace>(&last.source);
    const auto* block = std::get_if<BlockPlace>(&extent.source);
    const bool goes_on = last.offset + last.length == extent.offset &&
                         last.source.index() == extent.source.index() &&
                         (block == nullptr || (before->first == block->first &&
                                               before->second + last.length == block->second));
    if (goes_on) {
      last.length += extent.length;
      return;
    }
  }
  extents->push_back(std::move(extent));
}

// Adds what holds the candidate's bytes in the source, as extents of the copy.
void AddPlaces(const Layout& source, const Candidate& candidate,
               std::vector<WriteExtent>* extents) {
  const uint64_t end = candidate.from + candidate.range.length;
  uint64_t at = candidate.from;
  const auto place = [&](uint64_t to, auto what) {
    if (at >= to) return;
    AddExtent({.offset = candidate.range.offset + (at - candidate.from),
               .length = to - at,
               .source = std::move(what)},
              extents);
    at = to;
  };
  auto run = std::partition_point(
      source.runs.begin(), source.runs.end(),
      [at](const Layout::Run& other) { return other.offset + other.length <= at; });
  for (; run != source.runs.end() && run->offset < end; ++run) {
    place(std::min(run->offset, end), std::monostate());
    const auto& [block, offset] = source.blocks[static_cast<size_t>(run - source.runs.begin())];
    place(std::min(run->offset + run->length, end),
          std::make_pair(block, offset + (at - run->offset)));
  }
  place(end, std::monostate());
}

// The dirty ranges without the blocks that were taken.
std::vector<ByteRange> Without(const std::vector<ByteRange>& dirty,
                               const std::set<uint64_t>& taken) {
  std::vector<ByteRange> rest;
  for (const ByteRange& range : dirty) {
    const uint64_t end = range.offset + range.length;
    uint64_t at = range.offset;
    for (auto next = taken.lower_bound(at); next != taken.end() && *next < end; ++next) {
      if (*next > at) rest.push_back({at, *next - at, range.hole});
      at = std::min(end, *next + kContentBlock);
    }
    if (at < end) rest.push_back({at, end - at, range.hole});
  }
  return rest;
}

}  // namespace

bool Contents::BuildsOnPending(uint64_t inode) const {
  const NodePtr node = Find(inode);
  return node && std::any_of(node->copied_from.begin(), node->copied_from.end(),
                             [&](const CopiedFrom& from) {
                               return from.source != inode && log_->ContentInFlight(from.source);
                             });
}

Task<Result<Layout>> Contents::AskBlocks(uint64_t inode, uint64_t version, uint64_t from,
                                         uint64_t to) {
  Layout whole;
  while (!whole.end && from < to) {
    auto layout = co_await AskLayout({.inode = inode, .offset = from, .blocks = true});
    if (!layout) co_return layout.error();
    if (layout->content_version != version) co_return Error{EAGAIN, "the source has changed"};
    if (layout->blocks.size() != layout->runs.size()) co_return Error{EOPNOTSUPP, "blocks"};
    if (whole.runs.size() > kMostExtents) co_return Error{E2BIG, "blocks"};
    whole.runs.insert(whole.runs.end(), layout->runs.begin(), layout->runs.end());
    whole.blocks.insert(whole.blocks.end(), layout->blocks.begin(), layout->blocks.end());
    whole.end = layout->end;
    whole.size = layout->size;
    if (!layout->runs.empty()) from = layout->runs.back().offset + layout->runs.back().length;
  }
  co_return whole;
}

Task<std::vector<ByteRange>> Contents::ShareCopied(NodePtr node, std::vector<ByteRange> dirty,
                                                   OnRead on_read, WriteOp* op) {
  const std::shared_ptr<ContentFile> file = node->file;
  const std::vector<CopiedFrom> origins = std::exchange(node->copied_from, {});
  struct Source {
    uint64_t version = 0;
    std::vector<Candidate> candidates;
  };
  std::map<uint64_t, Source> sources;
  for (const CopiedFrom& origin : origins) {
    const NodePtr source = Find(origin.source);
    // What is on its way is neither the old version nor the new one.
    if (!source || !source->file || log_->ContentInFlight(origin.source)) continue;
    const ContentFile& from = *source->file;
    if (from.base_version == 0 || from.never_sent || from.resend) continue;
    Source& asked = sources[origin.source];
    asked.version = from.base_version;
    for (const ByteRange& range : dirty) {
      if (range.hole) continue;
      const uint64_t end = range.offset + range.length;
      for (uint64_t at = range.offset; at < end; at += kContentBlock) {
        const ByteRange block{at, std::min(kContentBlock, end - at)};
        if (at < origin.offset || at + block.length > origin.offset + origin.length) continue;
        const uint64_t source_at = origin.source_offset + (at - origin.offset);
        const uint64_t index = source_at / kContentBlock;
        if (source_at % kContentBlock != 0 || index >= from.sent_hash.size()) continue;
        const uint64_t hash = from.sent_hash[index];
        if (hash == 0 || hash == kUnknownHash) continue;
        asked.candidates.push_back({block, source_at, hash});
      }
    }
  }
  std::set<uint64_t> taken;
  for (auto& [inode, source] : sources) {
    uint64_t first = UINT64_MAX;
    uint64_t end = 0;
    for (const Candidate& candidate : source.candidates) {
      first = std::min(first, candidate.from);
      end = std::max(end, candidate.from + candidate.range.length);
    }
    if (first >= end) continue;
    const auto layout = co_await AskBlocks(inode, source.version, first, end);
    if (!layout) continue;
    // The last block of a file has another hash when it is longer.
    std::erase_if(source.candidates, [&](const Candidate& candidate) {
      return candidate.from >= layout->size ||
             candidate.range.length != std::min(kContentBlock, layout->size - candidate.from);
    });
    for (size_t done = 0; done < source.candidates.size() && op->extents.size() < kMostExtents;) {
      const auto begin = source.candidates.begin() + static_cast<ptrdiff_t>(done);
      const size_t some = std::min(source.candidates.size() - done, kHashedAtOnce);
      std::vector<Candidate> asked(begin, begin + static_cast<ptrdiff_t>(some));
      done += some;
      auto compare = [](int fd, std::vector<Candidate> what) -> Task<std::vector<bool>> {
        co_return Compare(fd, what);
      };
      Task<std::vector<bool>> comparing = compare(file->fd(), asked);
      const std::vector<bool> same = co_await boost::asio::co_spawn(
          workers_->get_executor(), std::move(comparing), boost::asio::use_awaitable);
      for (size_t i = 0; i < some; ++i) {
        if (!same[i] || !taken.insert(asked[i].range.offset).second) continue;
        AddPlaces(*layout, asked[i], &op->extents);
        on_read(asked[i].range, {asked[i].hash});
      }
    }
  }
  co_return Without(dirty, taken);
}

}  // namespace airstore::broker
