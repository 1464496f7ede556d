// SPDX-License-Identifier: Apache-2.0
//
// BlockStore in a local directory: ROOT/<workspace>/<2 hex digits>/<32 hex digits>. A block is
// written to ROOT/tmp, synced, renamed into place, and its directory synced: after a power loss it
// is there as a whole or not at all.
//
// Threads: any; the file system does the locking.
// Ownership: owns the directory below its root, with the stores of other processes on it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "tools/gateway/block_store.h"

namespace airstore::gateway {

class DirBlockStore final : public BlockStore {
 public:
  std::string_view kind() const override { return "directory"; }
  // Creates the directory when missing, and removes what is left in its tmp from long ago.
  static Result<std::unique_ptr<DirBlockStore>> Open(const std::string& root);

  Result<void> Put(const BlockKey& key, std::string_view header, std::string_view data) override;
  Result<std::string> Get(const BlockKey& key) override;
  Result<std::vector<Kept>> Delete(std::span<const BlockKey> keys) override;
  Result<void> List(int64_t before_ns, const std::function<void(const BlockKey&)>& visit) override;

  // Blocks are deleted when the metadata does not know them: so they are for one metadata store,
  // and none but it may come here. EEXIST: this is another one's. `adopt`: what is there unclaimed
  // is taken for this store's. ENOENT: nothing is there, and there should be (`has_content`): what
  // belongs there is not mounted.
  Result<void> Claim(const std::string& identity, bool adopt, bool has_content);

  std::string directory() const override { return root_; }
  std::string PathOf(const BlockKey& key) const;

 private:
  explicit DirBlockStore(std::string root);
  std::string FanOutOf(const BlockKey& key) const;
  Result<void> EnsureFanOut(const BlockKey& key);

  const std::string root_;
  const std::string temp_;  // how its files in tmp begin: nobody else's do
  std::atomic<uint64_t> next_temp_{0};
  std::mutex mu_;
  std::unordered_set<std::string> known_;  // directories made and synced, guarded by mu_
};

}  // namespace airstore::gateway
