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

// Whether the store may be made one of our schema: what earlier ones lack comes by itself, or by
// MoveHeard(). Gateways of schema 1 find out that they must not go on; those of later ones tell the
// time each second. Answers 0 while one of these may be at work, 2 when there is nothing to do.
constexpr const char* kMayUpgrade = R"(
local schema = redis.call('GET', KEYS[1])
if schema ~= '1' and schema ~= '2' and schema ~= '3' then return 2 end
if schema == '1' then
  if ARGV[1] == 'done' then redis.call('INCR', KEYS[2]) end
else
  local time = redis.call('TIME')
  local beat = tonumber(redis.call('HGET', KEYS[3], 'beat') or '0')
  if time[1] * 1000 - beat < 10000 then return 0 end
end
if ARGV[1] == 'done' then redis.call('SET', KEYS[1], ARGV[2]) end
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

bool HasReplicas(RedisConnection& connection) {
  auto role = connection.Call(RedisCommand{"ROLE"});
  return role && role->items.size() == 3 && !role->items[2].items.empty();
}

// A cluster whose servers are called by their own names answers others with MOVED.
bool IsPartOfCluster(RedisConnection& connection) {
  auto info = connection.Call(RedisCommand{"INFO", "cluster"});
  return info && info->text.find("cluster_enabled:1") != std::string::npos;
}

constexpr size_t kMostPlaces = 65536;

Error Refused(const RedisCommand& command, const RedisReply& reply) {
  return {EIO, "Redis: " + command.front() + ": " + reply.text};
}

}  // namespace

Result<std::unique_ptr<RedisStore>> RedisStore::Open(RedisOptions options) {
  std::unique_ptr<RedisStore> store(new RedisStore(std::move(options)));
  AIRSTORE_TRY(store->CheckServers());
  AIRSTORE_TRY(store->CheckSchema());
  return store;
}

Result<std::vector<std::unique_ptr<RedisConnection>>> RedisStore::TakeAll() {
  std::vector<std::unique_ptr<RedisConnection>> all;
  if (!pool_.is_cluster()) {
    auto connection = pool_.Take(0);
    if (!connection) return connection.error();
    all.push_back(std::move(*connection));
    return all;
  }
  const auto masters = pool_.Masters();
  if (!masters) return masters.error();
  for (const RedisAddress& master : *masters) {
    auto connection = pool_.TakeAt(master);
    if (!connection) return connection.error();
    all.push_back(std::move(*connection));
  }
  return all;
}

Result<void> RedisStore::CheckServers() {
  auto servers = TakeAll();
  if (!servers) return servers.error();
  for (auto& connection : *servers) {
    const std::string name = connection->Name();
    const std::string policy = Setting(*connection, "maxmemory-policy");
    if (policy.starts_with("allkeys")) {
      return Error{EINVAL, "Redis at " + name + " drops keys when its memory is full: " +
                               "maxmemory-policy is " + policy + ", and must be noeviction"};
    }
    if (!pool_.is_cluster() && IsPartOfCluster(*connection)) {
      return Error{EINVAL, "Redis at " + name +
                               " is one of a cluster: call it redis+cluster://, or "
                               "rediss+cluster://"};
    }
    pool_.GiveBack(std::move(connection));
  }
  auto weakness = WeaknessNow();
  if (!weakness) return weakness.error();
  weakness_ = std::move(*weakness);
  return {};
}

Result<std::string> RedisStore::WeaknessNow() {
  auto servers = TakeAll();
  if (!servers) return servers.error();
  std::string weakness;
  bool broken = false;
  for (auto& connection : *servers) {
    const bool fails_over =
        !options_.sentinels.empty() || (pool_.is_cluster() && HasReplicas(*connection));
    if (weakness.empty()) weakness = WeaknessOf(*connection, fails_over);
    broken = broken || connection->broken();
    pool_.GiveBack(std::move(connection));
  }
  if (broken) return Error{EIO, "connection to Redis at " + options_.Name()};
  return weakness;
}

