// SPDX-License-Identifier: Apache-2.0
//
// What earlier brokers have left in the spool. A session with mounts that can be served goes on as
// it is; of any other one the changes are brought to the gateway.
//
// All of it happens before the loop runs: until every mount is there nobody may act upon tables
// that they all share.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/fuse_device.h"
#include "broker/log_event.h"
#include "broker/mount_ledger.h"
#include "broker/orphans.h"
#include "broker/service_manager.h"

namespace airstore::broker {
namespace {

constexpr int kMostTriesToSettle = 100;
constexpr auto kSettlePause = std::chrono::milliseconds(100);

// The writer that began last has the newest tables: all that it took over, and more.
Result<std::unique_ptr<shm::Segment>> NewestTables(std::vector<LeftMount>* mounts,
                                                   const shm::SessionId& session) {
  std::unique_ptr<shm::Segment> newest;
  Error last{ENOENT, "no tables"};
  for (LeftMount& mount : *mounts) {
    auto meta = shm::Segment::Attach(std::move(mount.link.meta),
                                     {shm::SegmentKind::kMeta, session, 0}, false);
    if (!meta) {
      last = meta.error();
      continue;
    }
    if (!newest || newest->header().creator_start_ticks < (*meta)->header().creator_start_ticks) {
      newest = std::move(*meta);
    }
  }
  if (!newest) return last;
  return newest;
}

std::vector<std::unique_ptr<shm::Segment>> SlabsOf(std::vector<LeftMount>* mounts,
                                                   const shm::SessionId& session) {
  std::map<uint32_t, std::unique_ptr<shm::Segment>> by_index;
  for (LeftMount& mount : *mounts) {
    for (auto& [index, fd] : mount.link.slabs) {
      if (by_index.contains(index)) continue;
      auto slab =
          shm::Segment::Attach(std::move(fd), {shm::SegmentKind::kSlab, session, index}, false);
      if (slab) by_index.emplace(index, std::move(*slab));
    }
  }
  std::vector<std::unique_ptr<shm::Segment>> slabs;
  for (auto& [index, slab] : by_index) slabs.push_back(std::move(slab));
  return slabs;
}

// A registration keeps the dead broker's descriptor open, and that a lease on the content file if
// it died while it asked who has the file open (HeldElsewhere): opening the file would wait for
// long.
void CloseIdleBackings(const std::string& session_spool, const LeftMount& mount,
                       uint32_t inode_capacity) {
  auto ledger = MountLedger::Adopt(
      session_spool + "/" + MountLedger::FileName(mount.manifest.index), inode_capacity);
  if (!ledger) return;                               // said when the mount is taken over
  if (mount.manifest.spec.backend == "nfs") return;  // it has none
  for (const int32_t id : (*ledger)->IdleBackings()) {
    FuseDevice::BackingClose(mount.link.device.get(), id);
    (*ledger)->RemoveBacking(id);
  }
}

}  // namespace

void Broker::TakeUpSpool() {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(spool_, ignored)) {
    const std::string path = entry.path();
    if (entry.path().filename() == "lost+found") continue;
    if (entry.path().extension() == kEndedSuffix) {
      std::filesystem::remove_all(path, ignored);
      continue;
    }
    auto manifest = ReadManifest(path);
    const bool sound = manifest && entry.path().filename() == HexOf(manifest->session);
    if (sound && AdoptSession(path, *manifest)) continue;
    EndOrphans(path, options_.frontend_dir, "its session cannot be taken up again");
    if (!sound) {
      if (!manifest) spdlog::warn("{}", manifest.error().ToString());
      SaveLeftover(path);
      continue;
    }
    recoveries_.push_back(std::make_shared<Recovery>(
        executor_, &workers_, path, std::move(*manifest), make_gateway_, &budget_));
    recoveries_.back()->Start();
  }
  DropKeptDescriptors();
}

