// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/gateway.h"

#include <openssl/rand.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <utility>

#include "broker/log_event.h"
#include "shm/base/wipe.h"
#include "tools/gateway/data_directory.h"
#include "tools/gateway/session_table.h"
#include "tools/gateway/shared/redis_bulletin.h"
#include "tools/gateway/shared/redis_locks.h"
#include "tools/gateway/shared/redis_sessions.h"
#include "tools/gateway/store_url.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {
namespace {

constexpr std::chrono::seconds kExpiryInterval{1};
constexpr std::chrono::seconds kCollectInterval{60};
constexpr std::chrono::hours kScrubInterval{24};
constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr int64_t kForgetSessionsAfterNs = 30ll * 24 * 3600 * kNsPerSecond;
constexpr int64_t kMinScrubAgeNs = 2 * kMostStoringNs;

// The metadata keeps signed numbers.
bool Plausible(const Quota& quota) {
  return quota.bytes.value_or(0) <= INT64_MAX && quota.inodes.value_or(0) <= INT64_MAX;
}

std::string NewWorkspaceId() {
  unsigned char random[10];
  AIRSTORE_CHECK(RAND_bytes(random, sizeof random) == 1);
  std::string id = "ws_";
  for (const unsigned char byte : random) {
    id.push_back("0123456789abcdef"[byte >> 4]);
    id.push_back("0123456789abcdef"[byte & 15]);
  }
  return id;
}

}  // namespace

Result<std::unique_ptr<Gateway>> Gateway::Open(GatewayOptions options) {
  std::unique_ptr<Gateway> gateway(new Gateway(std::move(options)));
  AIRSTORE_TRY(gateway->Start());
  return gateway;
}

Gateway::Gateway(GatewayOptions options)
    : options_(std::move(options)), access_log_(options_.data_dir + "/access") {}

Result<void> Gateway::Start() {
  auto locked = LockDataDirectory(options_.data_dir);
  if (!locked) return locked.error();
  directory_lock_ = std::move(*locked);
  const std::string token_file = options_.admin_token_file.empty()
                                     ? options_.data_dir + "/admin-token"
                                     : options_.admin_token_file;
  auto secret = LoadOrCreateAdminSecret(token_file);
  if (!secret) return secret.error();
  const WipeAtEnd wipe(*secret);
  auto stores =
      OpenStores(options_.metadata.empty() ? MetadataIn(options_.data_dir) : options_.metadata,
                 options_.blocks.empty() ? BlocksIn(options_.data_dir) : options_.blocks);
  if (!stores) return stores.error();
  store_ = std::move(stores->metadata);
  shared_ = stores->redis != nullptr;
  block_store_ = std::move(stores->blocks);
  if (const std::string weakness = store_->weakness(); !weakness.empty()) {
    broker::LogEvent(spdlog::level::warn, {{"error", weakness}},
                     "fsync promises less than it should: {}", weakness);
  }

  blocks_ = std::make_unique<Blocks>(*block_store_, options_.cache_bytes);
  auth_ = std::make_unique<Authenticator>(*store_, *secret);
  batches_ = std::make_unique<BatchApplier>(
      *store_, *blocks_, [this](WorkspaceKey ws, const SessionId& by, const ChangeSet& changes) {
        return bulletin_->Publish(ws, by, changes);
      });
  collector_ =
      std::make_unique<Collector>(*store_, *blocks_, options_.gc_grace.count() * kNsPerSecond);
  AIRSTORE_TRY(stores->redis != nullptr ? StartShared(*stores->redis) : StartAlone());
  batches_->RegisterWith([this](const SessionRecord& session, const std::vector<InodeNo>& zones) {
    return sessions_->Register(session, zones);
  });
  CheckParts parts{*store_,     *blocks_,   *batches_,
                   *collector_, *sessions_, [this](WorkspaceKey ws) { return GrantInodes(ws, 1); }};
  if (stores->redis != nullptr) {
    parts.changed_elsewhere = [redis = stores->redis](WorkspaceKey ws, uint64_t* cursor) {
      return ChangedSince(*redis, ws, cursor);
    };
  }
  check_ = std::make_unique<StoreCheck>(std::move(parts), ScrubAgeNs());
  expirer_ = std::thread([this] { Expire(); });
  housekeeper_ = std::thread([this] { Housekeep(); });
  return {};
}

