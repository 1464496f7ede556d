// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/content.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/gateway/zones.h"

namespace airstore::gateway {
namespace {

struct Plan {
  FetchOutcome outcome;
  std::vector<std::vector<Extent>> extents;  // for each piece
};

// Smaller holes travel as zeros.
constexpr uint64_t kHoleBytes = 4096;
constexpr size_t kMostPieces = 1024;  // of a range

// Splits [start, end) where the extents leave large holes. At least one piece.
void AddPieces(std::vector<Extent> extents, uint64_t start, uint64_t end, Plan* plan) {
  std::vector<Extent> of_piece;
  uint64_t piece = start;  // where the piece begins that is being put together
  uint64_t at = start;     // up to here it has content
  size_t pieces = 0;
  const auto cut = [&](uint64_t to) {
    plan->outcome.pieces.push_back({piece, to - piece, {}});
    plan->extents.push_back(std::move(of_piece));
    of_piece.clear();
    piece = to;
    ++pieces;
  };
  for (Extent& e : extents) {
    const uint64_t from = std::max(e.offset, start);
    if (from >= end) break;
    if (from - at >= kHoleBytes && pieces < kMostPieces) {
      if (at > piece) cut(at);
      cut(from);
    }
    at = std::min(e.end(), end);
    of_piece.push_back(std::move(e));
  }
  if (end - at >= kHoleBytes && at > piece) cut(at);
  if (end > piece || pieces == 0) cut(end);
}

Result<Plan> MakePlan(MetadataStore& store, WorkspaceKey ws, InodeNo ino,
                      const std::vector<ByteRange>& ranges) {
  auto reader = store.Read();
  if (!reader) return reader.error();
  Plan plan;
  const auto inode = (*reader)->GetInode(ws, ino);
  if (!inode) {
    AIRSTORE_TRY((*reader)->status());
    plan.outcome.error = ENOENT;
    return plan;
  }
  if (!S_ISREG(inode->mode)) {
    plan.outcome.error = S_ISDIR(inode->mode) ? EISDIR : EINVAL;
    return plan;
  }
  plan.outcome.content_version = inode->content_version;
  plan.outcome.zone = Zones(ParentsIn(**reader, ws)).Of(*inode);
  for (const ByteRange& range : ranges) {
    const uint64_t start = std::min(range.offset, inode->size);
    const uint64_t length = std::min(range.length, inode->size - start);
    std::vector<Extent> extents;
    if (length > 0 && inode->allocated > 0) {
      extents = (*reader)->ListExtents(ws, ino, start, start + length);
    }
    AddPieces(std::move(extents), length == 0 ? range.offset : start,
              length == 0 ? range.offset : start + length, &plan);
  }
  AIRSTORE_TRY((*reader)->status());
  return plan;
}

}  // namespace

Result<std::string> ReadExtents(Blocks& blocks, WorkspaceKey ws, const std::vector<Extent>& extents,
                                uint64_t offset, uint64_t length, SteadyTime until) {
  std::string bytes(length, '\0');
  for (const Extent& e : extents) {
    const uint64_t start = std::max(e.offset, offset);
    const uint64_t end = std::min(e.end(), offset + length);
    if (start >= end) continue;
    auto block = blocks.Get({ws, e.block}, until);
    if (!block) return block.error();
    const std::string_view data = std::string_view(**block).substr(Blocks::kHeaderBytes);
    const uint64_t from = e.block_offset + (start - e.offset);
    if (end - start > data.size() || from > data.size() - (end - start)) {
      return Error{EBADMSG, "extent reaches out of its block"};
    }
    std::memcpy(bytes.data() + (start - offset), data.data() + from, end - start);
  }
  return bytes;
}

Result<FetchOutcome> FetchContent(MetadataStore& store, Blocks& blocks, WorkspaceKey ws,
                                  InodeNo ino, const std::vector<ByteRange>& ranges) {
  // A block may be collected between the snapshot and its reading, when the file was overwritten a
  // grace period ago; the next snapshot does not name it any more.
  constexpr int kAttempts = 3;
  for (int attempt = 1;; ++attempt) {
    auto plan = UntilNoConflict([&] { return MakePlan(store, ws, ino, ranges); });
    if (!plan) return plan.error();
    FetchOutcome outcome = std::move(plan->outcome);
    Result<void> done;
    for (size_t i = 0; i < outcome.pieces.size() && done; ++i) {
      FetchedPiece& piece = outcome.pieces[i];
      if (plan->extents[i].empty()) continue;
      auto bytes = ReadExtents(blocks, ws, plan->extents[i], piece.offset, piece.length);
      if (bytes) {
        piece.data = std::move(*bytes);
      } else {
        done = bytes.error();
      }
    }
    if (!done) {
      const int failed = done.error().code;
      if (failed != ENOENT && failed != EBADMSG) return done.error();
      if (failed == ENOENT && attempt < kAttempts) continue;
      outcome.error = EIO;
      outcome.pieces.clear();
    }
    return outcome;
  }
}

}  // namespace airstore::gateway
