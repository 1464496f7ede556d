// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_store.h"

#include <openssl/rand.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "tools/gateway/meta/redis/redis_transaction.h"

namespace airstore::gateway {
namespace {

// A setting of the server; empty when it may not be asked for, as with many that are rented.
std::string Setting(RedisConnection& connection, const std::string& name) {
  auto reply = connection.Call(RedisCommand{"CONFIG", "GET", name});
  return reply && reply->items.size() == 2 ? reply->items[1].text : "";
}

bool EndIsPending() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
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
  const std::string log = Setting(**connection, "appendonly");
  const std::string sync = Setting(**connection, "appendfsync");
  if (log.empty() || sync.empty()) {
    weakness_ = "Redis does not tell whether it keeps commits on disk (appendonly, appendfsync)";
  } else if (log != "yes") {
    weakness_ = "Redis keeps no log (appendonly no): what it acknowledged is lost when it dies";
  } else if (sync != "always") {
    weakness_ = "Redis syncs its log later (appendfsync " + sync +
                "): the last second's commits are lost when its host dies";
  }
  GiveBack(std::move(*connection));
  return {};
}

Result<void> RedisStore::CheckSchema() {
  auto connection = Take();
  if (!connection) return connection.error();
  const std::string ours = std::to_string(kRedisSchemaVersion);
  AIRSTORE_TRY((*connection)->Call(RedisCommand{"SET", keys_.Schema(), ours, "NX"}));
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

Result<void> RedisStore::TakeOver() {
  auto connection = Take();
  if (!connection) return connection.error();
  auto count = (*connection)->Call(RedisCommand{"INCR", keys_.Owner()});
  if (!count) return count.error();
  fence_ = {keys_.Owner(), std::to_string(count->integer)};
  GiveBack(std::move(*connection));
  return {};
}

bool RedisStore::IsLost() {
  if (fence_.key.empty()) return false;
  auto connection = Take();
  if (!connection) return false;
  const auto count = (*connection)->Call(RedisCommand{"GET", fence_.key});
  const bool ours = count && count->text == fence_.value;
  if (ours) (void)(*connection)->Call(RedisCommand{"INCR", keys_.Alive()});
  GiveBack(std::move(*connection));
  return count && !ours;
}

Result<void> RedisStore::WaitForTurn() {
  using std::chrono::steady_clock;
  if (options_.standby.count() == 0) return {};
  std::string last;
  auto heard = steady_clock::now();
  while (true) {
    auto connection = Take();
    const auto now = connection
                         ? (*connection)->Call(RedisCommand{"MGET", keys_.Owner(), keys_.Alive()})
                         : Result<RedisReply>(connection.error());
    if (connection) GiveBack(std::move(*connection));
    // A server that is away is no owner that is away.
    if (!now || now->items.size() != 2 || now->items[1].text != last) heard = steady_clock::now();
    if (now && now->items.size() == 2) {
      if (now->items[0].is_nil()) return {};
      last = now->items[1].text;
    }
    if (steady_clock::now() - heard >= options_.standby) return {};
    if (EndIsPending()) return Error{EINTR, "ended while it waited for its turn"};
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
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
  if (connection->broken()) return;
  std::lock_guard lock(idle_mu_);
  idle_.push_back(std::move(connection));
}

Result<std::unique_ptr<MetadataReader>> RedisStore::Read() {
  auto connection = Take();
  if (!connection) return connection.error();
  return std::unique_ptr<MetadataReader>(new RedisTransaction(*this, std::move(*connection)));
}

Result<std::unique_ptr<MetadataWriter>> RedisStore::Write() {
  std::unique_lock lock(writer_mu_);
  auto connection = Take();
  if (!connection) return connection.error();
  return std::unique_ptr<MetadataWriter>(
      new RedisTransaction(*this, std::move(*connection), std::move(lock)));
}

}  // namespace airstore::gateway
