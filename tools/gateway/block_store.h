// SPDX-License-Identifier: Apache-2.0
//
// Where blocks are kept: a flat map from (workspace, block id) to immutable bytes. Engines are
// dumb on purpose; checksums, caching and the decision what is garbage live above (blocks.h,
// collector.h), so that an object store needs only these four calls. Engines: blocks/file/,
// blocks/s3/.
//
// Threads: every call from any thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "shm/base/result.h"
#include "tools/gateway/types.h"

namespace airstore::gateway {

// What is stored is committed within this time, or not at all: blocks without a row that are older
// than twice that are nobody's.
inline constexpr int64_t kMostStoringNs = 1800ll * 1'000'000'000;

class BlockStore {
 public:
  virtual ~BlockStore() = default;
  virtual std::string_view kind() const = 0;  // one word
  // Durable when it returns; replaces what was there as a whole or not at all.
  virtual Result<void> Put(const BlockKey& key, std::string_view header, std::string_view data) = 0;
  // Header and data as one. ENOENT: there is none.
  virtual Result<std::string> Get(const BlockKey& key) = 0;
  // Success also for those that were not there. Some may be gone when it fails.
  virtual Result<void> Delete(std::span<const BlockKey> keys) = 0;
  // Calls `visit` with each block stored before `before_ns`; it may call Delete().
  virtual Result<void> List(int64_t before_ns,
                            const std::function<void(const BlockKey&)>& visit) = 0;
  // Whether a call may take long, or wait for a network: then nobody should wait for its caller.
  virtual bool is_remote() const { return false; }
};

}  // namespace airstore::gateway
