// SPDX-License-Identifier: Apache-2.0
//
// Blocks as objects of an S3 bucket: PREFIX/WORKSPACE/ID, in hex. A block (4 MiB at most) is less
// than the least part of a multipart upload, so each is one PUT: there whole or not at all.
//
// A block that arrives damaged is asked for again before it is called damaged.
//
// Threads: any; no more than the client's connections are under way at once, each with one block.
// Fails: as s3_client.h. Open() when the bucket is not there, or not for these keys.
#pragma once

#include <memory>
#include <string>

#include "tools/gateway/block_store.h"
#include "tools/gateway/blocks/s3/s3_client.h"

namespace airstore::gateway {

class S3BlockStore final : public BlockStore {
 public:
  std::string_view kind() const override { return "s3"; }
  // `prefix`: of object names, without slashes at its ends; may be empty.
  static Result<std::unique_ptr<S3BlockStore>> Open(S3Options options, const std::string& prefix);

  Result<void> Put(const BlockKey& key, std::string_view header, std::string_view data) override;
  Result<std::string> Get(const BlockKey& key) override { return GetUntil(key, SteadyTime::max()); }
  Result<std::string> GetUntil(const BlockKey& key, SteadyTime until) override;
  Result<std::vector<Kept>> Delete(std::span<const BlockKey> keys) override;
  Result<void> List(int64_t before_ns, const std::function<void(const BlockKey&)>& visit) override;
  bool is_remote() const override { return true; }

  // Blocks are deleted when the metadata does not know them: so they are for one metadata store,
  // and none but it may come here. EEXIST: this is another one's. `has_content`: there are blocks
  // for certain; ENOENT: but there are none here, so this is not the place.
  Result<void> Claim(const std::string& identity, bool has_content);

  S3Client& client() { return client_; }
  std::string NameOf(const BlockKey& key) const;

 private:
  S3BlockStore(S3Options options, std::string prefix)
      : prefix_(prefix.empty() ? "" : prefix + "/"), client_(std::move(options)) {}
  std::optional<BlockKey> KeyOf(std::string_view name) const;

  const std::string prefix_;
  S3Client client_;
};

}  // namespace airstore::gateway
