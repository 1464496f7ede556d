// SPDX-License-Identifier: Apache-2.0
//
// URLs of stores: what they may say, what they may not, and that no secret is in them.
#include "tools/gateway/store_url.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/e2e/support/stores.h"
#include "tests/unit/gateway/bench.h"

namespace airstore::gateway {
namespace {

Result<RedisOptions> Redis(std::string_view text) {
  auto url = ParseStoreUrl(text);
  if (!url) return url.error();
  return RedisOptionsFrom(std::move(*url));
}

Result<S3Place> S3(std::string_view text) {
  setenv("AWS_ACCESS_KEY_ID", "key", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
  auto url = ParseStoreUrl(text);
  if (!url) return url.error();
  return S3PlaceFrom(std::move(*url));
}

TEST(StoreUrl, Redis) {
  auto options = Redis("redis://example.org");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->Name(), "example.org:6379");
  EXPECT_EQ(options->prefix, "airstore");
  EXPECT_FALSE(options->tls);
  options = Redis("rediss://gate%40way@[::1]:7000/3?prefix=team-1&timeout=5&ca-file=/a%20b");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->host, "::1");
  EXPECT_EQ(options->port, 7000);
  EXPECT_EQ(options->database, 3);
  EXPECT_EQ(options->user, "gate@way");
  EXPECT_EQ(options->prefix, "team-1");
  EXPECT_EQ(options->ca_file, "/a b");
  EXPECT_EQ(options->timeout, std::chrono::seconds(5));
  EXPECT_TRUE(options->tls);
  options = Redis("redis:///run/redis.sock?database=2");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->socket, "/run/redis.sock");
  EXPECT_EQ(options->database, 2);
  options = Redis("redis+sentinel://gate@one,two:5,[::2]:6/mine?database=4");
  ASSERT_TRUE(options) << options.error().ToString();
  EXPECT_EQ(options->service, "mine");
  EXPECT_EQ(options->user, "gate");
  EXPECT_EQ(options->database, 4);
  ASSERT_EQ(options->sentinels.size(), 3u);
  EXPECT_EQ(options->sentinels[0].host, "one");
  EXPECT_EQ(options->sentinels[0].port, 26379);
  EXPECT_EQ(options->sentinels[1].port, 5);
  EXPECT_EQ(options->sentinels[2].host, "::2");
  options = Redis("rediss+sentinel://[::1]:7/mine");
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->tls);
  ASSERT_EQ(options->sentinels.size(), 1u);
  EXPECT_EQ(options->sentinels[0].host, "::1");
  EXPECT_EQ(options->sentinels[0].port, 7);
  options = Redis("rediss+cluster://gate@one,two:5,[::2]:6/?prefix=p");
  ASSERT_TRUE(options) << options.error().ToString();
  EXPECT_TRUE(options->tls);
  EXPECT_EQ(options->user, "gate");
  EXPECT_EQ(options->cluster, (std::vector<RedisAddress>{{"one", 6379}, {"two", 5}, {"::2", 6}}));
  EXPECT_EQ(Redis("redis+cluster://one")->cluster.size(), 1u);
  setenv("AIRSTORE_REDIS_PASSWORD", "secret", 1);
  EXPECT_EQ(Redis("redis://h")->password, "secret");
  unsetenv("AIRSTORE_REDIS_PASSWORD");
  for (const char* wrong : {"redis://",
                            "rediss:///socket",
                            "redis://h:0",
                            "redis://h:x",
                            "redis://h/name",
                            "redis://h?prefix=",
                            "redis://h?prefix=a*b",
                            "redis://h?unknown=1",
                            "redis://h?timeout=0",
                            "redis+sentinel:///mine",
                            "redis+sentinel://a,b",
                            "redis+sentinel://a,b/x/y",
                            "redis+sentinel://a,/mine",
                            "redis://a,b",
                            "redis+cluster:///x",
                            "redis+cluster://a,",
                            "redis+cluster://a,b/1",
                            "redis+cluster://a?database=1",
                            "redis://h?standby=1",
                            "redis://h?cert-file=/a",
                            "redis://h?prefix",
                            "redis://h/%4",
                            "redis://h/%00",
                            "redis://h?password-file=/nowhere"}) {
    EXPECT_FALSE(Redis(wrong)) << wrong;
  }
  const auto secret = Redis("redis://user:word@h");
  ASSERT_FALSE(secret);
  EXPECT_NE(secret.error().message.find("password-file"), std::string::npos);
}

