// SPDX-License-Identifier: Apache-2.0
//
// Deletes blocks that nothing refers to, a grace period after they were stored or became garbage.
//
// Free of races with those who refer to a block at the same moment, whichever gateways both are at:
// first a transaction marks the row "deleting" (only if it has no reference), then the bytes go,
// then the row. A mutation that meets a marked row fails, storing the same id again is refused
// until the row is gone, and a crash in between leaves a marked row for a round some minutes later:
// until then it is for the gateway that has marked it. One that is stopped for half of that leaves
// it alone, too. Should its bytes go later all the same, and be somebody's again by then, their row
// stays. A block that the store does not let go stays so too, and keeps none of the others.
//
// Blocks without any row come from a crash between storing bytes and committing; Scrub() compares
// the block store with the rows, and gives those that have none a marked one.
//
// Threads: any; rounds of Collect() and Scrub() are one at a time in a process.
// Ownership: borrows the stores.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "tools/gateway/blocks.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class Collector {
 public:
  Collector(MetadataStore& store, Blocks& blocks, int64_t grace_ns)
      : store_(store), blocks_(blocks), grace_ns_(grace_ns) {}

  // One round; the number of blocks that went. `bytes`, unless null: adds theirs.
  Result<size_t> Collect(int64_t now_ns, uint64_t* bytes = nullptr);
  // Deletes stored blocks without a row, if they are older than `min_age_ns`.
  Result<size_t> Scrub(int64_t now_ns, int64_t min_age_ns);

  // Nothing is collected while somebody holds it.
  std::unique_lock<std::mutex> Pause() { return std::unique_lock(round_mu_); }

  // Stores a block that a caller names, with its row. EAGAIN: being collected, try again later.
  // EEXIST: there is another block of that name. `gone`: whether it failed because the workspace
  // was deleted.
  Result<void> StorePut(WorkspaceKey ws, const BlockId& id, std::string_view data, uint64_t xxh3,
                        bool* gone = nullptr);

 private:
  int64_t MarkNs() const;
  // So that it is listed as garbage again when that is over.
  int64_t MarkedAt(int64_t now_ns) const;
  using Refused = std::unordered_set<BlockKey, BlockKeyHash>;  // in this round
  // False: that was all.
  Result<bool> CollectSome(int64_t now_ns, Refused* refused, size_t* collected, uint64_t* bytes);
  struct Garbage {
    std::vector<BlockKey> keys;
    std::vector<uint64_t> sizes;
    bool is_all = false;
  };
  Result<Garbage> MarkGarbage(int64_t now_ns, const Refused& refused);
  // Of a block without a row; false: it has one.
  Result<bool> MarkUnknown(const BlockKey& key, int64_t now_ns);
  // What was marked at that time, by the wall clock. Answers what the store did not let go.
  Result<std::vector<BlockStore::Kept>> DeleteMarked(const std::vector<BlockKey>& marked,
                                                     int64_t marked_ns);

  MetadataStore& store_;
  Blocks& blocks_;
  const int64_t grace_ns_;
  std::mutex round_mu_;  // held for a round of either kind
};

}  // namespace airstore::gateway
