// SPDX-License-Identifier: Apache-2.0
//
// The files of a workspace by path, as v1 asks for them. Each change is one transaction: what it
// depends on is looked up inside of it, so that nobody gets in between, and hosts that watch are
// told of it as of any other.
//
// Reads are of one snapshot each. Names that are not UTF-8 cannot be said in v1: listings leave
// them out.
//
// Threads: any.
// Ownership: borrows the gateway.
// Fails with errnos, EBUSY meaning that a session holds a lease: to be tried again; OfStore() when
// it is the store that failed.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tools/gateway/gateway.h"

namespace airstore::gateway::v1 {

// Who asks. `presence`: stands for all v1 callers of the workspace.
struct Who {
  WorkspaceKey workspace = 0;
  SessionId presence;
  bool read_only = false;
};

// One answer must fit into a message.
inline constexpr uint64_t kMaxReadBytes = 15ull << 20;
inline constexpr size_t kMaxTreePage = 10'000;
// Of directories in each other; longer paths cannot be used by anybody.
inline constexpr size_t kMaxDepth = 2048;

struct TreePage {
  struct Item {
    std::string path;  // relative to the root of the listing
    Inode inode;
  };
  std::vector<Item> items;
  bool more = false;  // go on behind the last path
};

class Files {
 public:
  // What a write at offset 0 means: the first gateways replaced the whole file, tail and all.
  enum class OffsetZero { kKeepsTail, kReplaces };

  explicit Files(Gateway& gateway, OffsetZero offset_zero = OffsetZero::kKeepsTail)
      : gateway_(gateway), offset_zero_(offset_zero) {}

  Gateway& gateway() { return gateway_; }
  // Whether clients that are told errnos may take writes for what they are elsewhere.
  bool exact() const { return offset_zero_ == OffsetZero::kKeepsTail; }

  Result<Inode> Stat(const Who& who, std::string_view path);
  Result<std::vector<Entry>> List(const Who& who, std::string_view path);
  // `after`: a path of the page before. `depth`: 0 for all.
  Result<TreePage> Tree(const Who& who, std::string_view path, std::string_view after, size_t depth,
                        size_t max_items);
  // `length` 0: to the end. EFBIG: more than one answer holds.
  Result<std::string> Read(const Who& who, std::string_view path, uint64_t offset, uint64_t length);

  // Each answers the cursor that others must have seen before the caller may hear of it.
  // Makes a file that is not there. Nothing at offset 0 empties it.
  Result<uint64_t> Write(const Who& who, std::string_view path, uint64_t offset,
                         std::string_view data);
  // Of a file or directory that is there, only the mode is set; `exclusive`: EEXIST. Mode 0: the
  // usual one, or as it is.
  Result<uint64_t> Create(const Who& who, std::string_view path, uint32_t mode, bool exclusive);
  Result<uint64_t> Mkdir(const Who& who, std::string_view path, uint32_t mode, bool exclusive);
  Result<uint64_t> Delete(const Who& who, std::string_view path, bool recursive);
  Result<uint64_t> Rename(const Who& who, std::string_view from, std::string_view to);
  Result<uint64_t> Truncate(const Who& who, std::string_view path, uint64_t size);
  // It was modified now, and has the size that it has.
  Result<uint64_t> Touch(const Who& who, std::string_view path);
  Result<uint64_t> Symlink(const Who& who, std::string_view path, std::string_view target);
  Result<uint64_t> Chmod(const Who& who, std::string_view path, uint32_t mode, uint32_t mask);

 private:
  // kStoreConflict: another gateway was in between.
  Result<std::vector<Entry>> ListOnce(const Who& who, std::string_view path);
  Result<TreePage> TreeOnce(const Who& who, std::string_view path, std::string_view after,
                            size_t depth, size_t max_items);
  Result<uint64_t> Change(const Who& who, WriteOp content, const BatchApplier::Plan& plan);
  Result<InodeNo> NextInode(WorkspaceKey ws);
  Result<uint64_t> Make(const Who& who, std::string_view path, uint32_t mode, bool exclusive,
                        std::string_view target);

  struct Reserve {
    InodeNo next = 0, end = 0;
  };
  Gateway& gateway_;
  const OffsetZero offset_zero_;
  std::mutex mu_;
  std::map<WorkspaceKey, Reserve> reserves_;  // guarded by mu_: granted, not used yet
};

}  // namespace airstore::gateway::v1
