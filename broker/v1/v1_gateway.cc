// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/v1_gateway.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "broker/clock.h"
#include "broker/v1/applier.h"
#include "broker/v1/resolver.h"
#include "broker/v1/site.h"

namespace airstore::broker::v1 {
namespace {

constexpr uint64_t kInodesOnOpening = 1024;
constexpr char kUnnamed[] = "v1";

class V1Gateway final : public Gateway {
 public:
  V1Gateway(const boost::asio::any_io_executor& loop, std::unique_ptr<ContextClient> client,
            const V1Options& options)
      : options_(options),
        site_(loop, std::move(client), options.age),
        resolver_(&site_),
        applier_(&site_, &resolver_) {
    site_.uid = options.uid;
    site_.gid = options.gid;
    site_.first_era = options.first_era;
    site_.opened_ns = RealtimeNs() / 1'000'000'000 * 1'000'000'000;
  }

  Task<Result<OpenedSession>> Open(const std::string& workspace,
                                   const std::array<uint8_t, 16>& session_id,
                                   bool want_write_lease) override;
  Task<Result<void>> Close() override { co_return Result<void>{}; }
  Task<Result<uint64_t>> KeepAlive() override { co_return uint64_t{0}; }
  // There are none: every change waits for the gateway.
  Task<Result<AcquiredLease>> AcquireLease(uint64_t) override { co_return AcquiredLease{}; }
  Task<Result<void>> ReleaseLease(uint64_t) override { co_return Result<void>{}; }
  std::unique_ptr<WatchStream> Watch(uint64_t) override { return site_.aging.Watch(); }
  Task<Result<void>> AckWatch(uint64_t) override { co_return Result<void>{}; }
  Task<Result<std::pair<uint64_t, uint64_t>>> AllocateInodes(uint64_t count) override {
    if (!site_.state) co_return Error{EAGAIN, "no session"};
    co_return std::make_pair(site_.state->TakeInodes(count), count);
  }
  Task<Result<std::vector<ResolveResult>>> Resolve(std::vector<ResolveItem> items) override {
    if (!site_.state) co_return Error{EAGAIN, "no session"};
    co_return co_await resolver_.Resolve(std::move(items));
  }
  Task<Result<Fetched>> Fetch(uint64_t inode, uint64_t offset, uint64_t length) override {
    if (!site_.state) co_return Error{EAGAIN, "no session"};
    co_return co_await resolver_.Fetch(inode, offset, length);
  }
  Task<Result<void>> PutBlock(const BlockId& id, std::string data) override {
    auto kept = site_.blocks.Put(id, data);
    // ENOENT has another meaning here.
    if (!kept && kept.error().code == ENOENT) co_return Error{EIO, kept.error().message};
    co_return kept;
  }
  Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t>) override {
    if (!site_.state) co_return Error{EAGAIN, "no session"};
    co_return co_await applier_.Apply(std::move(batch));
  }
  // Locks are this host's alone: traits().lone_locks.
  Task<Result<LockVerdict>> Lock(LockCall, LockAsk) override { co_return LockVerdict{}; }
  Task<Result<void>> CancelLock(uint64_t) override { co_return Result<void>{}; }
  Task<Result<AssertedLocks>> AssertLocks(std::vector<LockCall>) override {
    co_return AssertedLocks{};
  }
  Task<Result<StatFs>> Statfs() override;

  GatewayTraits traits() const override;
  std::shared_ptr<GatewayServices> services() override { return site_.client->services(); }
  void Configure(const ServiceSettings& settings) override {
    Gateway::Configure(settings);
    site_.client->Configure(settings);
  }
  void Reconnect() override { site_.client->Reconnect(); }
  void SetToken(Secret token) override { site_.client->SetToken(std::move(token)); }
  const GatewayCounters& counters() const override { return site_.client->counters(); }
  std::string state() const override { return site_.client->state(); }

 private:
  const V1Options options_;
  Site site_;
  Resolver resolver_;
  Applier applier_;
};

Task<Result<OpenedSession>> V1Gateway::Open(const std::string& workspace,
                                            const std::array<uint8_t, 16>& session_id, bool) {
  auto root = co_await site_.client->Stat("");
  if (!root) co_return root.error();
  if ((root->mode & S_IFMT) != S_IFDIR) {
    co_return Error{EPROTO, "the root of the workspace is not a directory"};
  }
  // Refused by all; how tells what kind of gateway it is.
  (void)co_await site_.client->Readlink("");
  if (!site_.state) {
    const std::string directory = options_.directory_of(session_id);
    auto state = std::make_unique<SessionState>(directory);
    if (auto loaded = state->Load(); !loaded) co_return loaded.error();
    if (state->workspace.empty()) state->workspace = workspace.empty() ? kUnnamed : workspace;
    site_.state = std::move(state);
    site_.blocks.SetDirectory(directory);
  }
  OpenedSession opened;
  // The token decides which workspace it is, and nobody says.
  opened.workspace_id = opened.workspace_name = site_.state->workspace;
  opened.principal = "token";
  opened.resumed = site_.state->last_done() != 0;
  opened.last_applied_sequence = site_.state->last_done();
  opened.read_only = site_.client->manners().read_only;
  opened.root = site_.Describe(kRoot, *root, "");
  opened.first_inode = site_.state->TakeInodes(kInodesOnOpening);
  opened.inode_count = kInodesOnOpening;
  opened.limits.max_batch_mutations = 100;
  opened.limits.max_inline_bytes = 256u << 10;
  opened.limits.max_file_bytes = site_.exact() ? opened.limits.max_file_bytes : kMostOfTheOriginal;
  co_return opened;
}

// v1 tells nothing of it. Programs that look for room shall find some.
Task<Result<StatFs>> V1Gateway::Statfs() {
  StatFs told;
  told.total_bytes = 1ull << 42;
  told.free_bytes = told.total_bytes / 2;
  told.total_inodes = 1u << 20;
  told.free_inodes = told.total_inodes / 2;
  co_return told;
}

GatewayTraits V1Gateway::traits() const {
  GatewayTraits traits;
  traits.protocol = "v1";
  traits.first_era = site_.first_era;
  traits.lone_locks = true;
  traits.zones = false;
  traits.owner = GatewayTraits::Owner{options_.uid, options_.gid};
  traits.modes = !site_.first_era && site_.keeps_modes;
  traits.times = traits.hard_links = traits.special_files = traits.xattrs = false;
  traits.exchange = traits.any_names = traits.keeps_nameless = false;
  traits.shows_all_names = site_.exact();
  return traits;
}

}  // namespace

std::unique_ptr<Gateway> MakeV1Gateway(const boost::asio::any_io_executor& loop,
                                       std::unique_ptr<ContextClient> client,
                                       const V1Options& options) {
  return std::make_unique<V1Gateway>(loop, std::move(client), options);
}

}  // namespace airstore::broker::v1
