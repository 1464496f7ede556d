// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/blocks/s3/s3_block_store.h"

#include <algorithm>
#include <charconv>

#include "shm/base/fault.h"
#include "tools/gateway/blocks.h"
#include "tools/gateway/blocks/block_name.h"

namespace airstore::gateway {

Result<std::unique_ptr<S3BlockStore>> S3BlockStore::Open(S3Options options,
                                                         const std::string& prefix) {
  std::unique_ptr<S3BlockStore> store(new S3BlockStore(std::move(options), prefix));
  auto page = store->client_.List(store->prefix_, {});
  if (!page) return page.error();
  return store;
}

Result<void> S3BlockStore::Claim(const std::string& identity, bool has_content) {
  const std::string name = prefix_ + "store";
  const std::string ours = ToHex(identity);
  auto theirs = client_.Get(name, 1024);
  if (theirs) {
    if (*theirs == ours) return {};
    return Error{EEXIST, "the bucket has the blocks of another store under '" + prefix_ + "'"};
  }
  if (theirs.error().code != ENOENT) return theirs.error();
  auto page = client_.List(prefix_, {});
  if (!page) return page.error();
  for (const S3Object& object : page->objects) {
    if (KeyOf(object.name)) {
      return Error{
          EEXIST, "the bucket has blocks under '" + prefix_ + "', and nothing says of which store"};
    }
  }
  if (has_content) {
    return Error{ENOENT, "the bucket has no blocks under '" + prefix_ +
                             "', and files have content: is it the right place? If the blocks " +
                             "are lost, make the object " + name + " with the text " + ours};
  }
  return client_.Put(name, ours, {});
}

std::string S3BlockStore::NameOf(const BlockKey& key) const {
  return prefix_ + std::to_string(key.workspace) + "/" + ToHex(key.id.view());
}

std::optional<BlockKey> S3BlockStore::KeyOf(std::string_view name) const {
  if (!name.starts_with(prefix_)) return std::nullopt;
  name.remove_prefix(prefix_.size());
  BlockKey key;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), key.workspace);
  name.remove_prefix(static_cast<size_t>(end - name.data()));
  if (error != std::errc() || !name.starts_with("/")) return std::nullopt;
  const auto id = BlockIdFromHex(name.substr(1));
  if (!id) return std::nullopt;
  key.id = *id;
  return key;
}

Result<void> S3BlockStore::Put(const BlockKey& key, std::string_view header,
                               std::string_view data) {
  if (const int error = Reach(FaultPoint::kGatewayBlockWritten)) return Error{error, "S3 PUT"};
  AIRSTORE_TRY(client_.Put(NameOf(key), header, data));
  Reach(FaultPoint::kGatewayBlockNamed);
  return {};
}

Result<std::string> S3BlockStore::GetUntil(const BlockKey& key, SteadyTime until) {
  constexpr int kAttempts = 3;
  for (int attempt = 1;; ++attempt) {
    auto stored = client_.Get(NameOf(key), 2 * kBlockBytes, until);
    if (!stored && stored.error().code == EFBIG) return Error{EBADMSG, stored.error().message};
    if (!stored || attempt == kAttempts || IsIntactBlock(*stored)) return stored;
  }
}

Result<std::vector<BlockStore::Kept>> S3BlockStore::Delete(std::span<const BlockKey> keys) {
  std::vector<Kept> kept;
  std::vector<std::string> names;
  names.reserve(keys.size());
  for (const BlockKey& key : keys) names.push_back(NameOf(key));
  for (size_t at = 0; at < names.size(); at += S3Client::kMostDeleted) {
    const size_t some = std::min(S3Client::kMostDeleted, names.size() - at);
    auto left = client_.Delete(std::span(names).subspan(at, some));
    if (!left) return left.error();
    for (auto& [name, why] : *left) kept.push_back({*KeyOf(name), std::move(why)});
  }
  return kept;
}

Result<void> S3BlockStore::List(int64_t before_ns,
                                const std::function<void(const BlockKey&)>& visit) {
  std::string after;
  do {
    auto page = client_.List(prefix_, after);
    if (!page) return page.error();
    for (const S3Object& object : page->objects) {
      const auto key = KeyOf(object.name);
      if (!key) continue;
      // By our clock. One without a time may have been stored just now.
      const bool timed = object.modified_ns != 0;
      const int64_t modified_ns = object.modified_ns - client_.seconds_ahead() * 1'000'000'000;
      if (timed ? modified_ns < before_ns : before_ns == INT64_MAX) visit(*key);
    }
    after = std::move(page->next);
  } while (!after.empty());
  return {};
}

}  // namespace airstore::gateway
