// SPDX-License-Identifier: Apache-2.0
//
// Metadata engines for tests. Redis: one server for the process, and a prefix for each directory.
#include <cstdlib>
#include <filesystem>

#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/bench.h"
#include "tools/gateway/meta/redis/redis_store.h"
#include "tools/gateway/meta/sqlite/sqlite_store.h"

namespace airstore::gateway {
namespace {

const e2e::RedisServer& Server() {
  static const TempDirectory files;
  static const e2e::RedisServer server(files.path());
  return server;
}

bool IsRedis() {
  const char* engine = getenv("AIRSTORE_TEST_ENGINE");
  return engine != nullptr && std::string_view(engine) == "redis";
}

Result<std::unique_ptr<MetadataStore>> OpenRedis(const std::string& directory) {
  RedisOptions options;
  options.socket = Server().socket();
  options.prefix = std::filesystem::path(directory).filename().string();
  auto store = RedisStore::Open(options);
  if (!store) return store.error();
  return std::unique_ptr<MetadataStore>(std::move(*store));
}

}  // namespace

std::string SharedRedisUrl(const std::string& directory) {
  if (!IsRedis()) return {};
  return Server().url() + "?prefix=" + std::filesystem::path(directory).filename().string();
}

Result<std::unique_ptr<MetadataStore>> OpenEngine(const std::string& directory) {
  if (IsRedis()) return OpenRedis(directory);
  auto store = SqliteStore::Open(directory + "/metadata.sqlite");
  if (!store) return store.error();
  return std::unique_ptr<MetadataStore>(std::move(*store));
}

}  // namespace airstore::gateway
