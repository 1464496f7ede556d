// SPDX-License-Identifier: Apache-2.0
//
// MetadataStore on a Redis server, for any number of gateways at once. Keys: redis_keys.h;
// transactions: redis_transaction.h.
//
// Threads: any. One writer of this process at a time, as metadata_store.h says; writers of other
// gateways are found out by guards. Each transaction has a connection of its own, from a pool.
// Ownership: the store owns all connections; transactions borrow one and give it back.
// Fails: Open() when the server is not reached, refuses us, would drop keys when its memory is
// full, or has another schema; EBUSY: gateways of an earlier one are at work.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tools/gateway/meta/redis/redis_connection.h"
#include "tools/gateway/meta/redis/redis_keys.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class RedisTransaction;

// 3: other guards than 2, so their gateways must not be at work together.
inline constexpr int kRedisSchemaVersion = 3;

class RedisStore final : public MetadataStore {
 public:
  static Result<std::unique_ptr<RedisStore>> Open(RedisOptions options);

  Result<std::unique_ptr<MetadataReader>> Read() override;
  Result<std::unique_ptr<MetadataWriter>> Write() override;
  std::string_view kind() const override { return "redis"; }
  // Commits that the server may forget when it dies.
  std::string weakness() const override { return weakness_; }
  Result<std::string> WeaknessNow() override;

  // What tells this store from all others, for ever.
  const std::string& identity() const { return identity_; }

  // For what only several gateways need (tools/gateway/shared).
  Result<std::unique_ptr<RedisTransaction>> WriteShared();
  // Commands by themselves, or as one (MULTI); a refusal of any is a failure.
  Result<std::vector<RedisReply>> Call(std::vector<RedisCommand> commands);
  Result<std::vector<RedisReply>> CallAtOnce(std::vector<RedisCommand> commands);
  // One of the caller's own.
  Result<std::unique_ptr<RedisConnection>> Connect() const {
    return RedisConnection::Open(options_);
  }

  const RedisKeys& keys() const { return keys_; }

 private:
  friend class RedisTransaction;
  explicit RedisStore(RedisOptions options)
      : options_(std::move(options)), keys_(options_.prefix) {}
  Result<void> CheckServer();
  Result<void> CheckSchema();  // and learns the identity
  Result<std::unique_ptr<RedisConnection>> Take();
  void GiveBack(std::unique_ptr<RedisConnection> connection);

  const RedisOptions options_;
  const RedisKeys keys_;
  std::string weakness_;
  std::string identity_;
  std::mutex writer_mu_;
  std::mutex idle_mu_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;  // guarded by idle_mu_
};

}  // namespace airstore::gateway
