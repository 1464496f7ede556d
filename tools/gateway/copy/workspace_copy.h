// SPDX-License-Identifier: Apache-2.0
//
// Copies a workspace from one store to another, of whatever engines: every inode under its number,
// with names, extents, attributes and times as they are, the blocks that they need, members and
// tokens. Sessions, locks, and files without a name stay behind.
//
// An inode is written with all that belongs to it, its references to blocks included, in one
// transaction, the root's last: so a copy that was broken off goes on where it was, and until it is
// whole nobody can open the workspace. Before the root is written everything is read back and
// compared, blocks with their hashes.
//
// The source must be at rest. In Redis it is found out whether it was.
//
// Threads: the caller's; blocks go several at once.
// Fails: ENOENT: no such workspace. EEXIST: the target has one of that name, or id, with content.
// EBUSY: the source is in use. EIO: the copy is not like the source; says where.
#pragma once

#include <functional>
#include <string>

#include "tools/gateway/store_url.h"

namespace airstore::gateway {

struct CopyTotals {
  uint64_t inodes = 0;
  uint64_t blocks = 0;
  uint64_t bytes = 0;          // of blocks
  uint64_t there_already = 0;  // inodes that an earlier copy has written
};

// `phase`, and how many of how many inodes.
using CopyProgress = std::function<void(const char* phase, uint64_t done, uint64_t total)>;

// `as`: the name there; empty: the same.
Result<CopyTotals> CopyWorkspace(Stores& from, Stores& to, const std::string& workspace,
                                 const std::string& as, const CopyProgress& progress);

}  // namespace airstore::gateway
