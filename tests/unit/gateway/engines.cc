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

Result<std::unique_ptr<MetadataStore>> OpenRedis(const std::string& directory) {
  static const TempDirectory files;
  static e2e::RedisServer server(files.path());
  RedisOptions options;
  options.socket = server.socket();
  options.prefix = std::filesystem::path(directory).filename().string();
  auto store = RedisStore::Open(options);
  if (!store) return store.error();
  return std::unique_ptr<MetadataStore>(std::move(*store));
}

}  // namespace

Result<std::unique_ptr<MetadataStore>> OpenEngine(const std::string& directory) {
  const char* engine = getenv("AIRSTORE_TEST_ENGINE");
  if (engine != nullptr && std::string_view(engine) == "redis") return OpenRedis(directory);
  auto store = SqliteStore::Open(directory + "/metadata.sqlite");
  if (!store) return store.error();
  return std::unique_ptr<MetadataStore>(std::move(*store));
}

}  // namespace airstore::gateway
