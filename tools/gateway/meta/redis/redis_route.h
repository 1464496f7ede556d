// SPDX-License-Identifier: Apache-2.0
//
// The connections of one transaction: one for each slot whose keys it is about, taken from the pool
// when it is first needed. So what a server WATCHes for the transaction is ended by nothing else.
//
// Redirections of a cluster are followed where that is the same as having asked the right server
// at once. Where it is not, the call fails with kStoreConflict, and the transaction is done again.
// While a slot is on its way its keys are at two servers, so what needs several of them at once
// fails in this way until it has arrived; reads go on.
//
// Threads: one at a time.
// Ownership: borrows the pool; gives connections back when it ends.
#pragma once

#include <map>
#include <set>
#include <span>
#include <vector>

#include "tools/gateway/meta/redis/redis_pool.h"

namespace airstore::gateway {

class RedisRoute {
 public:
  // What commands that are sent together are to each other.
  enum class Bond {
    kNone,    // each is done by itself, once
    kReads,   // they only read, what is behind another one behind it
    kWatch,   // as kReads, and the first is a WATCH
    kAtOnce,  // MULTI ... EXEC
  };

  explicit RedisRoute(RedisPool& pool) : pool_(pool) {}
  ~RedisRoute();
  RedisRoute(const RedisRoute&) = delete;
  RedisRoute& operator=(const RedisRoute&) = delete;

  // All of them are of that slot, or of none.
  Result<std::vector<RedisReply>> Call(RedisSlot slot, Bond bond,
                                       std::span<const RedisCommand> commands);
  // Of any slots; each is done by itself, those of a slot in their order.
  Result<std::vector<RedisReply>> CallEach(std::span<const RedisCommand> commands);
  // Slots in which something is watched. EXEC ends that, and so does Unwatch().
  const std::set<RedisSlot>& watching() const { return watching_; }
  void Unwatch(RedisSlot slot);

 private:
  Result<RedisConnection*> LineOf(RedisSlot slot);
  void Drop(RedisSlot slot);
  Result<RedisReply> Alone(RedisSlot slot, const RedisCommand& command);
  Result<RedisReply> AtTarget(const RedisAddress& server, const RedisCommand& command);
  Result<RedisReply> OneByOne(RedisSlot slot, const RedisCommand& mget);
  std::optional<Redirection> Redirected(RedisSlot slot, const RedisReply& reply);

  RedisPool& pool_;
  std::map<RedisSlot, std::unique_ptr<RedisConnection>> lines_;
  std::set<RedisSlot> watching_;
};

}  // namespace airstore::gateway
