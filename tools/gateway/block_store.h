// SPDX-License-Identifier: Apache-2.0
//
// Where blocks are kept: a flat map from (workspace, block id) to immutable bytes. Engines are
// dumb on purpose; checksums, caching and the decision what is garbage live above (blocks.h,
// collector.h), so that an object store needs only these four calls.
//
// Threads: every call from any thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "shm/base/result.h"
#include "tools/gateway/types.h"

namespace airstore::gateway {

class BlockStore {
 public:
  virtual ~BlockStore() = default;
  // Durable when it returns; replaces what was there as a whole or not at all.
  virtual Result<void> Put(const BlockKey& key, std::string_view header, std::string_view data) = 0;
  // Header and data as one. ENOENT: there is none.
  virtual Result<std::string> Get(const BlockKey& key) = 0;
  // Success also when there was none.
  virtual Result<void> Delete(const BlockKey& key) = 0;
  // Calls `visit` with each block stored before `before_ns`; it may call Delete().
  virtual Result<void> List(int64_t before_ns,
                            const std::function<void(const BlockKey&)>& visit) = 0;
};

}  // namespace airstore::gateway
