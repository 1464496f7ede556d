// SPDX-License-Identifier: Apache-2.0
//
// AdminClient: workspaces and tokens of one gateway, in the broker's own types.
// Threads: the event loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "broker/broker_api.h"
#include "broker/task.h"

namespace airstore::broker {

struct WorkspaceEntry {
  std::string id;
  std::string name;
  int64_t created_ns = 0;
  uint64_t used_bytes = 0;
  uint64_t inodes = 0;
  uint64_t quota_bytes = 0;  // 0: none
  uint64_t quota_inodes = 0;
};
struct Quota {
  std::optional<uint64_t> bytes = {};  // 0: none
  std::optional<uint64_t> inodes = {};
};
struct TokenEntry {
  std::string id;
  std::string workspace;
  std::string principal;
  bool read_only = false;
  int64_t created_ns = 0;
  int64_t revoked_ns = 0;  // 0: valid
};
// What a mount has said was read.
struct AccessEntry {
  int64_t ts_ms = 0;
  std::string path, session, mount, origin, cache_source;
  int64_t offset = 0, requested_bytes = 0, read_bytes = 0, latency_ms = 0;
  std::string outcome, error, source_uri;
  int64_t fetch_ms = 0;
};
struct AccessQuery {
  std::string workspace, path;
  int64_t since_ms = 0;
  uint32_t limit = 0;  // 0: the gateway's choice
};
// As StoreCheckRequest of the control protocol.
struct StoreCheckQuery {
  uint64_t run = 0;
  uint32_t damages_seen = 0;
  bool cancel = false;
  bool collect = false;
  std::string workspace;
  bool repair = false;
  bool skip_content = false;
};
struct StoreDamage {
  std::string kind, workspace;
  uint64_t inode = 0;
  std::string path, block;
  uint64_t offset = 0, lost_bytes = 0;
  std::string what, remedy;
  bool repaired = false;
};
struct StoreCheckState {
  uint64_t run = 0;
  bool finished = false;
  std::string error, phase;
  uint64_t done = 0, total = 0;
  std::vector<StoreDamage> damages;
  uint64_t workspaces = 0, inodes = 0, blocks = 0, content_bytes = 0;
  uint64_t all_damages = 0, all_repaired = 0, lost_bytes = 0;
  uint64_t removed_blocks = 0, removed_bytes = 0;
};
// Of one gateway, as GatewayStatus of storage.v2.
struct GatewayReport {
  std::string version, metadata, blocks;
  bool shared = false;
  std::string weakness;
  uint64_t sessions = 0, read_us = 0;
};
struct CreatedToken {
  TokenEntry token;
  std::string secret;
};

class AdminClient {
 public:
  virtual ~AdminClient() = default;
  virtual Task<Outcome<WorkspaceEntry>> CreateWorkspace(const std::string& name,
                                                        const Quota& quota) = 0;
  // What is absent stays as it is.
  virtual Task<Outcome<WorkspaceEntry>> SetQuota(const std::string& name, const Quota& quota) = 0;
  virtual Task<Outcome<std::vector<WorkspaceEntry>>> ListWorkspaces() = 0;
  virtual Task<Outcome<Nothing>> DeleteWorkspace(const std::string& name) = 0;
  virtual Task<Outcome<CreatedToken>> CreateToken(const std::string& workspace,
                                                  const std::string& principal, bool read_only) = 0;
  virtual Task<Outcome<std::vector<TokenEntry>>> ListTokens(const std::string& workspace) = 0;
  virtual Task<Outcome<Nothing>> RevokeToken(const std::string& id) = 0;
  virtual Task<Outcome<std::vector<AccessEntry>>> QueryAccessLog(const AccessQuery& query) = 0;
  virtual Task<Outcome<StoreCheckState>> CheckStore(const StoreCheckQuery& query) = 0;
  // Which of several addresses calls go to, as GatewayAddress::target.
  virtual std::string in_use() const = 0;
  // Waits for a few seconds at most.
  virtual Task<Outcome<GatewayReport>> GetStatus() = 0;
};

}  // namespace airstore::broker
