// SPDX-License-Identifier: Apache-2.0
//
// Where a gateway keeps its store, as URLs:
//   sqlite:///FILE
//   redis://[USER@]HOST[:PORT][/DATABASE]?..., rediss://... (TLS), redis:///SOCKET?database=N
//   redis+sentinel://[USER@]HOST[:PORT],.../SERVICE?database=N, rediss+sentinel://...: the master
//       that these sentinels know of
//   redis+cluster://[USER@]HOST[:PORT],..., rediss+cluster://...: the cluster that these are of
//       prefix=P  password-file=F  timeout=SECONDS  ca-file=F  cert-file=F
//       key-file=F
//   file:///DIRECTORY
//   s3://BUCKET[/PREFIX]?...
//       endpoint=URL  region=R  style=path|virtual  credentials=F  profile=P  connections=N
//       ca-file=F
// Secrets are never in them: passwords come from files or AIRSTORE_REDIS_PASSWORD, keys of S3 as
// s3_keys.h says. A parameter that is not known is an error.
//
// Threads: any.
// Fails: EINVAL, saying what makes no sense; and as the engines do.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "tools/gateway/block_store.h"
#include "tools/gateway/blocks/s3/s3_client.h"
#include "tools/gateway/meta/redis/redis_store.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

struct StoreUrl {
  std::string scheme;
  std::string user;
  std::string host;                               // brackets of IPv6 addresses are taken away;
                                                  // several with commas are as they were written
  int port = 0;                                   // 0: none was given
  std::string path;                               // with its first slash; decoded
  std::map<std::string, std::string> parameters;  // decoded
};

Result<StoreUrl> ParseStoreUrl(std::string_view text);

Result<RedisOptions> RedisOptionsFrom(StoreUrl url);
struct S3Place {
  S3Options options;
  std::string prefix;
};
Result<S3Place> S3PlaceFrom(StoreUrl url);

struct Stores {
  std::unique_ptr<BlockStore> blocks;
  std::unique_ptr<MetadataStore> metadata;
  RedisStore* redis = nullptr;  // that is what `metadata` is: there may be other gateways
};
// EEXIST: the blocks are not of this metadata.
Result<Stores> OpenStores(const std::string& metadata_url, const std::string& blocks_url);

}  // namespace airstore::gateway
