// SPDX-License-Identifier: Apache-2.0
//
// Connections to the server, or to all servers of a cluster, that wait for their next use. Of a
// cluster it knows which server has which slots; it asks anew when a server says otherwise, or is
// not there any more.
//
// Threads: any.
// Fails: as RedisConnection::Open(). A server of a cluster that was not reached just now is not
// tried again for a moment, so that those who need it do not keep others waiting.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tools/gateway/meta/redis/redis_slots.h"

namespace airstore::gateway {

class RedisPool {
 public:
  explicit RedisPool(RedisOptions options) : options_(std::move(options)) {}

  bool is_cluster() const { return !options_.cluster.empty(); }
  // To who has the slot, by all that is known.
  Result<std::unique_ptr<RedisConnection>> Take(RedisSlot slot);
  Result<std::unique_ptr<RedisConnection>> TakeAt(const RedisAddress& server);
  void GiveBack(std::unique_ptr<RedisConnection> connection);
  // One that is not given back.
  Result<std::unique_ptr<RedisConnection>> Open(RedisSlot slot);

  // A server has said so.
  void Learn(const Redirection& moved);
  // A server has said that the cluster is not what it should be.
  void Distrust();
  // Of a cluster only.
  Result<std::vector<RedisAddress>> Masters();
  Result<RedisAddress> Owner(RedisSlot slot);

 private:
  using Clock = std::chrono::steady_clock;
  struct Server {
    std::vector<std::unique_ptr<RedisConnection>> idle;
    Clock::time_point shunned_until;
  };
  RedisOptions OptionsOf(const RedisAddress& server) const;
  Result<std::unique_ptr<RedisConnection>> OpenAt(const RedisAddress& server);
  std::unique_ptr<RedisConnection> IdleAt(const RedisAddress& server);
  // Who has which slots, if that is in doubt.
  Result<void> Look();

  const RedisOptions options_;
  std::mutex look_mu_;  // who holds it asks
  std::mutex mu_;
  // Guarded by mu_.
  std::map<RedisAddress, Server> servers_;  // one without a name: no cluster
  SlotMap slots_;
  bool doubted_ = true;
  Clock::time_point looked_;
  std::ptrdiff_t looks_ = 0;
};

}  // namespace airstore::gateway