Result<void> RedisStore::CheckSchema() {
  const std::string ours = std::to_string(kRedisSchemaVersion);
  AIRSTORE_TRY(Call({{"SET", keys_.Schema(), ours, "NX"}}));
  const auto upgrade = [&](const std::string& step) {
    return Call(
        {{"EVAL", kMayUpgrade, "3", keys_.Schema(), keys_.Owner(), keys_.Beat(), step, ours}});
  };
  auto may = upgrade("begin");
  // Two gateways that do it at once do no harm, nor does one that begins again.
  if (may && may->front().integer == 1) {
    AIRSTORE_TRY(MoveHeard());
    may = upgrade("done");
  }
  if (!may) return may.error();
  if (may->front().integer == 0) {
    return Error{EBUSY, "gateways of an earlier version are at work on Redis at " +
                            options_.Name() + ": stop them, and try again in ten seconds"};
  }
  auto found = Call({{"GET", keys_.Schema()}});
  if (!found) return found.error();
  const std::string& schema = found->front().text;
  if (schema != ours) {
    return Error{EPROTO, "Redis at " + options_.Name() + " has schema " + schema +
                             " under the prefix " + options_.prefix + ", this program knows " +
                             ours};
  }
  unsigned char random[16];
  AIRSTORE_CHECK(RAND_bytes(random, sizeof random) == 1);
  const std::string fresh(reinterpret_cast<const char*>(random), sizeof random);
  auto identity = Call({{"SET", keys_.Identity(), fresh, "NX"}, {"GET", keys_.Identity()}});
  if (!identity) return identity.error();
  identity_ = std::move((*identity)[1].text);
  return {};
}

// Schema 3 kept the signs of life of all workspaces in one place, each member with the workspace
// before the session.
Result<void> RedisStore::MoveHeard() {
  const std::string old = keys_.Common("heard");
  auto heard = Call({{"ZRANGE", old, "0", "-1", "WITHSCORES"}});
  if (!heard) return heard.error();
  const std::vector<RedisReply>& items = heard->front().items;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    const std::string& member = items[i].text;
    if (member.size() != 24) continue;
    const auto ws = static_cast<WorkspaceKey>(FromBigEndian(member));
    AIRSTORE_TRY(Call({{"ZADD", keys_.Heard(ws), "GT", items[i + 1].text, member.substr(8)},
                       {"UNLINK", keys_.Of(ws, "v:h")},
                       {"ZADD", keys_.Living(), "0", BigEndian(static_cast<uint64_t>(ws))}}));
  }
  auto gone = Call({{"UNLINK", old}});
  return gone ? Result<void>() : gone.error();
}

Result<std::unique_ptr<MetadataReader>> RedisStore::Read() {
  return std::unique_ptr<MetadataReader>(new RedisTransaction(*this));
}

Result<std::unique_ptr<MetadataWriter>> RedisStore::Write() {
  auto writer = WriteShared();
  if (!writer) return writer.error();
  return std::unique_ptr<MetadataWriter>(std::move(*writer));
}

Result<std::unique_ptr<RedisTransaction>> RedisStore::WriteShared() {
  return std::make_unique<RedisTransaction>(*this, std::unique_lock(writer_mu_));
}

Result<std::vector<RedisReply>> RedisStore::Call(const std::vector<RedisCommand>& commands) {
  RedisRoute route(pool_);
  auto replies = route.CallEach(commands);
  if (!replies) return replies.error();
  for (size_t i = 0; i < replies->size(); ++i) {
    if ((*replies)[i].is_error()) return Refused(commands[i], (*replies)[i]);
  }
  return replies;
}