bool Broker::AdoptSession(const std::string& path, const SessionManifest& manifest) {
  std::vector<LeftMount> mounts = FindLeftMounts(path, manifest.session, options_.frontend_dir);
  if (mounts.empty()) return false;
  const int64_t begun = MonotonicNs();
  auto meta = NewestTables(&mounts, manifest.session);
  if (!meta) {
    spdlog::error("workspace {}: {}", manifest.workspace, meta.error().ToString());
    return false;
  }
  auto gateway = make_gateway_(manifest.gateway, manifest.token);
  if (!gateway.value) {
    LogEvent(spdlog::level::err, {{"workspace", manifest.workspace}, {"gateway", manifest.gateway}},
             "workspace {}: {}", manifest.workspace, gateway.failure.message);
    return false;
  }
  (*gateway.value)->Assume(manifest.protocol);
  if (const auto view = shm::MetaView::Over(**meta)) {
    for (const LeftMount& mount : mounts) {
      CloseIdleBackings(path, mount, view->geometry().inode_capacity);
    }
  }
  LeftTables tables;
  tables.meta = std::move(*meta);
  tables.slabs = SlabsOf(&mounts, manifest.session);
  for (const LeftMount& mount : mounts) tables.mounts.insert(mount.manifest.index);
  auto session =
      Session::Adopt(executor_, &workers_, *gateway.value, manifest, std::move(tables),
                     OptionsFor(manifest.gateway, path, manifest.store_dir, manifest.services));
  if (!session) {
    LogEvent(spdlog::level::err,
             {{"workspace", manifest.workspace}, {"error", session.error().ToString()}},
             "workspace {}: the session cannot go on: {}", manifest.workspace,
             session.error().ToString());
    return false;
  }
  const auto slot = std::make_shared<SessionSlot>();
  slot->token = manifest.token;
  slot->asked_workspace = manifest.workspace;
  slot->session = std::move(*session);
  sessions_.push_back(slot);
  for (LeftMount& mount : mounts) {
    if (AdoptMount(slot, mount.manifest, std::move(mount.link))) ++slot->users;
  }
  slot->session->FinishAdoption();
  if (slot->users == 0) broker::Spawn(executor_, DropSessionWhenClean(slot));
  TellMountCounts();
  spdlog::info("workspace {}: {} of {} mounts go on after {} ms, {} changes are to be sent",
               manifest.workspace, slot->users, mounts.size(), (MonotonicNs() - begun) / 1'000'000,
               slot->session->log().pending());
  return true;
}

bool Broker::AdoptMount(const SlotPtr& slot, const MountManifest& manifest, FrontendLink link) {
  MountOptions options;
  options.budget = &budget_;
  options.frontend_dir = options_.frontend_dir;
  options.spool = slot->session->spool();
  options.io_timeout = options_.io_timeout;
  options.trace = Tracing();
  auto mount = broker::Mount::Adopt(executor_, slot->session.get(), options, manifest, &link);
  if (!mount && link.channel) {
    spdlog::warn("{}: {}; its frontend is replaced", manifest.spec.mountpoint,
                 mount.error().ToString());
    EndFrontend(&link);
    mount = broker::Mount::Adopt(executor_, slot->session.get(), options, manifest, &link);
  }
  if (!mount) {
    EndOrphan(slot->session->spool(), manifest, options_.frontend_dir, mount.error().ToString());
    return false;
  }
  if (manifest.spec.fsync_local) slot->session->KeepThroughPowerLoss();
  mounts_.push_back(*mount);
  return true;
}

Task<bool> Broker::Settle() {
  const auto settled = [this] {
    return starting_.empty() && !opening_ &&
           std::all_of(mounts_.begin(), mounts_.end(), [](const MountPtr& mount) {
             return mount->state() == Mount::State::kReady || mount->state() == Mount::State::kDead;
           });
  };
  boost::asio::steady_timer timer(executor_);
  for (int tries = 0; !settled(); ++tries) {
    if (tries == kMostTriesToSettle) co_return false;
    timer.expires_after(kSettlePause);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
  co_return true;
}

Task<Outcome<Nothing>> Broker::Upgrade(const Caller& caller, std::string program,
                                       ProgressFn progress) {
  const auto refuse = [](FailureKind kind, std::string message, std::string advice) {
    return Outcome<Nothing>{std::nullopt, Failure{kind, std::move(message), std::move(advice)}};
  };
  if (!Governs(caller)) {
    co_return refuse(FailureKind::kPermission, "only root and the broker's user may replace it",
                     "sudo airctl upgrade");
  }
  if (!hand_over_) co_return refuse(FailureKind::kInternal, "this broker cannot be replaced", "");
  if (!co_await Settle()) {
    co_return refuse(FailureKind::kBusy, "a mount is being made or ended", "try again later");
  }
  co_return co_await hand_over_(std::move(program), std::move(progress));
}

void Broker::LetGo() {
  workers_.join();
  fetchers_.join();
  for (const SlotPtr& slot : sessions_) slot->session->contents().EndSeals();
  for (const MountPtr& mount : mounts_) mount->LetGo();
}

// What nobody can make sense of is kept where its owner finds it, and never in the way.
void Broker::SaveLeftover(const std::string& path) {
  const std::filesystem::path from = path;
  const std::filesystem::path kept = std::filesystem::path(spool_) / "lost+found";
  std::error_code failed;
  std::filesystem::create_directories(kept, failed);
  const auto to =
      kept / (from.filename().string() + "." + std::to_string(RealtimeNs() / 1'000'000'000));
  std::filesystem::rename(from, to, failed);
  // The token has no business there.
  std::filesystem::remove(to / kSessionManifestFile, failed);
  spdlog::warn("{} is left from a broker that did not end well; kept as {}", path, to.string());
}

}  // namespace airstore::broker
