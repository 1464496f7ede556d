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
#include <vector>

#include "shm/base/result.h"
#include "tools/gateway/clock.h"
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
  // Header and data as one. ENOENT: there is none, for certain. EBADMSG: what there is is damaged.
  // Others may pass.
  virtual Result<std::string> Get(const BlockKey& key) = 0;
  // The same for one who does not want to wait for long: where that is possible, it gives up then.
  virtual Result<std::string> GetUntil(const BlockKey& key, SteadyTime) { return Get(key); }
  // Answers those that could not be deleted, and why. Those that were not there are none of them.
  // Fails when nothing is to be had from the store now; some may be gone all the same.
  struct Kept {
    BlockKey key;
    Error why;
  };
  virtual Result<std::vector<Kept>> Delete(std::span<const BlockKey> keys) = 0;
  // Calls `visit` with each block stored before `before_ns`, by this host's clock; INT64_MAX: with
  // all. It may call Delete().
  virtual Result<void> List(int64_t before_ns,
                            const std::function<void(const BlockKey&)>& visit) = 0;
  // Whether a call may take long, or wait for a network: then nobody should wait for its caller.
  virtual bool is_remote() const { return false; }
  // Where they are on this host; empty: elsewhere.
  virtual std::string directory() const { return {}; }
};

}  // namespace airstore::gateway