Result<void> Gateway::StartAlone() {
  auto bulletin = std::make_unique<LocalBulletin>(options_.watch_patience);
  auto locks =
      std::make_unique<LocalLocks>([this](WorkspaceKey ws, const SessionId& session, InodeNo ino) {
        bulletin_->LockFreed(ws, session, ino);
      });
  sessions_ = std::make_unique<SessionTable>(
      *store_, options_.session_lifetime,
      [this](WorkspaceKey ws, const SessionId& holder, uint64_t lease_id) {
        bulletin_->Recall(ws, holder, lease_id);
      },
      [this](const SessionRecord& session) -> Result<void> {
        AIRSTORE_TRY(locks_->Expire(session.workspace, session.id));
        return bulletin_->Forget(session.workspace, session.id);
      });
  sessions_->AskWith([this](WorkspaceKey ws, const SessionId& who, InodeNo zone) {
    bulletin_->AskToForget(ws, who, zone);
  });
  AIRSTORE_TRY(sessions_->Load());
  for (const SessionRecord& session : sessions_->LiveSessions()) {
    locks->Expect(session.workspace, session.id);
    bulletin->Expect(session.workspace, session.id);
  }
  locks_ = std::move(locks);
  bulletin_ = std::move(bulletin);
  return {};
}

Result<void> Gateway::StartShared(RedisStore& store) {
  auto bulletin = RedisBulletin::Open(store, options_.watch_patience);
  if (!bulletin) return bulletin.error();
  auto sessions = std::make_unique<RedisSessions>(
      store, options_.session_lifetime,
      [told = bulletin->get()](WorkspaceKey ws, const SessionId& holder, uint64_t lease_id) {
        told->Recall(ws, holder, lease_id);
      });
  sessions->AskWith([told = bulletin->get()](WorkspaceKey ws, const SessionId& who, InodeNo zone) {
    told->AskToForget(ws, who, zone);
  });
  AIRSTORE_TRY(sessions->Load());
  (*bulletin)->WhenHeard([of = sessions.get()](const RedisNews& news) { of->Hear(news); });
  locks_ = std::make_unique<RedisLocks>(
      store, [told = bulletin->get()](WorkspaceKey ws) { told->Trim(ws); });
  sessions_ = std::move(sessions);
  bulletin_ = std::move(*bulletin);
  return {};
}

