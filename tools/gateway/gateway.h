// SPDX-License-Identifier: Apache-2.0
//
// The gateway without its wire: everything a data directory needs to be served, opened in order and
// torn down in reverse. Services translate calls to it; tests drive it directly.
//
// Threads: any; of its own one that expires sessions, and one that collects garbage (housekeeping),
// which may take long where blocks are: nobody's lease is to wait for that.
// Ownership: owns all parts. The order of members is the order of teardown, reversed.
// Fails: Open() when the directory is unusable, is served by another process, or is of another
// version.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "shm/base/fd.h"
#include "tools/gateway/access_log.h"
#include "tools/gateway/auth.h"
#include "tools/gateway/batch.h"
#include "tools/gateway/bulletin.h"
#include "tools/gateway/check/store_check.h"
#include "tools/gateway/collector.h"
#include "tools/gateway/host_locks.h"
#include "tools/gateway/sessions.h"

namespace airstore::gateway {

class RedisStore;

struct GatewayOptions {
  std::string data_dir;
  std::string metadata;          // a URL (store_url.h); empty: DATA/metadata.sqlite
  std::string blocks;            // a URL; empty: DATA/blocks
  std::string admin_token_file;  // empty: DATA/admin-token
  std::chrono::seconds gc_grace{3600};
  std::chrono::seconds session_lifetime{60};
  std::chrono::milliseconds watch_patience{2000};  // for acknowledgements of what is watched
  uint64_t cache_bytes = 256ull << 20;
};

// What there is for a workspace beside its files.
struct Offer {
  bool tools = false;
  bool sources = false;
  bool tasks = false;
  bool access_log = false;  // what is read is to be told
};

// Of this process, and of its store as it is just now.
struct GatewayReport {
  std::string_view metadata, blocks;
  bool shared = false;  // other gateways may serve the same store
  std::string weakness;
  uint64_t sessions = 0;  // at whichever gateway
  std::chrono::microseconds read{0};
};

struct Capacity {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};

class Gateway {
 public:
  static Result<std::unique_ptr<Gateway>> Open(GatewayOptions options);
  ~Gateway();

  MetadataStore& store() { return *store_; }
  Blocks& blocks() { return *blocks_; }
  Authenticator& auth() { return *auth_; }
  BatchApplier& batches() { return *batches_; }
  Collector& collector() { return *collector_; }
  Sessions& sessions() { return *sessions_; }
  HostLocks& locks() { return *locks_; }
  Bulletin& bulletin() { return *bulletin_; }
  StoreCheck& check() { return *check_; }
  AccessLog& access_log() { return access_log_; }
  const std::string& data_dir() const { return options_.data_dir; }

  Result<Workspace> CreateWorkspace(const std::string& name, const Quota& quota);
  // What is absent stays as it is.
  Result<Workspace> SetQuota(const std::string& name_or_id, const Quota& quota);
  Result<void> DeleteWorkspace(const std::string& name_or_id);
  // Called with the id of each workspace that was deleted; null: nobody any more. Before the server
  // starts, and after its shutdown.
  void WhenDeleted(std::function<void(const std::string& id)> call) { deleted_ = std::move(call); }
  // Asked for every session, as it is opened and as long as it lives. As WhenDeleted; null: nobody
  // knows, and sessions have to ask the services.
  void OfferWith(std::function<Offer(const Workspace&)> call) { offer_ = std::move(call); }
  std::optional<Offer> OfferFor(const Workspace& workspace) const {
    if (!offer_) return std::nullopt;
    return offer_(workspace);
  }
  // The next free inode numbers of a workspace.
  Result<InodeNo> GrantInodes(WorkspaceKey ws, uint64_t count);
  // False: it had been closed, by another gateway.
  Result<bool> CloseSession(const SessionRecord& session);
  // Ends those that nobody has heard of for a month, as housekeeping does now and then.
  void ForgetOldSessions();
  Capacity capacity() const;
  Result<GatewayReport> Report();

 private:
  explicit Gateway(GatewayOptions options);
  Result<void> Start();
  int64_t ScrubAgeNs() const;
  // Where sessions, locks and events are: in this process, or for several gateways in the store.
  Result<void> StartAlone();
  Result<void> StartShared(RedisStore& store);
  void Expire();
  void Housekeep();
  void ExpireSessions();
  Result<void> EndOldSession(const SessionId& id);
  void CollectGarbage();

  const GatewayOptions options_;
  UniqueFd directory_lock_;
  AccessLog access_log_;
  std::function<void(const std::string& id)> deleted_;
  std::function<Offer(const Workspace&)> offer_;
  std::unique_ptr<MetadataStore> store_;
  bool shared_ = false;  // with other gateways
  std::unique_ptr<Sessions> sessions_;
  std::unique_ptr<Bulletin> bulletin_;  // tells sessions_ from a thread of its own
  std::unique_ptr<HostLocks> locks_;
  std::unique_ptr<BlockStore> block_store_;
  std::unique_ptr<Blocks> blocks_;
  std::unique_ptr<Authenticator> auth_;
  std::unique_ptr<BatchApplier> batches_;
  std::unique_ptr<Collector> collector_;
  std::unique_ptr<StoreCheck> check_;

  std::mutex mu_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mu_
  std::thread expirer_;
  std::thread housekeeper_;
};

}  // namespace airstore::gateway
