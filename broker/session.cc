// SPDX-License-Identifier: Apache-2.0
#include "broker/session.h"

#include <spdlog/spdlog.h>
#include <string.h>

#include <filesystem>

#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/mount.h"
#include "broker/mutation_names.h"
#include "broker/state_dir.h"

namespace airstore::broker {
namespace {

constexpr int64_t kStatfsFreshNs = 1'000'000'000;
constexpr int64_t kStatfsPatienceNs = 500'000'000;  // df is to answer, also without a gateway
constexpr int64_t kArrivalPatienceNs = 30'000'000'000;

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
      keep_alive_timer_(executor) {}

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
  Session* self = session.get();
  session->inodes_ =
      std::make_unique<InodeCache>(std::move(*meta), id, options.slab_limit, &session->mounts_,
                                   [self](const shm::Segment& segment) {
                                     for (MountPort* mount : self->mounts_.all()) {
                                       static_cast<Mount*>(mount)->SendSlab(segment);
                                     }
                                   });
  auto journal = SessionJournal::Create(JournalDirectory(options.spool), {.session = id});
  if (!journal) return journal.error();
  session->journal_ = std::move(*journal);
  ContentsOptions contents;
  contents.directory = session->content_directory();
  AIRSTORE_TRY(MakeDirectories(contents.directory, 0700));
  contents.limit_bytes = options.content_limit;
  contents.debounce_ns = options.debounce_ns;
  contents.debounce_max_ns = options.debounce_max_ns;
  contents.patience_ns = options.io_timeout_ns;
  contents.budget = options.budget;
  session->contents_ = std::make_unique<Contents>(
      executor, &self->tasks_, workers, session->inodes_.get(), session->gateway_.get(),
      &session->mounts_, session->journal_.get(), contents);
  session->contents_->SetLimits(opened.limits);
  session->contents_->SetKeepRefused(
      [self](RefusedContent content) { return self->KeepContent(std::move(content)); });
  session->NoteJournal();
  session->log_ = std::make_unique<MutationLog>(
      executor, &self->tasks_, session->gateway_.get(), session->journal_.get(),
      session->contents_.get(),
      [self](const Mutation& mutation, int error) { self->Refused(mutation, error); },
      [self] { return self->Reopen(); });
  session->log_->SetLimits(opened.limits);
  session->contents_->SetLog(session->log_.get());
  session->evictor_ =
      std::make_unique<Evictor>(executor, &self->tasks_, session->inodes_.get(),
                                session->contents_.get(), session->log_.get(), &session->mounts_);
  session->tree_ = std::make_unique<Tree>(
      executor, &self->tasks_, session->inodes_.get(), session->gateway_.get(),
      session->contents_.get(), session->log_.get(), &session->mounts_, session->evictor_.get());
  session->tree_->GrantInodes(opened.first_inode, opened.inode_count);
  session->tree_->SetPatience(options.io_timeout_ns);
  session->tree_->SetAdmitInode([self] { return self->AdmitInode(); });
  session->contents_->SetRefreshStale(
      [self](uint64_t inode) { return self->tree_->Ensure(inode); });
  session->watcher_ = std::make_unique<Watcher>(
      executor, &self->tasks_, session->gateway_.get(), session->tree_.get(),
      session->contents_.get(), session->log_.get(), opened, [self] { return self->Reopen(); });
  session->log_->OnLeaseLost([self] { self->watcher_->LeaseIs(0); });
  session->tree_->OnSynchronous([self] { self->watcher_->Regain(); });
  auto root = session->inodes_->Insert(opened.root, false);
  if (!root) return root.error();
  session->inodes_->Update(shm::kRootInode,
                           [](shm::InodeRecord& record) { record.known_by = ~0ull; });
  session->log_->Start();
  session->watcher_->Start();
  session->tasks_.Spawn(self->KeepAlive());
  // So that there is an answer when the gateway goes away.
  session->tasks_.Spawn(self->AskStatfs());
  return session;
}

Task<Result<void>> Session::Arrive() {
  // A host that has died holds its lease for as long as a session lives without a sign of life.
  const int64_t patience_ns =
      kArrivalPatienceNs + int64_t{opened_.limits.session_seconds} * 1'000'000'000;
  co_return co_await watcher_->Arrive(MonotonicNs() + patience_ns);
}

Task<Result<StatFs>> Session::Statfs() {
  if (statfs_ && MonotonicNs() - statfs_at_ns_ < kStatfsFreshNs) co_return *statfs_;
  auto answer =
      co_await Before(MonotonicNs() + kStatfsPatienceNs, &tasks_, executor_, gateway_->Statfs());
  if (answer) {
    statfs_ = *answer;
    statfs_at_ns_ = MonotonicNs();
    made_since_ = log_->pending();
    co_return *answer;
  }
  // A gateway that is away is no reason for df to fail.
  if (statfs_) co_return *statfs_;
  co_return answer.error();
}

Task<void> Session::AskStatfs() { (void)co_await Statfs(); }

Task<void> Session::CountAll() {
  contents_->FlushAll();
  auto settle = [](MutationLog* log) -> Task<Result<void>> {
    co_await log->Drain();
    co_return Result<void>{};
  };
  const int64_t deadline = MonotonicNs() + options_.io_timeout_ns;
  if (!co_await Before(deadline, &tasks_, executor_, settle(log_.get()))) co_return;
  statfs_at_ns_ = 0;
  (void)co_await Statfs();
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
  if (MonotonicNs() - statfs_at_ns_ > kStatfsFreshNs) tasks_.Spawn(AskStatfs());
  co_return Result<void>{};
}

Task<void> Session::Drain() {
  contents_->FlushAll();
  co_await log_->Drain();
}

Task<void> Session::Close() {
  closed_ = true;
  keep_alive_timer_.cancel();
  contents_->Stop();
  evictor_->Stop();
  tree_->Stop();
  co_await log_->Stop();
  watcher_->Stop();
  if (auto closed = co_await gateway_->Close(); !closed) {
    spdlog::info("closing the session at the gateway: {}", closed.error().ToString());
  }
  co_await tasks_.Join();
}

Task<void> Session::KeepAlive() {
  while (!closed_) {
    keep_alive_timer_.expires_after(std::chrono::milliseconds(1000) *
                                    std::max(1u, opened_.limits.session_seconds / 3));
    boost::system::error_code cancelled;
    co_await keep_alive_timer_.async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
    if (closed_ || cancelled) co_return;
    auto alive = co_await gateway_->KeepAlive();
    if (!alive && alive.error().code == ESTALE) {
      (void)co_await Reopen();
    } else if (alive) {
      watcher_->LeaseIs(*alive);
    }
  }
}

Task<Result<uint64_t>> Session::Reopen() {
  auto opened = co_await gateway_->Open(opened_.workspace_id, id_, false);
  if (!opened) {
    spdlog::warn("resuming the session failed: {}", opened.error().ToString());
    co_return opened.error();
  }
  spdlog::info("session resumed on workspace {}", workspace());
  co_return opened->last_applied_sequence;
}

SessionStatus Session::Status() const {
  SessionStatus status;
  status.workspace = workspace();
  status.workspace_id = workspace_id();
  status.gateway = gateway_address();
  status.principal = principal();
  status.state = gateway_->state();
  status.write_lease = tree_->lease();
  status.dirty_bytes = contents_->dirty_bytes();
  status.pending_mutations = log_->pending();
  const int64_t oldest = log_->oldest_ns();
  status.oldest_dirty_ms =
      oldest == 0 ? 0 : static_cast<uint64_t>((MonotonicNs() - oldest) / 1'000'000);
  status.last_error = log_->last_error().empty() ? refused_ : log_->last_error();
  if (refused()) {
    status.last_error =
        "the gateway refuses the token; what is unsent is kept until there is another";
  }
  status.fetched_bytes = gateway_->counters().fetched_bytes;
  status.uploaded_bytes = gateway_->counters().uploaded_bytes;
  status.gateway_calls = gateway_->counters().calls;
  status.cached_inodes = inodes_->meta().inode_count();
  status.cached_dentries = inodes_->meta().dentry_count();
  status.slab_bytes = inodes_->slabs().used_bytes();
  status.content_file_bytes = contents_->file_bytes();
  status.mounts = static_cast<uint32_t>(mounts_.size());
  return status;
}

}  // namespace airstore::broker