Result<std::vector<RedisReply>> RedisStore::CallAtOnce(std::vector<RedisCommand> commands) {
  const size_t count = commands.size();
  RedisSlot slot = 0;
  for (const RedisCommand& command : commands) slot = SlotOf(command).value_or(slot);
  commands.insert(commands.begin(), {"MULTI"});
  commands.push_back({"EXEC"});
  RedisRoute route(pool_);
  auto replies = route.Call(slot, RedisRoute::Bond::kAtOnce, commands);
  if (!replies) return replies.error();
  for (size_t i = 0; i < replies->size(); ++i) {
    if ((*replies)[i].is_error()) return Refused(commands[i], (*replies)[i]);
  }
  if (replies->back().items.size() != count) return Error{EIO, "Redis: EXEC"};
  for (const RedisReply& item : replies->back().items) {
    if (item.is_error()) return Error{EIO, "Redis: " + item.text};
  }
  return std::move(replies->back().items);
}

Result<std::optional<RedisAddress>> RedisStore::Settled(const std::string& key) {
  const auto owner = pool_.Owner(SlotOf(key));
  if (!owner) return owner.error();
  auto connection = pool_.TakeAt(*owner);
  if (!connection) return connection.error();
  // Of what is not there it would say that it may be at the other one.
  const RedisCommand probe = {"GET", key};
  auto replies = (*connection)->Call(std::span(&probe, 1));
  pool_.GiveBack(std::move(*connection));
  if (!replies) return replies.error();
  if (const auto elsewhere = RedirectionOf(replies->front(), *owner)) {
    pool_.Learn(*elsewhere);
    return std::optional<RedisAddress>();
  }
  return std::optional(*owner);
}

Result<void> RedisStore::Scan(const std::string& beginning,
                              const std::function<Result<void>(std::vector<std::string>)>& page) {
  const auto scan = [&](RedisConnection& connection) -> Result<void> {
    std::string cursor = "0";
    do {
      // Redis' patterns: the braces of a tag mean themselves.
      auto found =
          connection.Call(RedisCommand{"SCAN", cursor, "MATCH", beginning + "*", "COUNT", "1000"});
      if (!found) return found.error();
      if (found->items.size() != 2) return Error{EIO, "Redis: SCAN"};
      cursor = found->items[0].text;
      std::vector<std::string> keys;
      for (RedisReply& item : found->items[1].items) keys.push_back(std::move(item.text));
      if (!keys.empty()) AIRSTORE_TRY(page(std::move(keys)));
    } while (cursor != "0");
    return {};
  };
  const std::string probe = beginning + "\n";  // nobody's key
  if (!pool_.is_cluster()) {
    auto connection = pool_.Take(SlotOf(probe));
    if (!connection) return connection.error();
    const auto done = scan(**connection);
    pool_.GiveBack(std::move(*connection));
    return done;
  }
  const auto before = Settled(probe);
  if (!before) return before.error();
  if (*before) {
    auto connection = pool_.TakeAt(**before);
    if (!connection) return connection.error();
    const auto done = scan(**connection);
    pool_.GiveBack(std::move(*connection));
    if (!done) return done;
    const auto after = Settled(probe);
    if (!after) return after.error();
    if (*after == *before) return {};
  }
  // Keys go from one server to another. What has gone to one that was looked at before is there
  // when that is looked at again.
  for (int pass = 0; pass < 2; ++pass) {
    auto servers = TakeAll();
    if (!servers) return servers.error();
    Result<void> done;
    for (auto& connection : *servers) {
      if (done) done = scan(*connection);
      pool_.GiveBack(std::move(connection));
    }
    if (!done) return done;
  }
  return {};
}

std::optional<WorkspaceKey> RedisStore::PlaceOf(const SessionId& id) {
  std::lock_guard lock(places_mu_);
  const auto it = places_.find(id);
  return it == places_.end() ? std::nullopt : std::optional(it->second);
}

void RedisStore::NotePlace(const SessionId& id, std::optional<WorkspaceKey> ws) {
  std::lock_guard lock(places_mu_);
  if (!ws) {
    places_.erase(id);
    return;
  }
  if (places_.size() >= kMostPlaces) places_.clear();
  places_[id] = *ws;
}

}  // namespace airstore::gateway
