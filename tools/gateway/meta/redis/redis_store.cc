// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_store.h"

#include <openssl/rand.h>

#include "tools/gateway/meta/redis/redis_transaction.h"

namespace airstore::gateway {
namespace {

// A setting of the server; empty when it may not be asked for, as with many that are rented.
std::string Setting(RedisConnection& connection, const std::string& name) {
  auto reply = connection.Call(RedisCommand{"CONFIG", "GET", name});
  return reply && reply->items.size() == 2 ? reply->items[1].text : "";
}

// What earlier schemas lack comes by itself. Gateways of schema 1 find out that they must not go
// on; those of 2 tell the time each second. Answers 0 while one of these may be at work.
constexpr const char* kUpgrade = R"(
local schema = redis.call('GET', KEYS[1])
if schema ~= '1' and schema ~= '2' then return 1 end
if schema == '1' then redis.call('INCR', KEYS[2]) end
local time = redis.call('TIME')
local beat = tonumber(redis.call('HGET', KEYS[3], 'beat') or '0')
if schema == '2' and time[1] * 1000 - beat < 10000 then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
)";

std::string WeaknessOf(RedisConnection& connection, bool fails_over) {
  const std::string log = Setting(connection, "appendonly");
  const std::string sync = Setting(connection, "appendfsync");
  if (log.empty() || sync.empty()) {
    return "Redis does not tell whether it keeps commits on disk (appendonly, appendfsync)";
  }
  if (log != "yes") {
    return "Redis keeps no log (appendonly no): what it acknowledged is lost when it dies";
  }
  if (sync != "always") {
    return "Redis syncs its log later (appendfsync " + sync +
           "): the last second's commits are lost when its host dies";
  }
  if (fails_over) {
    return "Redis answers before its replicas have it: a failover loses the last commits";
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<RedisStore>> RedisStore::Open(RedisOptions options) {
  std::unique_ptr<RedisStore> store(new RedisStore(std::move(options)));
  AIRSTORE_TRY(store->CheckServer());
  AIRSTORE_TRY(store->CheckSchema());
  return store;
}

Result<void> RedisStore::CheckServer() {
  auto connection = Take();
  if (!connection) return connection.error();
  const std::string policy = Setting(**connection, "maxmemory-policy");
  if (policy.starts_with("allkeys")) {
    return Error{EINVAL, "Redis at " + options_.Name() + " drops keys when its memory is full: " +
                             "maxmemory-policy is " + policy + ", and must be noeviction"};
  }
  weakness_ = WeaknessOf(**connection, !options_.sentinels.empty());
  GiveBack(std::move(*connection));
  return {};
}

Result<std::string> RedisStore::WeaknessNow() {
  auto connection = Take();
  if (!connection) return connection.error();
  std::string weakness = WeaknessOf(**connection, !options_.sentinels.empty());
  const bool broken = (*connection)->broken();
  GiveBack(std::move(*connection));
  if (broken) return Error{EIO, "connection to Redis at " + options_.Name()};
  return weakness;
}

Result<void> RedisStore::CheckSchema() {
  auto connection = Take();
  if (!connection) return connection.error();
  const std::string ours = std::to_string(kRedisSchemaVersion);
  AIRSTORE_TRY((*connection)->Call(RedisCommand{"SET", keys_.Schema(), ours, "NX"}));
  auto done = (*connection)
                  ->Call(RedisCommand{"EVAL", kUpgrade, "3", keys_.Schema(), keys_.Owner(),
                                      keys_.Beat(), ours});
  if (!done) return done.error();
  if (done->integer == 0) {
    return Error{EBUSY, "gateways of an earlier version are at work on Redis at " +
                            options_.Name() + ": stop them, and try again in ten seconds"};
  }
  auto found = (*connection)->Call(RedisCommand{"GET", keys_.Schema()});
  if (!found) return found.error();
  if (found->text != ours) {
    return Error{EPROTO, "Redis at " + options_.Name() + " has schema " + found->text +
                             " under the prefix " + options_.prefix + ", this program knows " +
                             ours};
  }
  unsigned char random[16];
  AIRSTORE_CHECK(RAND_bytes(random, sizeof random) == 1);
  const std::string fresh(reinterpret_cast<const char*>(random), sizeof random);
  AIRSTORE_TRY((*connection)->Call(RedisCommand{"SET", keys_.Identity(), fresh, "NX"}));
  auto identity = (*connection)->Call(RedisCommand{"GET", keys_.Identity()});
  if (!identity) return identity.error();
  identity_ = std::move(identity->text);
  GiveBack(std::move(*connection));
  return {};
}

Result<std::unique_ptr<RedisConnection>> RedisStore::Take() {
  while (true) {
    std::unique_ptr<RedisConnection> connection;
    {
      std::lock_guard lock(idle_mu_);
      if (idle_.empty()) break;
      connection = std::move(idle_.back());
      idle_.pop_back();
    }
    // The server may have been restarted since.
    if (connection->IsQuiet()) return connection;
  }
  return RedisConnection::Open(options_);
}

void RedisStore::GiveBack(std::unique_ptr<RedisConnection> connection) {
  std::lock_guard lock(idle_mu_);
  // What has happened to one has happened to all, and each would be waited for.
  if (connection->broken()) {
    idle_.clear();
  } else {
    idle_.push_back(std::move(connection));
  }
}

Result<std::unique_ptr<MetadataReader>> RedisStore::Read() {
  auto connection = Take();
  if (!connection) return connection.error();
  return std::unique_ptr<MetadataReader>(new RedisTransaction(*this, std::move(*connection)));
}

Result<std::unique_ptr<MetadataWriter>> RedisStore::Write() {
  auto writer = WriteShared();
  if (!writer) return writer.error();
  return std::unique_ptr<MetadataWriter>(std::move(*writer));
}

Result<std::unique_ptr<RedisTransaction>> RedisStore::WriteShared() {
  std::unique_lock lock(writer_mu_);
  auto connection = Take();
  if (!connection) return connection.error();
  return std::make_unique<RedisTransaction>(*this, std::move(*connection), std::move(lock));
}

Result<std::vector<RedisReply>> RedisStore::Call(std::vector<RedisCommand> commands) {
  auto connection = Take();
  if (!connection) return connection.error();
  auto replies = (*connection)->Call(commands);
  GiveBack(std::move(*connection));
  if (!replies) return replies.error();
  for (size_t i = 0; i < replies->size(); ++i) {
    const RedisReply& reply = (*replies)[i];
    if (reply.is_error()) return Error{EIO, "Redis: " + commands[i].front() + ": " + reply.text};
  }
  return replies;
}

Result<std::vector<RedisReply>> RedisStore::CallAtOnce(std::vector<RedisCommand> commands) {
  const size_t count = commands.size();
  commands.insert(commands.begin(), {"MULTI"});
  commands.push_back({"EXEC"});
  auto replies = Call(std::move(commands));
  if (!replies) return replies.error();
  if (replies->back().items.size() != count) return Error{EIO, "Redis: EXEC"};
  for (const RedisReply& item : replies->back().items) {
    if (item.is_error()) return Error{EIO, "Redis: " + item.text};
  }
  return std::move(replies->back().items);
}

}  // namespace airstore::gateway
