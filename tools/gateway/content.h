// SPDX-License-Identifier: Apache-2.0
//
// Reading content: extents from the metadata, bytes from the blocks, zeros for holes.
//
// Threads: any.
// Ownership: borrows everything for the duration of a call.
#pragma once

#include <string>
#include <vector>

#include "tools/gateway/blocks.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct FetchedPiece {
  uint64_t offset = 0;
  uint64_t length = 0;
  std::string data;  // empty with length > 0: a hole
};

struct FetchOutcome {
  int error = 0;
  uint64_t content_version = 0;
  InodeNo zone = kRootInode;  // that the file is in
  // In the order of the ranges asked for; one that has large holes comes in several.
  std::vector<FetchedPiece> pieces;
};

// The bytes of [offset, offset + length); REQUIRES: `extents` touch it, in order. Fails as
// Blocks::Get(), which gets `until`.
Result<std::string> ReadExtents(Blocks& blocks, WorkspaceKey ws, const std::vector<Extent>& extents,
                                uint64_t offset, uint64_t length,
                                SteadyTime until = SteadyTime::max());

// All ranges of one version of a file's content, cut at its end. REQUIRES: CheckRange() of each.
// An outcome with EIO: a block is lost or damaged. Fails with what may pass.
Result<FetchOutcome> FetchContent(MetadataStore& store, Blocks& blocks, WorkspaceKey ws,
                                  InodeNo ino, const std::vector<ByteRange>& ranges);

}  // namespace airstore::gateway