Gateway::~Gateway() {
  {
    std::lock_guard lock(mu_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (expirer_.joinable()) expirer_.join();
  if (housekeeper_.joinable()) housekeeper_.join();
}

int64_t Gateway::ScrubAgeNs() const {
  return std::max(options_.gc_grace.count() * kNsPerSecond, kMinScrubAgeNs);
}

void Gateway::Expire() {
  std::unique_lock lock(mu_);
  while (!stop_.wait_for(lock, kExpiryInterval, [this] { return stopping_; })) {
    lock.unlock();
    ExpireSessions();
    lock.lock();
  }
}

void Gateway::Housekeep() {
  SteadyTime next_collect = SteadyNow();
  SteadyTime next_scrub = SteadyNow() + kCollectInterval;
  std::unique_lock lock(mu_);
  while (!stop_.wait_for(lock, kExpiryInterval, [this] { return stopping_; })) {
    lock.unlock();
    if (SteadyNow() >= next_collect) {
      CollectGarbage();
      next_collect =
          SteadyNow() + std::min(kCollectInterval, std::max(options_.gc_grace, kExpiryInterval));
    }
    if (SteadyNow() >= next_scrub) {
      ForgetOldSessions();
      auto scrubbed = collector_->Scrub(WallClockNs(), ScrubAgeNs());
      if (!scrubbed) {
        broker::LogEvent(spdlog::level::err, {{"error", scrubbed.error().ToString()}},
                         "scrub of blocks: {}", scrubbed.error().ToString());
      }
      next_scrub = SteadyNow() + kScrubInterval;
    }
    lock.lock();
  }
}

void Gateway::ExpireSessions() {
  const auto expired = sessions_->Expire(SteadyNow());
  if (!expired) {
    broker::LogEvent(spdlog::level::err, {{"error", expired.error().ToString()}},
                     "expiry of sessions: {}", expired.error().ToString());
  }
}

void Gateway::ForgetOldSessions() {
  std::vector<SessionId> old;
  if (auto reader = store_->Read()) {
    old = (*reader)->ListSessionsUnseenSince(WallClockNs() - kForgetSessionsAfterNs);
  }
  for (const SessionId& id : old) {
    // One that only reads is heard of without a trace in the store.
    if (sessions_->IsLive(id)) continue;
    if (auto ended = EndOldSession(id); !ended) {
      broker::LogEvent(spdlog::level::err, {{"error", ended.error().ToString()}},
                       "end of an old session: {}", ended.error().ToString());
    }
  }
}

Result<void> Gateway::EndOldSession(const SessionId& id) {
  std::optional<SessionRecord> session;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto reader = store_->Read();
    if (!reader) return reader.error();
    session = (*reader)->GetSession(id);
    return (*reader)->status();
  }));
  const auto ended = batches_->EndSession(id);
  if (!ended) return ended.error();
  // What it is told of its locks when it comes back is for a session that is there.
  if (session && *ended) return locks_->ReleaseSession(session->workspace, id);
  return {};
}

void Gateway::CollectGarbage() {
  const auto collected = collector_->Collect(WallClockNs());
  if (!collected) {
    broker::LogEvent(spdlog::level::err, {{"error", collected.error().ToString()}},
                     "collection of blocks: {}", collected.error().ToString());
  } else if (*collected > 0) {
    broker::LogEvent(spdlog::level::info, {{"blocks", std::to_string(*collected)}},
                     "collected {} blocks", *collected);
  }
}

Result<Workspace> Gateway::CreateWorkspace(const std::string& name, const Quota& quota) {
  if (!IsWorkspaceName(name)) return Error{EINVAL, "workspace name"};
  if (!Plausible(quota)) return Error{EINVAL, "quota"};
  return UntilNoConflict([&]() -> Result<Workspace> {
    auto writer = store_->Write();
    if (!writer) return writer.error();
    if ((*writer)->FindWorkspace(name)) return Error{EEXIST, "workspace exists"};
    Workspace workspace;
    workspace.id = NewWorkspaceId();
    workspace.name = name;
    workspace.created_ns = WallClockNs();
    workspace.inodes = 1;
    workspace.quota_bytes = quota.bytes.value_or(0);
    workspace.quota_inodes = quota.inodes.value_or(0);
    workspace.key = (*writer)->AddWorkspace(workspace);
    Inode root;
    root.ino = kRootInode;
    root.mode = S_IFDIR | 0755;
    root.nlink = 2;
    root.atime_ns = root.mtime_ns = root.ctime_ns = root.btime_ns = workspace.created_ns;
    (*writer)->PutInode(workspace.key, root);
    AIRSTORE_TRY((*writer)->Commit());
    return workspace;
  });
}

