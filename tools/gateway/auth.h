// SPDX-License-Identifier: Apache-2.0
//
// Who calls: bearer tokens, known by the SHA-256 of their secret only. Secrets are 256 random bits,
// so a plain hash is enough. The admin's secret lives in a file beside the data; all others in the
// metadata. Nothing is cached: a revoked token fails at the next call.
//
// Threads: any.
// Ownership: borrows the metadata store.
#pragma once

#include <string>
#include <string_view>

#include "tools/gateway/failed_tokens.h"
#include "tools/gateway/metadata_store.h"

namespace airstore::gateway {

struct Caller {
  bool admin = false;
  WorkspaceKey workspace = 0;  // of a token; the admin may open any
  std::string principal;
  bool read_only = false;
  std::string token_id;
  std::string member;  // id, of tokens that v1 has made
};

// 43 characters of base64url for 256 random bits, behind a prefix that scanners can find.
std::string NewSecret();
std::string NewTokenId();
std::string HashSecret(std::string_view secret);

// Reads the admin's secret, or makes one and writes it with mode 0600.
Result<std::string> LoadOrCreateAdminSecret(const std::string& path);

class Authenticator {
 public:
  Authenticator(MetadataStore& store, std::string_view admin_secret)
      : store_(store), admin_hash_(HashSecret(admin_secret)) {}

  // `header`: the value of "authorization"; `peer`: as gRPC writes it, empty: of no matter. EACCES:
  // whoever it is, not one of ours; the message does not say why. EAGAIN: too many of those came
  // from there.
  Result<Caller> Authenticate(std::string_view header, std::string_view peer = {});
  FailedTokens& failed() { return failed_; }

 private:
  Result<Caller> Find(std::string_view hash);

  MetadataStore& store_;
  FailedTokens failed_;
  const std::string admin_hash_;
};

}  // namespace airstore::gateway
