// SPDX-License-Identifier: Apache-2.0
//
// MetadataStore on a Redis server or cluster, for any number of gateways at once. Keys:
// redis_keys.h; transactions: redis_transaction.h.
//
// Threads: any. One writer of this process at a time, as metadata_store.h says; writers of other
// gateways are found out by guards. Each transaction has connections of its own, from a pool.
// Ownership: the store owns all connections; transactions borrow them and give them back.
// Fails: Open() when the server is not reached, refuses us, would drop keys when its memory is
// full, is a part of a cluster without being called one, or has another schema; EBUSY: gateways of
// an earlier one are at work.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "tools/gateway/meta/redis/redis_keys.h"
#include "tools/gateway/meta/redis/redis_pool.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

class RedisTransaction;

// 3: other guards than 2, so their gateways must not be at work together. 4: who was heard of when
// is kept with each workspace.
inline constexpr int kRedisSchemaVersion = 4;

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
  // Commands by themselves, or as one (MULTI), which must be about one workspace; a refusal of any
  // is a failure.
  Result<std::vector<RedisReply>> Call(const std::vector<RedisCommand>& commands);
  Result<std::vector<RedisReply>> CallAtOnce(std::vector<RedisCommand> commands);
  // Pages of the keys that begin with this, and have a hash tag. What is there all the time is
  // among them, maybe twice, wherever it goes meanwhile. Ends at the first failure.
  Result<void> Scan(const std::string& beginning,
                    const std::function<Result<void>(std::vector<std::string>)>& page);
  // One of the caller's own, to who has that key.
  Result<std::unique_ptr<RedisConnection>> Connect(const std::string& key) {
    return pool_.Open(SlotOf(key));
  }
  // Messages of a channel pass between the servers of a cluster, and may be lost there unnoticed.
  bool may_lose_messages() const { return pool_.is_cluster(); }

  const RedisKeys& keys() const { return keys_; }

 private:
  friend class RedisTransaction;
  explicit RedisStore(RedisOptions options)
      : options_(std::move(options)), keys_(options_.prefix), pool_(options_) {}
  Result<void> CheckServers();
  Result<void> CheckSchema();  // and learns the identity
  Result<void> MoveHeard();
  // One to each server; of a cluster, to each that is somebody's master.
  Result<std::vector<std::unique_ptr<RedisConnection>>> TakeAll();
  // Of the server that has the key alone and for good; nothing: it is on its way.
  Result<std::optional<RedisAddress>> Settled(const std::string& key);
  // What transactions have learned: where a session belongs does not change.
  std::optional<WorkspaceKey> PlaceOf(const SessionId& id);
  void NotePlace(const SessionId& id, std::optional<WorkspaceKey> ws);

  const RedisOptions options_;
  const RedisKeys keys_;
  RedisPool pool_;
  std::string weakness_;
  std::string identity_;
  std::mutex writer_mu_;
  std::mutex places_mu_;
  std::unordered_map<SessionId, WorkspaceKey, Id16Hash> places_;  // guarded by places_mu_
};

}  // namespace airstore::gateway