Result<Workspace> Gateway::SetQuota(const std::string& name_or_id, const Quota& quota) {
  if (!Plausible(quota)) return Error{EINVAL, "quota"};
  return UntilNoConflict([&]() -> Result<Workspace> {
    auto writer = store_->Write();
    if (!writer) return writer.error();
    auto workspace = (*writer)->FindWorkspace(name_or_id);
    AIRSTORE_TRY((*writer)->status());
    if (!workspace) return Error{ENOENT, NoWorkspace(name_or_id)};
    workspace->quota_bytes = quota.bytes.value_or(workspace->quota_bytes);
    workspace->quota_inodes = quota.inodes.value_or(workspace->quota_inodes);
    (*writer)->SetQuota(workspace->key, workspace->quota_bytes, workspace->quota_inodes);
    AIRSTORE_TRY((*writer)->Commit());
    return *workspace;
  });
}

Result<void> Gateway::DeleteWorkspace(const std::string& name_or_id) {
  WorkspaceKey key = 0;
  std::string id;
  const auto done = UntilNoConflict([&]() -> Result<void> {
    auto writer = store_->Write();
    if (!writer) return writer.error();
    const auto workspace = (*writer)->FindWorkspace(name_or_id);
    AIRSTORE_TRY((*writer)->status());
    if (!workspace) return Error{ENOENT, NoWorkspace(name_or_id)};
    key = workspace->key;
    id = workspace->id;
    (*writer)->DeleteWorkspace(key);
    return (*writer)->Commit();
  });
  if (!done) return done.error();
  sessions_->ForgetWorkspace(key);
  bulletin_->End(key, nullptr, nullptr);
  access_log_.Remove(id);
  if (deleted_) deleted_(id);
  return {};
}

Result<InodeNo> Gateway::GrantInodes(WorkspaceKey ws, uint64_t count) {
  return UntilNoConflict([&]() -> Result<InodeNo> {
    auto writer = store_->Write();
    if (!writer) return writer.error();
    const auto workspace = (*writer)->GetWorkspace(ws);
    AIRSTORE_TRY((*writer)->status());
    if (!workspace) return Error{ENOENT, "no such workspace"};
    if (workspace->next_inode > INT64_MAX - count) return Error{ENOSPC, "inode numbers"};
    (*writer)->SetNextInode(ws, workspace->next_inode + count);
    AIRSTORE_TRY((*writer)->Commit());
    return workspace->next_inode;
  });
}

Result<bool> Gateway::CloseSession(const SessionRecord& session) {
  const auto ended = batches_->EndSession(session.id);
  if (!ended) return ended.error();
  AIRSTORE_TRY(locks_->ReleaseSession(session.workspace, session.id));
  AIRSTORE_TRY(bulletin_->Forget(session.workspace, session.id));
  AIRSTORE_TRY(sessions_->Forget(session));
  bulletin_->End(session.workspace, &session.id, nullptr);
  return *ended;
}

Result<GatewayReport> Gateway::Report() {
  GatewayReport report;
  report.metadata = store_->kind();
  report.blocks = block_store_->kind();
  report.shared = shared_;
  const SteadyTime begun = SteadyNow();
  {
    auto reader = store_->Read();
    if (!reader) return reader.error();
    (void)(*reader)->FindToken("");
    AIRSTORE_TRY((*reader)->status());
  }
  report.read = std::chrono::duration_cast<std::chrono::microseconds>(SteadyNow() - begun);
  const auto sessions = sessions_->CountLive();
  if (!sessions) return sessions.error();
  report.sessions = *sessions;
  auto weakness = store_->WeaknessNow();
  if (!weakness) return weakness.error();
  report.weakness = std::move(*weakness);
  return report;
}

Capacity Gateway::capacity() const {
  // An object store does not say how much there is.
  constexpr uint64_t kBoundless = uint64_t{1} << 50;
  const std::string directory = block_store_->directory();
  if (directory.empty()) return {kBoundless, kBoundless};
  struct statvfs st;
  if (statvfs(directory.c_str(), &st) != 0) return {};
  return {st.f_blocks * st.f_frsize, st.f_bavail * st.f_frsize};
}

}  // namespace airstore::gateway
