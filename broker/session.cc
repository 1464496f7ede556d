// SPDX-License-Identifier: Apache-2.0
#include "broker/session.h"

#include <spdlog/spdlog.h>
#include <string.h>

#include <algorithm>
#include <filesystem>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/content_seal.h"
#include "broker/deadline.h"
#include "broker/durable_file.h"
#include "broker/lane_replay.h"
#include "broker/log_event.h"
#include "broker/mount.h"
#include "broker/mutation_names.h"
#include "broker/service_manager.h"
#include "broker/state_dir.h"
#include "broker/unheard_changes.h"

namespace airstore::broker {
namespace {

constexpr int64_t kStatfsFreshNs = 1'000'000'000;
constexpr uint64_t kMostUnsentBytes = 64u << 20;
constexpr int64_t kUnsentFreshNs = 100'000'000;  // counting looks at every file
// df is to answer, also without a gateway: the first time, and once it is known to be away.
constexpr int64_t kStatfsPatienceNs = 500'000'000;
constexpr int64_t kStatfsShortPatienceNs = 50'000'000;
constexpr int64_t kArrivalPatienceNs = 30'000'000'000;
constexpr auto kSyncLinger = std::chrono::seconds(1);

// Names stay longer than what they lead to; most of those known not to exist are in no listing.
shm::MetaWriter::Capacity CapacityFor(uint32_t inode_limit) {
  shm::MetaWriter::Capacity capacity;
  capacity.inodes = inode_limit + 1;
  capacity.dentries = 2 * inode_limit + kNegativeNames;
  capacity.long_names = std::max(inode_limit / 4, 1024u);
  return capacity;
}

}  // namespace

Session::Session(boost::asio::any_io_executor executor, boost::asio::thread_pool* workers,
                 std::shared_ptr<Gateway> gateway, const shm::SessionId& id,
                 const OpenedSession& opened, const SessionOptions& options)
    : executor_(executor),
      tasks_(executor),
      gateway_(std::move(gateway)),
      id_(id),
      opened_(opened),
      options_(options),
      workers_(workers),
      journal_space_(options.budget),
      lost_(std::filesystem::path(options.spool).parent_path().string(), HexOf(id),
            opened.workspace_name, options.gateway_address),
      lost_written_(executor),
      keep_alive_timer_(executor),
      sync_timer_(executor) {}

Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::Create(boost::asio::any_io_executor executor,
                                                 boost::asio::thread_pool* workers,
                                                 std::shared_ptr<Gateway> gateway,
                                                 const shm::SessionId& id,
                                                 const OpenedSession& opened,
                                                 const SessionOptions& options) {
  auto meta = shm::MetaWriter::Create(id, CapacityFor(options.inode_limit));
  if (!meta) return meta.error();
  std::unique_ptr<Session> session(
      new Session(executor, workers, std::move(gateway), id, opened, options));
  auto journal = SessionJournal::Create(JournalDirectory(options.spool),
                                        {.session = id, .keep_until_synced = true});
  if (!journal) return journal.error();
  session->journal_ = std::move(*journal);
  AIRSTORE_TRY(session->Assemble(workers, std::move(*meta), JournalState()));
  session->contents_->Start();
  session->NoteJournal();
  session->tree_->GrantInodes(opened.first_inode, opened.inode_count);
  auto root = session->inodes_->Insert(opened.root, false);
  if (!root) return root.error();
  session->inodes_->Update(shm::kRootInode,
                           [](shm::InodeRecord& record) { record.known_by = ~0ull; });
  session->log_->Start();
  session->Start();
  if (session->virtual_) {
    session->virtual_->Start(session->tree_.get(), session->inodes_.get(), false);
  }
  return session;
}

Result<std::unique_ptr<Session>> Session::Adopt(boost::asio::any_io_executor executor,
                                                boost::asio::thread_pool* workers,
                                                std::shared_ptr<Gateway> gateway,
                                                const SessionManifest& manifest, LeftTables tables,
                                                const SessionOptions& options) {
  OpenedSession opened;
  opened.workspace_id = manifest.workspace_id;
  opened.workspace_name = manifest.workspace;
  opened.principal = manifest.principal;
  opened.read_only = manifest.read_only;
  std::unique_ptr<Session> session(
      new Session(executor, workers, std::move(gateway), manifest.session, opened, options));
  shm::MetaWriter::Damage damage;
  auto meta = shm::MetaWriter::Adopt(manifest.session, *tables.meta, &damage);
  if (!meta) return meta.error();
  if (damage.inodes + damage.dentries + damage.directories != 0) {
    spdlog::warn("workspace {}: {} inodes and {} names in the tables made no sense",
                 manifest.workspace, damage.inodes, damage.dentries);
  }
  if ((*meta)->IndexOf(shm::kRootInode) == shm::kNoIndex) {
    return Error{EPROTO, "the tables have no root"};
  }
  JournalState left;
  auto journal =
      SessionJournal::Open(JournalDirectory(options.spool),
                           {.session = manifest.session, .keep_until_synced = true}, &left);
  if (!journal) return journal.error();
  session->journal_ = std::move(*journal);
  session->journal_torn_ = left.torn;
  if (left.incomplete) return Error{EPROTO, "parts of the journal cannot be read"};
  UnsealContentFiles(session->content_directory());
  auto others_gone = ReplayOtherLanes(options.spool, session->content_directory(), manifest.session,
                                      left.contents, tables.mounts);
  if (!others_gone) return others_gone.error();
  if (*others_gone) session->unheard_ = UnheardChanges(left);
  AIRSTORE_TRY(session->Assemble(workers, std::move(*meta), left));
  session->inodes_->Adopt(std::move(tables.slabs));
  session->log_->Restore(left);
  session->tree_->Adopt(left);
  AIRSTORE_TRY(session->contents_->Adopt(left, *others_gone));
  // Before anything else can ask the gateway: it tells the session's name.
  session->tasks_.Spawn(session->Resume());
  session->watcher_->Adopt(left.watch);
  if (session->virtual_) {
    session->virtual_->Start(session->tree_.get(), session->inodes_.get(), true);
  }
  return session;
}

void Session::FinishAdoption() {
  // Of mounts that are gone.
  uint64_t living = 0;
  for (const MountPort* mount : mounts_.all()) living |= 1ull << mount->index();
  inodes_->ForgetMounts(~living);
  inodes_->Update(shm::kRootInode, [](shm::InodeRecord& record) { record.known_by = ~0ull; });
  inodes_->AdoptStale();
  contents_->FinishAdoption();
  contents_->Start();
  tree_->ReclaimOrphans();
  locks_->Resume();
  if (unheard_) {
    for (const MountPort* mount : mounts_.all()) {
      tasks_.Spawn(mounts_.InvalidateAll(mount->index(), *unheard_));
    }
    unheard_.reset();
  }
  NoteJournal();
}

Result<void> Session::Assemble(boost::asio::thread_pool* workers,
                               std::unique_ptr<shm::MetaWriter> meta, const JournalState& left) {
  if (HaveServiceManager()) {
    auto tables = meta->segment().OpenReadOnly();
    if (tables) KeepDescriptor(NameOfTables(HexOf(id_)), tables->get());
  }
  inodes_ = std::make_unique<InodeCache>(
      std::move(meta), id_, options_.slab_limit, &mounts_,
      [this](const shm::Segment& segment) {
        for (MountPort* mount : mounts_.all()) static_cast<Mount*>(mount)->SendSlab(segment);
        if (!HaveServiceManager()) return;
        auto slab = segment.OpenReadOnly();
        if (slab) KeepDescriptor(NameOfSlab(HexOf(id_), segment.header().index), slab->get());
      },
      [this](uint32_t slab) {
        for (MountPort* mount : mounts_.all()) static_cast<Mount*>(mount)->SendSlabEnded(slab);
        ForgetDescriptor(NameOfSlab(HexOf(id_), slab));
      });
  ContentsOptions contents;
  contents.directory = content_directory();
  AIRSTORE_TRY(MakeDirectories(contents.directory, 0700));
  contents.limit_bytes = options_.content_limit;
  contents.debounce_ns = options_.debounce_ns;
  contents.debounce_max_ns = options_.debounce_max_ns;
  contents.patience_ns = options_.io_timeout_ns;
  contents.budget = options_.budget;
  contents.fetchers = options_.fetchers;
  for (const auto& [inode, attached] : left.contents.entries()) {
    contents.first_file = std::max(contents.first_file, attached.file + 1);
    contents.first_id = std::max(contents.first_id, attached.id + 1);
  }
  gateway_->Configure(options_.services);
  MakeVirtualTree();
  Gateway* const shown = virtual_ ? virtual_->gateway() : gateway_.get();
  contents_ = std::make_unique<Contents>(executor_, &tasks_, workers, inodes_.get(), shown,
                                         &mounts_, journal_.get(), contents);
  contents_->SetLimits(opened_.limits);
  contents_->SetKeepRefused(
      [this](RefusedContent content) { return KeepContent(std::move(content)); });
  log_ = std::make_unique<MutationLog>(
      executor_, &tasks_, gateway_.get(), journal_.get(), contents_.get(),
      [this](const Mutation& mutation, const std::vector<uint64_t>& subjects, int error) {
        Refused(mutation, subjects, error);
      },
      [this] { return Reopen(); });
  log_->SetLimits(opened_.limits);
  contents_->SetLog(log_.get());
  journal_sync_ =
      std::make_unique<JournalSync>(executor_, workers, &journal_->journal(), contents.directory);
  evictor_ = std::make_unique<Evictor>(executor_, &tasks_, inodes_.get(), contents_.get(),
                                       log_.get(), &mounts_);
  tree_ = std::make_unique<Tree>(executor_, &tasks_, inodes_.get(), shown, contents_.get(),
                                 log_.get(), &mounts_, evictor_.get());
  tree_->SetPatience(options_.io_timeout_ns);
  tree_->SetMaxFileBytes(opened_.limits.max_file_bytes);
  tree_->SetAdmitInode([this] { return AdmitInode(); });
  contents_->SetRefreshStale([this](uint64_t inode) { return tree_->Ensure(inode); });
  locks_ = std::make_unique<Locks>(executor_, &tasks_, gateway_.get(), journal_.get(),
                                   inodes_.get(), &mounts_, options_.io_timeout_ns);
  locks_->SetCoherence({[this](uint64_t inode) { return Publish(inode); },
                        [this](uint64_t inode) -> Task<int> {
                          auto fresh = co_await tree_->Ensure(inode);
                          const int error = fresh ? 0 : fresh.error().code;
                          co_return error == ESTALE || error == ENOENT
                              ? 0
                              : error;  // nobody writes it any more
                        }});
  if (gateway_->traits().lone_locks) locks_->Alone();
  watcher_ =
      std::make_unique<Watcher>(executor_, &tasks_, gateway_.get(), tree_.get(), contents_.get(),
                                log_.get(), locks_.get(), opened_, [this] { return Reopen(); });
  access_ = std::make_unique<AccessCollector>(
      executor_, &tasks_, &mounts_,
      [this](std::unordered_set<uint64_t> inodes) { return tree_->PathsOf(std::move(inodes)); },
      gateway_->services());
  log_->SetZones([this](const Mutation& mutation) { return tree_->ZoneOf(mutation); },
                 [this](uint64_t inode) { return tree_->ZoneOfInode(inode); });
  log_->OnLeaseLost([this] { watcher_->LeasesLost(); });
  tree_->OnSynchronous([this](uint64_t zone) { watcher_->Regain(zone); });
  tree_->MoveZonesWith([this](uint64_t zone) { return watcher_->BeginMoveOfZone(zone); },
                       [this](uint64_t zone) { watcher_->EndMoveOfZone(zone); });
  tree_->OnZoneRemoved([this](uint64_t zone) { return watcher_->ZoneRemoved(zone); });
  return {};
}

void Session::MakeVirtualTree() {
  const std::shared_ptr<GatewayServices> services = gateway_->services();
  if (!services) return;
  if (options_.services.virtual_nodes == "off") return;
  VirtualTreeOptions options;
  options.over_storage = options_.services.virtual_nodes == "on";
  options.first_era = gateway_->traits().first_era;
  options.gateway_address = options_.gateway_address;
  options.spool = options_.spool;
  options.socket_directory = options_.tool_socket_directory;
  options.session = HexOf(id_);
  options.shim = options_.shim;
  options.compressed = options_.services.compression != "off";
  options.io_timeout_ns = options_.io_timeout_ns;
  virtual_ = std::make_unique<VirtualTree>(executor_, &tasks_, gateway_, options);
}

void Session::NoteOffered() {
  const auto offered = gateway_->offered();
  // One that does not say is told, until it answers that it does not want to know.
  access_->Want(options_.services.access_log && (!offered || offered->access_log));
  if (virtual_) virtual_->overlay().NoteOffered();
}

void Session::Start() {
  NoteOffered();
  watcher_->Start();
  tasks_.Spawn(KeepAlive());
  // So that there is an answer when the gateway goes away.
  tasks_.Spawn(NoteStatfs());
}

Task<void> Session::Resume() {
  Backoff backoff;
  while (!closed_) {
    auto opened = co_await gateway_->Open(opened_.workspace_id, id_, false);
    if (opened) {
      if (auto continued = log_->Continue(opened->last_applied_sequence); continued) {
        opened_ = *opened;
        refused_.clear();
        break;
      } else {
        refused_ = "journal: " + continued.error().ToString();
      }
    } else {
      refused_ = "resuming the session: " + opened.error().ToString();
      LogEvent(spdlog::level::warn, {{"workspace", workspace()}, {"error", refused_}},
               "workspace {}: {}", workspace(), refused_);
      // What is pending goes the way of what a gateway refuses.
      if (opened.error().code == ENOENT) break;
    }
    co_await backoff.Wait(executor_);
  }
  if (closed_) co_return;
  if (gone()) NoteGone();
  contents_->SetLimits(opened_.limits);
  log_->SetLimits(opened_.limits);
  tree_->SetMaxFileBytes(opened_.limits.max_file_bytes);
  if (!gone()) tree_->AddSpareInodes(opened_.first_inode, opened_.inode_count);
  if (auto alive = co_await gateway_->KeepAlive(); alive) watcher_->LeaseIs(*alive);
  log_->Start();
  Start();
  tree_->FollowStale();
  spdlog::info("session resumed on workspace {}", workspace());
}

Task<Result<void>> Session::Arrive() {
  // A host that has died holds its lease for as long as a session lives without a sign of life.
  const int64_t patience_ns =
      kArrivalPatienceNs + int64_t{opened_.limits.session_seconds} * 1'000'000'000;
  co_return co_await watcher_->Arrive(MonotonicNs() + patience_ns);
}

Task<Result<StatFs>> Session::Statfs() {
  if (statfs_ && MonotonicNs() - statfs_at_ns_ < kStatfsFreshNs) co_return *statfs_;
  // Known to be away: nobody waits for it each time.
  const int64_t patience_ns = statfs_late_ ? kStatfsShortPatienceNs : kStatfsPatienceNs;
  if (statfs_ && statfs_late_ && asking_statfs_ != 0) co_return *statfs_;
  auto answer = co_await Before(MonotonicNs() + patience_ns, &tasks_, executor_, AskStatfs());
  if (answer) co_return *answer;
  // A gateway that is away is no reason for df to fail.
  statfs_late_ = true;
  if (statfs_) co_return *statfs_;
  co_return answer.error();
}

Task<Result<StatFs>> Session::AskStatfs() {
  const uint64_t question = ++statfs_asked_;
  ++asking_statfs_;
  auto answer = co_await gateway_->Statfs();
  --asking_statfs_;
  if (answer && question > statfs_answered_) {
    statfs_answered_ = question;
    statfs_ = *answer;
    statfs_at_ns_ = MonotonicNs();
    statfs_late_ = false;
    made_since_ = log_->pending();
  }
  co_return answer;
}

Task<void> Session::NoteStatfs() { (void)co_await AskStatfs(); }

Task<void> Session::CountAll() {
  contents_->FlushAll();
  auto settle = [](MutationLog* log) -> Task<Result<void>> {
    co_await log->Drain();
    co_return Result<void>{};
  };
  const int64_t deadline = MonotonicNs() + options_.io_timeout_ns;
  if (!co_await Before(deadline, &tasks_, executor_, settle(log_.get()))) co_return;
  (void)co_await Before(MonotonicNs() + kStatfsPatienceNs, &tasks_, executor_, AskStatfs());
}

Task<Result<void>> Session::AdmitInode() {
  if (!statfs_ || statfs_->quota_inodes == 0) co_return Result<void>{};
  if (made_since_ >= statfs_->free_inodes) co_await CountAll();
  if (made_since_ >= statfs_->free_inodes) co_return Error{EDQUOT, "inodes of the workspace"};
  ++made_since_;
  co_return Result<void>{};
}

Task<Result<void>> Session::AdmitBytes(uint64_t bytes) {
  if (!statfs_ || statfs_->quota_bytes == 0) co_return Result<void>{};
  if (statfs_->free_bytes < bytes) co_await CountAll();
  if (statfs_->free_bytes < bytes) co_return Error{EDQUOT, "bytes of the workspace"};
  if (const int64_t now = MonotonicNs(); now - statfs_at_ns_ > kStatfsFreshNs) {
    statfs_at_ns_ = now;  // asked once, however long the answer takes
    tasks_.Spawn(NoteStatfs());
  }
  co_return Result<void>{};
}

bool Session::too_much_unsent() {
  if (tree_->lease()) return false;
  if (const int64_t now = MonotonicNs(); now - unsent_counted_ns_ > kUnsentFreshNs) {
    unsent_counted_ns_ = now;
    too_much_unsent_ = contents_->dirty_bytes() > kMostUnsentBytes;
  }
  return too_much_unsent_;
}

Task<void> Session::Drain() {
  contents_->FlushAll();
  co_await log_->Drain();
}

Task<void> Session::Close() {
  closed_ = true;
  keep_alive_timer_.cancel();
  sync_timer_.cancel();
  if (virtual_) virtual_->Stop();
  co_await access_->Close();
  contents_->Stop();
  evictor_->Stop();
  tree_->Stop();
  co_await log_->Stop();
  watcher_->Stop();
  locks_->Stop();
  // A journal that is left while the files go must not ask for them.
  if (durable_) (void)co_await SyncJournal();
  if (auto closed = co_await gateway_->Close(); !closed) {
    spdlog::info("closing the session at the gateway: {}", closed.error().ToString());
  }
  co_await tasks_.Join();
  const std::string id = HexOf(id_);
  ForgetDescriptor(NameOfTables(id));
  for (const auto& slab : inodes_->slabs().segments()) {
    if (slab) ForgetDescriptor(NameOfSlab(id, slab->header().index));
  }
}

void Session::NoteJournal() {
  journal_space_.Set(journal_->journal().bytes());
  if (journal_->journal().keeps()) SyncSoon();
}

void Session::KeepThroughPowerLoss() {
  if (std::exchange(durable_, true)) return;
  contents_->KeepUntilSynced([this] { SyncSoon(); });
  log_->SetMakeDurable([this]() -> Task<void> {
    if (auto synced = co_await SyncJournal(); !synced) {
      spdlog::error("workspace {}: {}", workspace(), synced.error().ToString());
    }
  });
}

Task<Result<void>> Session::BeginKeepingThroughPowerLoss() {
  KeepThroughPowerLoss();
  auto names = [](std::vector<std::string> directories) -> Task<Result<void>> {
    for (const std::string& directory : directories) AIRSTORE_TRY_CO(SyncDirectory(directory));
    co_return Result<void>{};
  };
  const auto above = [](const std::string& path) {
    return std::filesystem::path(path).parent_path().string();
  };
  Task<Result<void>> naming =
      names({above(content_directory()), spool(), above(spool()), above(above(spool()))});
  AIRSTORE_TRY_CO(co_await boost::asio::co_spawn(workers_->get_executor(), std::move(naming),
                                                 boost::asio::use_awaitable));
  co_return co_await SyncJournal();
}

void Session::SyncSoon() {
  if (closed_ || std::exchange(syncing_soon_, true)) return;
  tasks_.Spawn(SyncLater());
}

Task<void> Session::SyncLater() {
  sync_timer_.expires_after(kSyncLinger);
  boost::system::error_code ignored;
  co_await sync_timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  syncing_soon_ = false;
  if (auto synced = co_await SyncJournal(); !synced) {
    spdlog::error("workspace {}: {}", workspace(), synced.error().ToString());
  }
  contents_->RemoveSynced();
}

Task<void> Session::KeepAlive() {
  constexpr std::chrono::milliseconds kFirstRetry(50), kLongestRetry(5000);
  const auto period =
      std::chrono::milliseconds(1000) * std::max(1u, opened_.limits.session_seconds / 3);
  std::chrono::milliseconds retry = kFirstRetry;
  bool lost = false;
  while (!closed_) {
    // A connection that was lost is no reason to lose leases and locks too.
    keep_alive_timer_.expires_after(lost ? retry : period);
    retry = lost ? std::min(2 * retry, kLongestRetry) : kFirstRetry;
    boost::system::error_code cancelled;
    co_await keep_alive_timer_.async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
    if (closed_ || cancelled) co_return;
    auto alive = co_await gateway_->KeepAlive();
    lost = !alive && alive.error().code == EAGAIN;
    if (!alive && alive.error().code == ESTALE) {
      (void)co_await Reopen();
    } else if (alive) {
      watcher_->LeaseIs(*alive);
      NoteOffered();
    }
  }
}

Task<Result<uint64_t>> Session::Reopen() {
  auto opened = co_await gateway_->Open(opened_.workspace_id, id_, false);
  if (!opened) {
    if (not_resumed_.Due()) {
      spdlog::warn("resuming the session failed: {}", opened.error().ToString());
    }
    if (opened.error().code == ENOENT) NoteGone();
    co_return opened.error();
  }
  spdlog::info("session resumed on workspace {}", workspace());
  co_return opened->last_applied_sequence;
}

// From here on nothing is acknowledged that could only be refused.
void Session::NoteGone() {
  refused_ = "the workspace does not exist any more";
  watcher_->LeaseIs(0);
}

// Its errors are for fsync and close.
Task<void> Session::Publish(uint64_t inode) {
  contents_->Refresh(inode);
  if (contents_->Flush(inode) != 0) co_await log_->WaitIdle(inode);
}

SessionStatus Session::Status() const {
  SessionStatus status;
  status.workspace = workspace();
  status.workspace_id = workspace_id();
  status.gateway = gateway_address();
  status.principal = principal();
  status.state = gateway_->state();
  status.protocol = gateway_->traits().protocol;
  status.write_lease = tree_->lease();
  for (const uint64_t zone : watcher_->HeldZones()) {
    status.leased_directories.push_back(tree_->DirectoryPath(zone));
  }
  status.dirty_bytes = contents_->dirty_bytes();
  status.pending_mutations = log_->pending();
  const int64_t oldest = log_->oldest_ns();
  status.oldest_dirty_ms =
      oldest == 0 ? 0 : static_cast<uint64_t>((MonotonicNs() - oldest) / 1'000'000);
  status.last_error = log_->last_error().empty() ? refused_ : log_->last_error();
  if (refused()) {
    status.last_error =
        "the gateway refuses the token; what is unsent is kept until there is another";
  } else if (gone()) {
    status.last_error = refused_;
  }
  status.journal_bytes = journal_->journal().bytes();
  status.refused_changes = refusals_;
  status.fetched_bytes = gateway_->counters().fetched_bytes;
  status.uploaded_bytes = gateway_->counters().uploaded_bytes;
  status.gateway_calls = gateway_->counters().calls;
  status.cached_inodes = inodes_->meta().inode_count();
  status.cached_dentries = inodes_->meta().dentry_count();
  status.slab_bytes = inodes_->slabs().used_bytes();
  status.content_file_bytes = contents_->file_bytes();
  status.mounts = static_cast<uint32_t>(mounts_.size());
  status.access_log = access_->wanted();
  status.access_sent = access_->sent();
  status.access_dropped = access_->dropped();
  status.access_waiting = access_->waiting();
  return status;
}

}  // namespace airstore::broker
