// SPDX-License-Identifier: Apache-2.0
#include "broker/recovery.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/content_seal.h"
#include "broker/lane_replay.h"
#include "broker/mutation_names.h"
#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

// Tries to end a session at the gateway that has nothing for it.
constexpr int kTriesToClose = 3;

}  // namespace

Recovery::Recovery(boost::asio::any_io_executor executor, boost::asio::thread_pool* workers,
                   std::string spool, SessionManifest manifest, MakeGateway make_gateway,
                   SpoolBudget* budget)
    : executor_(executor),
      workers_(workers),
      tasks_(executor),
      spool_(std::move(spool)),
      manifest_(std::move(manifest)),
      make_gateway_(std::move(make_gateway)),
      lost_(std::filesystem::path(spool_).parent_path().string(),
            HexOf(manifest_.session) + "." + std::to_string(RealtimeNs() / 1'000'000'000),
            manifest_.workspace, manifest_.gateway),
      space_(budget),
      power_lost_(!manifest_.boot_id.empty() && manifest_.boot_id != BootId()) {}

Recovery::~Recovery() {
  if (!done_) UnsealContentFiles(ContentPath());
}

void Recovery::Start() { tasks_.Spawn(Run()); }

std::string Recovery::ContentPath() const {
  return ContentDirectory(spool_, manifest_.store_dir, manifest_.session);
}

Task<void> Recovery::Run() {
  space_.Set(DiskBytesBelow(spool_) +
             (manifest_.store_dir.empty() ? 0 : DiskBytesBelow(ContentPath())));
  co_await ReadJournal();
  FinishElisions();
  UnsealContentFiles(ContentPath());  // an earlier recovery may have died
  co_await ApplyLanes();
  SealContents();
  Reach(FaultPoint::kRecoveryLanesApplied);
  if (!state_.empty()) {
    spdlog::info("workspace {}: going on with {} changes that were not sent", manifest_.workspace,
                 state_.pending.size());
  }
  const bool resumed = co_await Resume();
  Reach(FaultPoint::kRecoveryResumed);
  if (resumed) {
    co_await Send();
  }
  Reach(FaultPoint::kRecoverySent);
  co_await SyncJournal();  // it must not ask for files that are gone
  Finish();
}

Task<void> Recovery::ReadJournal() {
  const JournalOptions options{.session = manifest_.session, .keep_until_synced = true};
  Backoff backoff;
  for (;;) {
    auto opened = SessionJournal::Open(JournalDirectory(spool_), options, &state_);
    if (opened) {
      journal_ = std::move(*opened);
      torn_ = torn_ || state_.torn;
      journal_sync_ = std::make_unique<JournalSync>(executor_, workers_, &journal_->journal());
      error_.clear();
      co_return;
    }
    error_ = opened.error().ToString();
    spdlog::warn("{}: {}", spool_, error_);
    co_await backoff.Wait(executor_);
  }
}

// A file that was removed before it was ever sent: the times of its directory, which name it, come
// first in the journal, and the broker may have died before it wrote which changes they make
// needless. It needs no record here: all of them settle with the times. What comes behind those
// gives it a name again.
void Recovery::FinishElisions() {
  std::unordered_set<Ticket> numbered;
  for (const auto& [sequence, entry] : state_.numbered) numbered.insert(entry.ticket);
  std::unordered_map<uint64_t, std::vector<Ticket>> changes;  // by inode
  std::vector<Ticket> needless;
  for (const auto& [ticket, record] : state_.pending) {
    if (record.subjects.size() == 1) changes[record.subjects.front()].push_back(ticket);
    if (record.orphan == 0 || !std::holds_alternative<TouchOp>(record.mutation.op)) continue;
    for (const Ticket change : changes[record.orphan]) {
      if (!numbered.contains(change)) needless.push_back(change);
    }
    changes.erase(record.orphan);
  }
  for (const Ticket ticket : needless) state_.pending.erase(ticket);
}

Task<void> Recovery::SyncJournal() {
  if (auto synced = co_await journal_sync_->Sync(); !synced) {
    spdlog::error("{}: {}", spool_, synced.error().ToString());
  }
}

Task<void> Recovery::ApplyLanes() {
  if (power_lost_) {
    spdlog::info("workspace {}: the machine has booted since; what was on its disk counts",
                 manifest_.workspace);
    DropLanes(spool_);
    co_return;
  }
  Backoff backoff;
  for (;;) {
    bool unread = false;
    auto replayed = co_await ReplayLanes(executor_, spool_, ContentPath(), manifest_.session,
                                         state_.contents, &unread);
    if (unread) state_.incomplete = true;
    error_ = replayed ? "" : replayed.error().ToString();
    if (replayed) co_return;
    spdlog::warn("{}: {}", spool_, error_);
    co_await backoff.Wait(executor_);
  }
}

Task<bool> Recovery::Resume() {
  Backoff backoff;
  for (int tries = 1;; ++tries) {
    auto made = make_gateway_(manifest_.gateway, manifest_.token);
    if (made.value) {
      gateway_ = *made.value;
      gateway_->Assume(manifest_.protocol);
      auto opened = co_await gateway_->Open(manifest_.workspace_id, manifest_.session, false);
      if (opened) {
        limits_ = opened->limits;
        last_applied_ = opened->last_applied_sequence;
        stuck_ = false;
        error_.clear();
        co_return true;
      }
      error_ = opened.error().ToString();
      if (opened.error().code == ENOENT) {
        GiveUp(ENOENT);
        co_return false;
      }
      stuck_ = opened.error().code == EACCES;
    } else {
      error_ = made.failure.message;
    }
    if (state_.empty() && tries == kTriesToClose) co_return false;
    spdlog::warn("workspace {}: resuming the session failed, will retry: {}", manifest_.workspace,
                 error_);
    co_await backoff.Wait(executor_);
  }
}

Task<void> Recovery::Send() {
  const Uploader with{executor_, &tasks_, workers_, gateway_.get()};
  contents_ = std::make_unique<ReplayContents>(
      with, limits_, ContentPath(), state_, journal_.get(),
      [this](uint64_t inode, const ReplayContents::File& file, int error) {
        Lose(LostItem{.what = "content",
                      .path = PathOf(inode),
                      .inode = inode,
                      .error = error,
                      .size = file.size,
                      .file = ""},
             file.path);
      },
      power_lost_);
  log_ = std::make_unique<MutationLog>(
      executor_, &tasks_, gateway_.get(), journal_.get(), contents_.get(),
      [this](const Mutation& mutation, const std::vector<uint64_t>& /*subjects*/, int error) {
        Refused(mutation, error);
      },
      [this]() -> Task<Result<uint64_t>> {
        auto opened = co_await gateway_->Open(manifest_.workspace_id, manifest_.session, false);
        if (!opened) co_return opened.error();
        co_return opened->last_applied_sequence;
      });
  log_->SetLimits(limits_);
  // What was acknowledged under a lease comes first, while that lasts.
  log_->SetLease(state_.watch.lease_id);
  log_->OnLeaseLost([] {});
  log_->SetMakeDurable([this] { return SyncJournal(); });
  Backoff backoff;
  log_->Restore(state_);
  for (;;) {
    auto restored = log_->Continue(last_applied_);
    if (restored) break;
    error_ = restored.error().ToString();
    co_await backoff.Wait(executor_);
  }
  error_.clear();
  for (const uint64_t inode : contents_->inodes()) log_->AppendContent(inode);
  log_->Start();
  while (log_->pending() != 0) co_await log_->Drain();
  co_await log_->Stop();
  if (auto closed = co_await gateway_->Close(); !closed) {
    spdlog::info("closing the session at the gateway: {}", closed.error().ToString());
  }
}

// Programs may have files open still, of mounts that are gone.
void Recovery::SealContents() {
  for (const auto& [inode, entry] : state_.contents.entries()) {
    if (!entry.dirty || entry.orphan) continue;
    const std::string path = ContentPath() + "/" + std::to_string(entry.file);
    if (!SealContentFile(path)) spdlog::debug("{} cannot be sealed", path);
  }
}

void Recovery::Finish() {
  journal_sync_.reset();
  journal_.reset();
  UnsealContentFiles(ContentPath());
  if (state_.incomplete && !KeepRest()) return;
  std::error_code ignored;
  std::filesystem::remove_all(ContentPath(), ignored);
  Reach(FaultPoint::kRecoveryContentRemoved);
  RemoveSessionSpool(spool_);
  space_.Set(0);
  spdlog::info("workspace {}: nothing is left of the earlier session{}", manifest_.workspace,
               lost_.empty() ? "" : " but what is in " + lost_.directory());
  done_ = true;
}

// Parts of the journal, or lanes, could not be read: what they were about is in no other place.
// False: it could not be moved, and is looked at again by the next broker.
bool Recovery::KeepRest() {
  const std::filesystem::path spool = spool_;
  const std::filesystem::path kept =
      spool.parent_path() / kLostFoundDirectory / (spool.filename().string() + ".unread");
  std::error_code failed;
  std::filesystem::create_directories(kept.parent_path(), failed);
  if (!manifest_.store_dir.empty()) {
    // It may have been begun before.
    std::filesystem::copy(ContentPath(), spool / "content",
                          std::filesystem::copy_options::recursive |
                              std::filesystem::copy_options::overwrite_existing,
                          failed);
  }
  if (!failed) std::filesystem::rename(spool, kept, failed);
  if (failed) {
    error_ = "keep what cannot be read as " + kept.string() + ": " + failed.message();
    spdlog::error("{}", error_);
    return false;
  }
  std::error_code ignored;
  std::filesystem::remove(kept / kSessionManifestFile, ignored);  // for its token
  spdlog::error("workspace {}: parts of what is left cannot be read; all of it is kept as {}",
                manifest_.workspace, kept.string());
  return true;
}

// Nothing of it will ever be taken.
void Recovery::GiveUp(int error) {
  for (const auto& [ticket, record] : state_.pending) Refused(record.mutation, error);
  for (const auto& [inode, entry] : state_.contents.entries()) {
    if (!entry.dirty || entry.orphan) continue;
    const std::string path = ContentPath() + "/" + std::to_string(entry.file);
    std::error_code failed;
    const uint64_t size = std::filesystem::file_size(path, failed);
    Lose(LostItem{.what = "content",
                  .path = PathOf(inode),
                  .inode = inode,
                  .error = error,
                  .size = failed ? 0 : size,
                  .file = ""},
         path);
  }
}

void Recovery::Refused(const Mutation& mutation, int error) {
  // Content has been dealt with, and a touch is nothing that could be lost.
  if (std::holds_alternative<WriteOp>(mutation.op) ||
      std::holds_alternative<TouchOp>(mutation.op)) {
    return;
  }
  const uint64_t inode = SubjectOf(mutation);
  Lose(LostItem{.what = MutationName(mutation),
                .path = PathOf(inode),
                .inode = inode,
                .error = error,
                .file = ""},
       "");
}

void Recovery::Lose(LostItem item, const std::string& content) {
  const LostFound earlier(std::filesystem::path(spool_).parent_path().string(),
                          HexOf(manifest_.session), manifest_.workspace, manifest_.gateway);
  if (!content.empty() && !earlier.FindKept(item.inode, content).empty()) return;
  const bool torn = power_lost_ && item.error == kCutByPowerLoss;
  spdlog::error("workspace {}: {} {} of inode {} ({}): {}; see {}", manifest_.workspace,
                torn ? "a loss of power has cut" : "the gateway refused", item.what, item.inode,
                item.path, strerror(item.error), lost_.directory());
  if (!content.empty()) UnsealContentFile(content);  // it is moved
  if (auto kept = lost_.Keep(std::move(item), content); !kept) {
    spdlog::error("{}", kept.error().ToString());
    state_.incomplete = true;  // so that all of the spool is kept
  }
}

// As far as unsent changes tell: names that the gateway knows are not here.
std::string Recovery::PathOf(uint64_t inode) const {
  std::string path;
  std::unordered_map<uint64_t, std::pair<uint64_t, std::string>> names;
  for (const auto& [ticket, record] : state_.pending) {
    const auto name = [&](uint64_t parent, const std::string& text, uint64_t of) {
      names[of] = {parent, text};
    };
    if (const auto* create = std::get_if<CreateOp>(&record.mutation.op)) {
      name(create->parent, create->name, create->inode);
    } else if (const auto* link = std::get_if<LinkOp>(&record.mutation.op)) {
      name(link->parent, link->name, link->inode);
    } else if (const auto* rename = std::get_if<RenameOp>(&record.mutation.op)) {
      if (!record.subjects.empty()) {
        name(rename->new_parent, rename->new_name, record.subjects.front());
      }
    }
  }
  for (uint64_t at = inode; at != shm::kRootInode;) {
    const auto found = names.find(at);
    if (found == names.end()) return "inode " + std::to_string(at) + path;
    path = "/" + found->second.second + path;
    at = found->second.first;
    names.erase(found);
  }
  return path;
}

size_t Recovery::pending() const {
  if (done_) return 0;
  return log_ ? log_->pending() : state_.pending.size();
}

uint64_t Recovery::dirty_bytes() const {
  if (done_ || !contents_) return 0;
  return contents_->dirty_bytes();
}

const std::string& Recovery::last_error() const {
  return log_ && !log_->last_error().empty() ? log_->last_error() : error_;
}

void Recovery::SetToken(const std::string& token) {
  manifest_.token = token;
  stuck_ = false;
  if (auto written = WriteManifest(spool_, manifest_); !written) {
    spdlog::warn("{}", written.error().ToString());
  }
}

void Recovery::Hurry() {
  if (log_) log_->Hurry();
}

SessionStatus Recovery::Status() const {
  SessionStatus status;
  status.workspace = manifest_.workspace;
  status.workspace_id = manifest_.workspace_id;
  status.gateway = manifest_.gateway;
  status.principal = manifest_.principal;
  status.state = "recovering";
  status.protocol = manifest_.protocol;
  status.pending_mutations = pending();
  status.dirty_bytes = dirty_bytes();
  status.last_error = last_error();
  if (log_ && log_->oldest_ns() != 0) {
    status.oldest_dirty_ms = static_cast<uint64_t>((MonotonicNs() - log_->oldest_ns()) / 1'000'000);
  }
  if (journal_) status.journal_bytes = journal_->journal().bytes();
  if (gateway_) {
    status.uploaded_bytes = gateway_->counters().uploaded_bytes;
    status.gateway_calls = gateway_->counters().calls;
  }
  return status;
}

}  // namespace airstore::broker
