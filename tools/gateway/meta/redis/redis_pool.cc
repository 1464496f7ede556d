// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_pool.h"

#include <algorithm>

namespace airstore::gateway {
namespace {

constexpr std::chrono::milliseconds kConnectPatience{1000};
constexpr std::chrono::milliseconds kShun{500};
constexpr std::chrono::milliseconds kBetweenLooks{50};

}  // namespace

RedisOptions RedisPool::OptionsOf(const RedisAddress& server) const {
  RedisOptions options = options_;
  options.cluster.clear();
  options.host = server.host;
  options.port = server.port;
  options.connect_timeout = std::min(options.timeout, kConnectPatience);
  return options;
}

Result<std::unique_ptr<RedisConnection>> RedisPool::OpenAt(const RedisAddress& server) {
  {
    std::lock_guard lock(mu_);
    if (Clock::now() < servers_[server].shunned_until) {
      return Error{EAGAIN, "Redis at " + OptionsOf(server).Name() + " was not reached just now"};
    }
  }
  auto connection = RedisConnection::Open(OptionsOf(server));
  if (!connection) {
    std::lock_guard lock(mu_);
    servers_[server].shunned_until = Clock::now() + kShun;
    doubted_ = true;
  }
  return connection;
}

std::unique_ptr<RedisConnection> RedisPool::IdleAt(const RedisAddress& server) {
  while (true) {
    std::unique_ptr<RedisConnection> connection;
    {
      std::lock_guard lock(mu_);
      auto& idle = servers_[server].idle;
      if (idle.empty()) return nullptr;
      connection = std::move(idle.back());
      idle.pop_back();
    }
    // The server may have been restarted since.
    if (connection->IsQuiet()) return connection;
  }
}

Result<std::unique_ptr<RedisConnection>> RedisPool::TakeAt(const RedisAddress& server) {
  if (auto connection = IdleAt(server)) return connection;
  return OpenAt(server);
}

Result<std::unique_ptr<RedisConnection>> RedisPool::Take(RedisSlot slot) {
  if (!is_cluster()) {
    if (auto connection = IdleAt({})) return connection;
    return RedisConnection::Open(options_);
  }
  for (int attempt = 1;; ++attempt) {
    const auto owner = Owner(slot);
    if (!owner) return owner.error();
    auto connection = TakeAt(*owner);
    // Somebody else may have it by now.
    if (connection || attempt == 2) return connection;
  }
}

Result<std::unique_ptr<RedisConnection>> RedisPool::Open(RedisSlot slot) {
  if (!is_cluster()) return RedisConnection::Open(options_);
  const auto owner = Owner(slot);
  if (!owner) return owner.error();
  return OpenAt(*owner);
}

void RedisPool::GiveBack(std::unique_ptr<RedisConnection> connection) {
  const RedisAddress server = is_cluster() ? connection->address() : RedisAddress{};
  std::lock_guard lock(mu_);
  auto& idle = servers_[server].idle;
  // What has happened to one has happened to all, and each would be waited for.
  if (connection->broken()) {
    idle.clear();
    doubted_ = true;
  } else {
    idle.push_back(std::move(connection));
  }
}

void RedisPool::Learn(const Redirection& moved) {
  std::lock_guard lock(mu_);
  if (moved.kind == Redirection::Kind::kMoved) slots_.Put(moved.slot, moved.to);
  doubted_ = true;
}

void RedisPool::Distrust() {
  std::lock_guard lock(mu_);
  doubted_ = true;
}

Result<RedisAddress> RedisPool::Owner(RedisSlot slot) {
  AIRSTORE_TRY(Look());
  std::lock_guard lock(mu_);
  const RedisAddress* owner = slots_.Owner(slot);
  if (owner == nullptr) {
    doubted_ = true;
    return Error{EAGAIN, "Redis: no server of the cluster has slot " + std::to_string(slot)};
  }
  return *owner;
}

Result<std::vector<RedisAddress>> RedisPool::Masters() {
  AIRSTORE_TRY(Look());
  std::lock_guard lock(mu_);
  return slots_.Masters();
}

Result<void> RedisPool::Look() {
  std::lock_guard look(look_mu_);
  std::vector<RedisAddress> servers;
  {
    std::lock_guard lock(mu_);
    const auto now = Clock::now();
    if (!doubted_ || (!slots_.empty() && now - looked_ < kBetweenLooks)) return {};
    looked_ = now;
    servers = slots_.servers();
    // One that is cut off from the others may believe what is no longer so: not always the same.
    if (!servers.empty()) {
      std::rotate(servers.begin(), servers.begin() + looks_++ % servers.size(), servers.end());
    }
  }
  servers.insert(servers.end(), options_.cluster.begin(), options_.cluster.end());
  Error last{EAGAIN, "Redis: no server of the cluster is known"};
  for (const RedisAddress& server : servers) {
    auto connection = TakeAt(server);
    if (!connection) {
      last = connection.error();
      continue;
    }
    auto reply = (*connection)->Call(RedisCommand{"CLUSTER", "SLOTS"});
    GiveBack(std::move(*connection));
    if (!reply) {
      last = reply.error();
      continue;
    }
    auto map = SlotMap::From(*reply, server);
    if (!map) {
      last = {EAGAIN, "Redis at " + OptionsOf(server).Name() + ": the cluster has no slots yet"};
      continue;
    }
    std::lock_guard lock(mu_);
    slots_ = std::move(*map);
    doubted_ = false;
    return {};
  }
  // What was known may still be true of other servers.
  std::lock_guard lock(mu_);
  if (!slots_.empty()) return {};
  return last;
}

}  // namespace airstore::gateway
