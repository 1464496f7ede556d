// SPDX-License-Identifier: Apache-2.0
//
// Metadata engines for tests, by AIRSTORE_TEST_ENGINE. Redis: one server for the process, or one
// cluster, and a prefix for each directory.
#include <cstdlib>
#include <filesystem>

#include "tests/e2e/support/redis_cluster.h"
#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/bench.h"
#include "tools/gateway/meta/redis/redis_store.h"
#include "tools/gateway/meta/sqlite/sqlite_store.h"
#include "tools/gateway/store_url.h"

namespace airstore::gateway {
namespace {

const TempDirectory& Files() {
  static const TempDirectory files;
  return files;
}

std::string ServerUrl() {
  static const e2e::RedisServer server(Files().path());
  return server.url();
}

std::string ClusterUrl() {
  static const e2e::RedisCluster cluster(Files().path(), 3);
  return cluster.url();
}

bool IsEngine(std::string_view name) {
  const char* engine = getenv("AIRSTORE_TEST_ENGINE");
  return engine != nullptr && engine == name;
}

}  // namespace

std::string SharedRedisUrl(const std::string& directory) {
  if (!IsEngine("redis") && !IsEngine("cluster")) return {};
  return (IsEngine("redis") ? ServerUrl() : ClusterUrl()) +
         "?prefix=" + std::filesystem::path(directory).filename().string();
}

Result<std::unique_ptr<MetadataStore>> OpenEngine(const std::string& directory) {
  if (const std::string url = SharedRedisUrl(directory); !url.empty()) {
    auto parsed = ParseStoreUrl(url);
    if (!parsed) return parsed.error();
    auto options = RedisOptionsFrom(std::move(*parsed));
    if (!options) return options.error();
    auto store = RedisStore::Open(std::move(*options));
    if (!store) return store.error();
    return std::unique_ptr<MetadataStore>(std::move(*store));
  }
  auto store = SqliteStore::Open(directory + "/metadata.sqlite");
  if (!store) return store.error();
  return std::unique_ptr<MetadataStore>(std::move(*store));
}

}  // namespace airstore::gateway
