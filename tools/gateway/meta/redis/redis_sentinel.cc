// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_sentinel.h"

#include <algorithm>
#include <charconv>

namespace airstore::gateway {
namespace {

// The next one may know.
constexpr std::chrono::milliseconds kPatience{1000};

Result<RedisOptions> MasterBy(const RedisSentinel& sentinel, const RedisOptions& options) {
  RedisOptions ask;
  ask.host = sentinel.host;
  ask.port = sentinel.port;
  ask.tls = options.tls;
  ask.ca_file = options.ca_file;
  ask.cert_file = options.cert_file;
  ask.key_file = options.key_file;
  ask.timeout = std::min(options.timeout, kPatience);
  auto connection = RedisConnection::Open(ask);
  if (!connection) return connection.error();
  auto found =
      (*connection)->Call(RedisCommand{"SENTINEL", "get-master-addr-by-name", options.service});
  if (!found) return found.error();
  const std::string unknown = "sentinel " + ask.Name() + " knows no master of " + options.service;
  if (found->items.size() != 2) return Error{EAGAIN, unknown};
  RedisOptions master = options;
  master.sentinels.clear();
  master.host = found->items[0].text;
  const std::string& port = found->items[1].text;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), master.port);
  if (error != std::errc() || end != port.data() + port.size()) return Error{EPROTO, unknown};
  return master;
}

Result<std::unique_ptr<RedisConnection>> OpenIfMaster(const RedisOptions& options) {
  auto connection = RedisConnection::Open(options);
  if (!connection) return connection;
  auto role = (*connection)->Call(RedisCommand{"ROLE"});
  if (!role) return role.error();
  // Sentinels are behind what they are just doing.
  if (role->items.empty() || role->items[0].text != "master") {
    return Error{EAGAIN, "Redis at " + options.Name() + " is not the master"};
  }
  return connection;
}

}  // namespace

Result<std::unique_ptr<RedisConnection>> OpenMaster(const RedisOptions& options) {
  Error last{EAGAIN, "no sentinel"};
  for (const RedisSentinel& sentinel : options.sentinels) {
    auto master = MasterBy(sentinel, options);
    if (!master) {
      last = master.error();
      continue;
    }
    auto connection = OpenIfMaster(*master);
    if (connection) return connection;
    last = connection.error();
  }
  return Error{last.code, "Redis " + options.service + ": " + last.message};
}

}  // namespace airstore::gateway