TEST(StoreUrl, S3) {
  auto place = S3("s3://bucket/a/b/?region=eu-central-1");
  ASSERT_TRUE(place) << place.error().ToString();
  EXPECT_EQ(place->options.bucket, "bucket");
  EXPECT_EQ(place->prefix, "a/b");
  EXPECT_EQ(place->options.endpoint, "https://s3.eu-central-1.amazonaws.com");
  EXPECT_TRUE(place->options.virtual_host);
  EXPECT_EQ(place->options.keys.access_key, "key");
  place = S3("s3://bucket?endpoint=http://127.0.0.1:9000&connections=4");
  ASSERT_TRUE(place);
  EXPECT_EQ(place->options.endpoint, "http://127.0.0.1:9000");
  EXPECT_FALSE(place->options.virtual_host);
  EXPECT_EQ(place->options.http.connections, 4u);
  place = S3("s3://bucket?endpoint=https://h:443/");
  ASSERT_TRUE(place) << place.error().ToString();
  EXPECT_EQ(place->options.endpoint, "https://h:443");
  for (const char* wrong :
       {"s3://", "s3:///x", "s3://b?endpoint=h", "s3://b?style=odd", "s3://b?connections=0",
        "s3://b?credentials=/nowhere", "s3://b?secret=x", "s3://b:9000/", "s3://user@b/",
        "s3://b?endpoint=http://", "s3://b?endpoint=https:///", "s3://b?endpoint=http://h/path",
        "s3://b?endpoint=http://h%3fx", "s3://b?endpoint=http://h%23x",
        "s3://b?endpoint=http://user@h"}) {
    EXPECT_FALSE(S3(wrong)) << wrong;
  }
}

TEST(StoreUrl, WhatIsNoStore) {
  const TempDirectory directory;
  const std::string blocks = "file://" + directory.path() + "/blocks";
  for (const char* wrong : {"", "/data", "sqlite:/data", "sqlite://", "sqlite://host/file",
                            "sqlite:///f?x=1", "mysql://h", "file:///d", "://x"}) {
    EXPECT_EQ(OpenStores(wrong, blocks).error().code, EINVAL) << wrong;
  }
  for (const char* wrong : {"", "file://", "file://host/d", "file:///d?x=1", "sqlite:///f"}) {
    EXPECT_EQ(OpenStores("sqlite:///nowhere/x", wrong).error().code, EINVAL) << wrong;
  }
}

TEST(StoreUrl, BlocksAreOfOneMetadataStore) {
  const TempDirectory directory;
  const std::string root = "file://" + directory.path();
  e2e::RedisServer server(directory.path() + "/redis");
  const std::string one = server.url() + "?prefix=one", two = server.url() + "?prefix=two";
  ASSERT_TRUE(OpenStores(one, root + "/a"));
  ASSERT_TRUE(OpenStores(one, root + "/a")) << "its own";
  const auto others = OpenStores(two, root + "/a");
  ASSERT_FALSE(others);
  EXPECT_EQ(others.error().code, EEXIST);
  // Blocks that say nothing, as beside a database.
  const std::string sqlite = "sqlite://" + directory.path() + "/db";
  auto embedded = OpenStores(sqlite, root + "/b");
  ASSERT_TRUE(embedded) << embedded.error().ToString();
  ASSERT_TRUE(embedded->blocks->Put({1, BlockId{}}, "head", "data"));
  EXPECT_EQ(OpenStores(one, root + "/b").error().code, EEXIST);
}

TEST(StoreUrl, ADirectoryThatIsNotMountedIsNotTakenForEmpty) {
  const TempDirectory directory;
  std::filesystem::create_directories(directory.path() + "/elsewhere");
  const std::string blocks = directory.path() + "/elsewhere/blocks";
  const std::string one = "sqlite://" + directory.path() + "/one";
  ASSERT_TRUE(OpenStores(one, "file://" + blocks));
  EXPECT_EQ(OpenStores("sqlite://" + directory.path() + "/two", "file://" + blocks).error().code,
            EEXIST);
  {
    auto stores = OpenStores(one, "file://" + blocks);
    ASSERT_TRUE(stores) << stores.error().ToString();
    ASSERT_TRUE(stores->blocks->Put({1, BlockId{}}, "head", "data"));
    auto txn = std::move(*stores->metadata->Write());
    Workspace workspace;
    workspace.id = "ws_1";
    workspace.name = "work";
    txn->AddUsage(txn->AddWorkspace(workspace), 4, 1);
    ASSERT_TRUE(txn->Commit());
  }
  std::filesystem::rename(blocks, blocks + ".away");
  const auto away = OpenStores(one, "file://" + blocks);
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, ENOENT);
  EXPECT_NE(away.error().message.find("is it mounted?"), std::string::npos);
  std::filesystem::remove_all(blocks);
  std::filesystem::rename(blocks + ".away", blocks);
  // As it was before directories were claimed for databases.
  std::filesystem::remove(blocks + "/store");
  EXPECT_TRUE(OpenStores(one, "file://" + blocks));
  EXPECT_TRUE(std::filesystem::exists(blocks + "/store"));
}

TEST(StoreUrl, AnythingMayComeAndNothingBreaks) {
  std::mt19937 random(3);
  constexpr char kBytes[] = "redis3://@:/?&=%[].a0\0\xff";
  for (int round = 0; round < 20'000; ++round) {
    std::string text = round % 2 == 0 ? "s3://" : "";
    for (size_t i = random() % 24; i > 0; --i) text.push_back(kBytes[random() % sizeof kBytes]);
    (void)ParseStoreUrl(text);
  }
}

}  // namespace
}  // namespace airstore::gateway
