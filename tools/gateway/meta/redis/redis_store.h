// SPDX-License-Identifier: Apache-2.0
//
// MetadataStore on a Redis server, for any number of gateways at once. Keys: redis_keys.h;
// transactions: redis_transaction.h.
//
// After TakeOver() the store is for one gateway at a time, the last one to do so: each transaction
// looks whether that is still us, at the server, in the same breath as what it does.
//
// Threads: any. One writer of this process at a time, as metadata_store.h says; writers of other
// gateways are found out by guards. Each transaction has a connection of its own, from a pool.
// Ownership: the store owns all connections; transactions borrow one and give it back.
// Fails: Open() when the server is not reached, refuses us, would drop keys when its memory is
// full, or has another schema.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tools/gateway/meta/redis/redis_connection.h"
#include "tools/gateway/meta/redis/redis_keys.h"
#include "tools/gateway/meta/redis/redis_view.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

inline constexpr int kRedisSchemaVersion = 1;

class RedisStore final : public MetadataStore {
 public:
  static Result<std::unique_ptr<RedisStore>> Open(RedisOptions options);

  Result<std::unique_ptr<MetadataReader>> Read() override;
  Result<std::unique_ptr<MetadataWriter>> Write() override;
  // Commits that the server may forget when it dies.
  std::string weakness() const override { return weakness_; }

  // To be asked each second: it also tells others that this one lives.
  bool IsLost() override;
  // Waits until the store's owner has not been heard of for RedisOptions::standby; not at all when
  // that is 0, or when there never was one. EINTR: a SIGTERM or SIGINT has come, which is left
  // pending.
  Result<void> WaitForTurn();
  // From then on only this one may use the store: what an earlier one still wants is refused
  // (ESTALE), whatever held it up. Before the first transaction.
  Result<void> TakeOver();
  // What tells this store from all others, for ever.
  const std::string& identity() const { return identity_; }

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
  RedisFence fence_;
  std::mutex writer_mu_;
  std::mutex idle_mu_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;  // guarded by idle_mu_
};

}  // namespace airstore::gateway
