// SPDX-License-Identifier: Apache-2.0
#include "broker/broker.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "broker/clock.h"
#include "broker/fuse_device.h"
#include "broker/log_event.h"
#include "broker/proc_mounts.h"

namespace airstore::broker {
namespace {

// Of a mount with a gateway that is not reached, and how often it is tried meanwhile.
constexpr auto kGatewayPatience = std::chrono::seconds(4);
constexpr auto kGatewayPause = std::chrono::milliseconds(200);
constexpr uint64_t kLeastSpool = 256u << 20;

template <typename T>
Outcome<T> Fail(FailureKind kind, std::string message, std::string advice = "") {
  return Outcome<T>{std::nullopt, Failure{kind, std::move(message), std::move(advice)}};
}

shm::SessionId RandomSessionId() {
  shm::SessionId id;
  AIRSTORE_CHECK(getrandom(id.data(), id.size(), 0) == static_cast<ssize_t>(id.size()));
  return id;
}

uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// The default: half of the disk, but so much that a small one is used as a whole.
SpoolBudget::Limits LimitsOf(const Options& options, const std::string& spool) {
  SpoolBudget::Limits limits{options.spool_limit, options.write_stall_timeout};
  std::error_code failed;
  const auto disk =
      std::filesystem::space(options.store_dir.empty() ? spool : options.store_dir, failed);
  if (limits.bytes == 0) limits.bytes = failed ? UINT64_MAX : disk.capacity / 2;
  limits.bytes = std::max(limits.bytes, kLeastSpool);
  return limits;
}

}  // namespace

Broker::Broker(boost::asio::any_io_executor executor, Options options, std::string spool,
               GatewayFactory make_gateway, ExplainOpen explain_open)
    : executor_(executor),
      options_(std::move(options)),
      spool_(std::move(spool)),
      make_gateway_(std::move(make_gateway)),
      explain_open_(std::move(explain_open)),
      started_ns_(MonotonicNs()),
      clock_(executor_),
      passthrough_(options_.fuse_passthrough && FuseDevice::PassthroughPossible()),
      budget_(executor_, options_.store_dir.empty() ? spool_ : options_.store_dir,
              (options_.store_dir.empty() ? options_.state_dir : options_.store_dir) + "/reserve",
              LimitsOf(options_, spool_)),
      lost_space_(&budget_),
      workers_(1),
      fetchers_(1),
      opened_(executor_) {
  budget_.SetOnGate([this](const SpoolBudget::Gate& gate) {
    for (const MountPtr& mount : mounts_) {
      if (mount->in_service()) mount->SetWriteGate(gate);
    }
  });
  budget_.SetOnLow([this](uint64_t bytes) {
    for (const SlotPtr& slot : sessions_) {
      if (bytes == 0 || slot->closing) break;
      bytes -= std::min(bytes, slot->session->contents().EvictBytes(bytes));
    }
  });
  CountLost(ListLost(spool_));
  TakeUpSpool();
}

Broker::~Broker() {
  workers_.join();
  fetchers_.join();
  // What goes from here on is told to nobody.
  budget_.SetOnGate({});
  budget_.SetOnLow({});
}

Broker::RecoveryPtr Broker::FindRecovery(const std::string& gateway,
                                         const std::string& workspace_id) const {
  for (const RecoveryPtr& recovery : recoveries_) {
    if (!recovery->done() && !recovery->stuck() && recovery->manifest().gateway == gateway &&
        recovery->manifest().workspace_id == workspace_id) {
      return recovery;
    }
  }
  return nullptr;
}

Task<void> Broker::AwaitRecovery(const Caller& caller, RecoveryPtr recovery,
                                 const ProgressFn& progress) {
  boost::asio::steady_timer timer(executor_);
  int64_t reported = 0;
  while (!recovery->done() && !recovery->stuck() && caller.waits()) {
    if (MonotonicNs() - reported > 500'000'000) {
      reported = MonotonicNs();
      const std::string& error = recovery->last_error();
      progress("sending " + std::to_string(recovery->pending()) +
                   " changes of an earlier session to the gateway" +
                   (error.empty() ? "" : " (" + error + ")"),
               0, 0);
    }
    timer.expires_after(std::chrono::milliseconds(10));
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

Result<std::string> Broker::MakeSpool(const shm::SessionId& id) {
  const std::string path = spool_ + "/" + HexOf(id);
  if (mkdir(path.c_str(), S_IRWXU) != 0) return SysError("create " + path);
  return path;
}

void Broker::RemoveSpool(const Session& session) {
  std::error_code ignored;
  std::filesystem::remove_all(session.content_directory(), ignored);
  RemoveSessionSpool(session.spool());
}

SessionOptions Broker::OptionsFor(const std::string& gateway, const std::string& spool,
                                  const std::string& store_dir, const ServiceSettings& services) {
  SessionOptions options;
  options.services = services;
  options.tool_socket_directory = options_.socket.substr(0, options_.socket.rfind('/'));
  const std::string shim = options_.frontend_dir + "/airstore-shim";
  if (access(shim.c_str(), X_OK) == 0) options.shim = shim;
  options.gateway_address = gateway;
  options.spool = spool;
  options.store_dir = store_dir;
  options.inode_limit = options_.inode_limit;
  options.slab_limit = options_.slab_limit;
  options.content_limit = options_.content_limit;
  options.debounce_ns = std::chrono::nanoseconds(options_.write_debounce).count();
  options.debounce_max_ns = std::chrono::nanoseconds(options_.write_debounce_max).count();
  options.io_timeout_ns = std::chrono::nanoseconds(options_.io_timeout).count();
  options.budget = &budget_;
  options.fetchers = &fetchers_;
  options.on_lost = [this] { CountLost(ListLost(spool_)); };
  return options;
}

Task<Result<OpenedSession>> Broker::OpenSoon(Gateway* gateway, const MountSpec& spec,
                                             const shm::SessionId& id, const ProgressFn& progress) {
  const int64_t until = MonotonicNs() + std::chrono::nanoseconds(kGatewayPatience).count();
  for (;;) {
    gateway->Reconnect();
    auto opened = co_await gateway->Open(spec.workspace, id, false);
    if (opened || opened.error().code != EAGAIN || MonotonicNs() >= until) co_return opened;
    progress("waiting for the gateway at " + spec.gateway, 0, 0);
    boost::asio::steady_timer timer(executor_, kGatewayPause);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

Task<Outcome<Broker::SlotPtr>> Broker::FindOrOpenSession(const MountSpec& spec,
                                                         RecoveryPtr* in_the_way,
                                                         const ProgressFn& progress) {
  for (const SlotPtr& slot : sessions_) {
    if (!slot->closing && slot->session->gateway_address() == spec.gateway &&
        slot->token == spec.token &&
        (slot->asked_workspace == spec.workspace || slot->session->workspace() == spec.workspace)) {
      co_return Outcome<SlotPtr>{slot, {}};
    }
  }
  auto made = make_gateway_(spec.gateway, spec.token);
  if (!made.value) co_return Outcome<SlotPtr>{std::nullopt, made.failure};
  const std::shared_ptr<Gateway> gateway = *made.value;
  const shm::SessionId id = RandomSessionId();
  auto opened = co_await OpenSoon(gateway.get(), spec, id, progress);
  if (!opened) {
    co_return Outcome<SlotPtr>{std::nullopt,
                               explain_open_(opened.error(), spec.gateway, spec.workspace)};
  }
  for (const RecoveryPtr& recovery : recoveries_) {
    const SessionManifest& earlier = recovery->manifest();
    if (recovery->stuck() && !recovery->done() && earlier.gateway == spec.gateway &&
        earlier.workspace_id == opened->workspace_id && earlier.principal == opened->principal) {
      recovery->SetToken(spec.token);
    }
  }
  // What the applications of that session were told is not there yet.
  *in_the_way = FindRecovery(spec.gateway, opened->workspace_id);
  if (*in_the_way) {
    (void)co_await gateway->Close();
    co_return Outcome<SlotPtr>{};
  }
  const std::vector<SlotPtr> slots = sessions_;  // owners over the await
  for (const SlotPtr& slot : slots) {
    // The same workspace and principal under another name or token: one session serves both.
    if (!slot->closing && slot->session->gateway_address() == spec.gateway &&
        slot->session->workspace_id() == opened->workspace_id &&
        slot->session->principal() == opened->principal &&
        slot->session->read_only() == opened->read_only) {
      (void)co_await gateway->Close();
      if (slot->session->refused()) {
        if (auto given = co_await GiveToken(slot, spec.token); !given) {
          co_return Fail<SlotPtr>(FailureKind::kHost, given.error().ToString());
        }
      }
      co_return Outcome<SlotPtr>{slot, {}};
    }
  }
  auto spool = MakeSpool(id);
  if (!spool) {
    co_return Fail<SlotPtr>(FailureKind::kHost, spool.error().ToString(),
                            "check the space and permissions of the state directory");
  }
  const SessionOptions options =
      OptionsFor(spec.gateway, *spool, options_.store_dir, SettingsFor(spec));
  auto session = Session::Create(executor_, &workers_, gateway, id, *opened, options);
  Result<void> recorded;
  if (session) {
    SessionManifest manifest{.gateway = spec.gateway,
                             .workspace_id = opened->workspace_id,
                             .workspace = opened->workspace_name,
                             .token = spec.token,
                             .principal = opened->principal,
                             .session = id,
                             .read_only = opened->read_only,
                             .store_dir = options_.store_dir,
                             .boot_id = BootId(),
                             .protocol = gateway->traits().protocol,
                             .services = options.services};
    auto write = [](std::string to, SessionManifest what) -> Task<Result<void>> {
      co_return WriteManifest(to, what);
    };
    Task<Result<void>> writing = write(*spool, std::move(manifest));
    recorded = co_await boost::asio::co_spawn(workers_.get_executor(), std::move(writing),
                                              boost::asio::use_awaitable);
    if (!recorded) {
      co_await (*session)->Close();
      RemoveSpool(**session);
    }
  } else {
    RemoveSessionSpool(*spool);
    recorded = session.error();
  }
  if (!recorded) {
    co_return Fail<SlotPtr>(FailureKind::kHost,
                            "cannot set up the session: " + recorded.error().ToString());
  }
  auto slot = std::make_shared<SessionSlot>();
  slot->token = spec.token;
  slot->asked_workspace = spec.workspace;
  slot->session = std::move(*session);
  sessions_.push_back(slot);
  LogEvent(spdlog::level::info,
           {{"workspace", slot->session->workspace()},
            {"gateway", spec.gateway},
            {"principal", slot->session->principal()}},
           "session on workspace {} at {} as {}", slot->session->workspace(), spec.gateway,
           slot->session->principal());
  co_return Outcome<SlotPtr>{slot, {}};
}

bool Broker::MaySee(const Caller& caller, const broker::Mount& mount) {
  return Governs(caller) || caller.uid == mount.owner();
}

Broker::MountPtr Broker::FindMount(const Caller& caller, const std::string& mountpoint) const {
  MountPtr found;
  for (const MountPtr& mount : mounts_) {
    if (mount->spec().mountpoint != mountpoint || !MaySee(caller, *mount)) continue;
    if (!found || mount->owner() == caller.uid) found = mount;
  }
  return found;
}

void Broker::TellMountCounts() {
  for (const MountPtr& mount : mounts_) {
    if (!mount->in_service()) continue;
    for (const SlotPtr& slot : sessions_) {
      if (slot->session->mounts().Find(mount->index()) == mount.get()) {
        mount->SetMounts(static_cast<uint32_t>(slot->session->mounts().size()));
      }
    }
  }
}

Task<Outcome<MountStatus>> Broker::Mount(const Caller& caller, const MountSpec& spec_in,
                                         ProgressFn progress) {
  MountSpec spec = spec_in;
  if (spec.gateway.empty()) spec.gateway = options_.gateway;
  if (spec.gateway.empty()) {
    co_return Fail<MountStatus>(FailureKind::kUsage, "no gateway is known",
                                "give --gateway HOST:PORT, or set `gateway` in the "
                                "configuration of airstored");
  }
  if (spec.serve_only && spec.backend != "nfs") {
    co_return Fail<MountStatus>(FailureKind::kUsage,
                                "only the nfs backend can be served without "
                                "being mounted",
                                "use --backend nfs --serve-only");
  }
  if (spec.nfs_auth_none && spec.backend == "fuse") {
    co_return Fail<MountStatus>(FailureKind::kUsage, "--nfs-auth-none is for the nfs backend",
                                "use --backend nfs --nfs-auth-none");
  }
  if (spec.mountpoint.empty() || spec.mountpoint.front() != '/') {
    co_return Fail<MountStatus>(FailureKind::kUsage, "the mount point must be an absolute path");
  }
  if (spec.squash != SquashWho::kNobody && spec.anonymous_uid == 0) {
    co_return Fail<MountStatus>(FailureKind::kUsage, "root cannot be the anonymous user");
  }
  const std::string log_session = spec.access_session.value_or("");
  if (std::any_of(log_session.begin(), log_session.end(),
                  [](char c) { return c < ' ' || c > '~'; })) {
    co_return Fail<MountStatus>(FailureKind::kUsage,
                                "--session may have printable ASCII characters only");
  }
  if (spec.token.empty()) {
    co_return Fail<MountStatus>(FailureKind::kUsage, "no token is given",
                                "use --token-file FILE or AIRSTORE_TOKEN");
  }
  if (auto there = co_await InTheWay(caller, spec, progress)) co_return std::move(*there);
  // What is only served is a name, under which others find it.
  const bool mounts = !spec.serve_only;
  std::shared_ptr<const UniqueFd> place;
  if (mounts) {
    const std::string named = spec.mountpoint;
    auto found = co_await FindPlace(caller, &spec);
    if (!found.value) co_return Outcome<MountStatus>{std::nullopt, found.failure};
    place = std::move(*found.value);
    if (spec.mountpoint != named) {
      if (auto there = co_await InTheWay(caller, spec, progress)) co_return std::move(*there);
    }
  }
  const std::string name =
      mounts ? spec.mountpoint : std::to_string(caller.uid) + ":" + spec.mountpoint;
  if (!starting_.insert(name).second) {
    co_return Fail<MountStatus>(FailureKind::kBusy, spec.mountpoint + " is being mounted");
  }
  struct Started {
    std::set<std::string>* set;
    std::string path;
    ~Started() { set->erase(path); }
  } started{&starting_, name};

  progress("opening workspace at " + spec.gateway, 0, 0);
  Outcome<SlotPtr> found;
  for (;;) {
    while (opening_) co_await opened_.Wait();
    opening_ = true;
    RecoveryPtr in_the_way;
    found = co_await FindOrOpenSession(spec, &in_the_way, progress);
    if (found.value) ++(*found.value)->users;
    opening_ = false;
    opened_.NotifyAll();
    if (!in_the_way) break;
    co_await AwaitRecovery(caller, in_the_way, progress);
    if (!caller.waits()) co_return Fail<MountStatus>(FailureKind::kBusy, "nobody waits for it");
  }
  if (!found.value) co_return Outcome<MountStatus>{std::nullopt, found.failure};
  const SlotPtr slot = *found.value;
  Session& session = *slot->session;
  if (const std::string why = Disagreement(spec, session.services()); !why.empty()) {
    --slot->users;
    co_await DropSessionIfUnused(slot);
    co_return Fail<MountStatus>(FailureKind::kBusy,
                                "workspace " + session.workspace() + " is mounted with " + why,
                                "mounts of one workspace agree on it: leave it out, or unmount the "
                                "others first");
  }
  const std::string workspace = session.workspace();  // also when it is dropped
  progress("waiting for other hosts to send their changes", 0, 0);
  if (auto arrived = co_await session.Arrive(); !arrived) {
    --slot->users;
    co_await DropSessionIfUnused(slot);
    co_return Fail<MountStatus>(FailureKind::kBusy,
                                "workspace " + workspace + ": " + arrived.error().message,
                                "look at 'airctl status' on the host that holds the write lease");
  }
  if (spec.fsync_local) {
    if (auto kept = co_await session.BeginKeepingThroughPowerLoss(); !kept) {
      --slot->users;
      co_await DropSessionIfUnused(slot);
      co_return Fail<MountStatus>(FailureKind::kHost, "--fsync local: " + kept.error().ToString(),
                                  "see to the disk of " + options_.state_dir);
    }
  }
  uint32_t index = 0;
  while (index < shm::kMaxMounts &&
         (slot->starting.contains(index) ||
          std::any_of(mounts_.begin(), mounts_.end(), [&](const MountPtr& mount) {
            return mount->session() == &session && mount->index() == index;
          }))) {
    ++index;
  }
  if (index == shm::kMaxMounts) {
    --slot->users;
    co_return Fail<MountStatus>(FailureKind::kBusy,
                                "workspace " + workspace + " has " +
                                    std::to_string(shm::kMaxMounts) + " mounts, which is the most",
                                "unmount one of them");
  }
  slot->starting.insert(index);
  MountOptions options;
  options.spec = spec;
  options.caller = caller;
  options.place = std::move(place);
  options.frontend_dir = options_.frontend_dir;
  options.spool = session.spool();
  options.state_dir = options_.state_dir;
  options.passthrough = passthrough_ && spec.passthrough;
  options.allow_other = options_.fuse_allow_other;
  options.io_timeout = options_.io_timeout;
  options.budget = &budget_;
  options.trace = Tracing();
  progress("mounting " + spec.mountpoint, 0, 0);
  Outcome<MountPtr> made = co_await StartMount(&session, index, std::move(options));
  slot->starting.erase(index);
  if (!made.value) {
    --slot->users;
    co_await DropSessionIfUnused(slot);
    co_return Outcome<MountStatus>{std::nullopt, made.failure};
  }
  const MountPtr mount = *made.value;
  mounts_.push_back(mount);
  TellMountCounts();
  // The first mounts' kernels may hold names for long; from now on they are told of changes. What
  // they hold is still true, so nothing is to be invalidated here.
  LogEvent(
      spdlog::level::info,
      {{"mount", spec.mountpoint}, {"workspace", session.workspace()}, {"gateway", spec.gateway}},
      "{} workspace {} on {}", mounts ? "mounted" : "serving", session.workspace(),
      spec.mountpoint);
  co_return Outcome<MountStatus>{mount->Status(), {}};
}

Task<bool> Broker::DrainSession(SlotPtr slot, std::chrono::milliseconds patience,
                                const ProgressFn& progress) {
  Session* session = slot->session.get();
  // A write that has returned may still be queued.
  const auto clean = [&] {
    return session->clean() &&
           std::all_of(mounts_.begin(), mounts_.end(), [&](const MountPtr& mount) {
             return mount->session() != session || mount->QueueApplied();
           });
  };
  session->contents().FlushAll();
  session->log().Hurry();
  const int64_t deadline = MonotonicNs() + std::chrono::nanoseconds(patience).count();
  const size_t total = session->log().pending();
  boost::asio::steady_timer timer(executor_);
  int64_t reported = MonotonicNs();
  auto pause = std::chrono::milliseconds(1);
  while (!clean() && MonotonicNs() < deadline) {
    timer.expires_after(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(50));
    co_await timer.async_wait(boost::asio::use_awaitable);
    if (slot->closing) co_return false;
    if (clean()) break;
    if (session->log().pending() == 0) session->contents().FlushAll();
    session->log().Hurry();
    if (MonotonicNs() - reported > 500'000'000) {
      reported = MonotonicNs();
      const size_t left = session->log().pending();
      progress("sending changes to the gateway", total > left ? total - left : 0, total);
    }
  }
  co_return clean();
}

Task<void> Broker::DropSessionIfUnused(SlotPtr slot) {
  if (slot->users != 0 || slot->closing || !slot->session->clean()) co_return;
  slot->closing = true;
  std::erase(sessions_, slot);
  co_await slot->session->Close();
  RemoveSpool(*slot->session);
  slot->session.reset();
}

Task<void> Broker::DropSessionWhenClean(SlotPtr slot) {
  const ProgressFn nobody = [](const std::string&, uint64_t, uint64_t) {};
  while (slot->users == 0 && !slot->closing) {
    if (co_await DrainSession(slot, std::chrono::hours(1), nobody)) {
      co_await DropSessionIfUnused(slot);
      co_return;
    }
  }
}

Outcome<BrokerStatus> Broker::Status(const Caller& caller, const std::string& mountpoint) {
  BrokerStatus status;
  status.uptime_ms = static_cast<uint64_t>((MonotonicNs() - started_ns_) / 1'000'000);
  status.rss_bytes = ResidentBytes();
  status.state_dir = options_.state_dir;
  status.passthrough = passthrough_;
  status.spool_bytes = budget_.used();
  status.spool_limit = budget_.limit();
  status.spool_full = budget_.gate().closed();
  status.clock_sets = clock_.sets();
  status.clock_jump_ms = clock_.last_jump_ns() / 1'000'000;
  status.clock_set_ago_ms =
      static_cast<uint64_t>((MonotonicNs() - clock_.last_at_ns()) / 1'000'000);
  status.metrics = metrics_;
  for (const RecoveryPtr& recovery : recoveries_) status.torn_journals += recovery->journal_torn();
  for (const SlotPtr& slot : sessions_) status.torn_journals += slot->session->journal_torn();
  if (const auto lost = Lost(caller); lost.value) {
    status.lost_items = lost.value->size();
    for (const LostFile& item : *lost.value) status.lost_bytes += item.bytes;
  }
  std::set<const Session*> seen;
  for (const MountPtr& mount : mounts_) {
    status.wakeups += mount->wakeups();
    if (!MaySee(caller, *mount)) continue;
    if (!mountpoint.empty() && mount->spec().mountpoint != mountpoint) continue;
    status.mounts.push_back(mount->Status());
    seen.insert(mount->session());
  }
  if (!mountpoint.empty() && status.mounts.empty()) {
    return Fail<BrokerStatus>(FailureKind::kNotFound, mountpoint + " is not a mount of this broker",
                              "airctl status lists the mounts");
  }
  for (const SlotPtr& slot : sessions_) {
    const bool leftover = slot->users == 0 && Governs(caller) && mountpoint.empty();
    if (seen.contains(slot->session.get()) || leftover) {
      status.sessions.push_back(slot->session->Status());
    }
  }
  if (Governs(caller) && mountpoint.empty()) {
    for (const RecoveryPtr& recovery : recoveries_) {
      if (!recovery->done()) status.sessions.push_back(recovery->Status());
    }
  }
  for (SessionStatus& session : status.sessions) {
    GatewayHealth health = health_of_ ? health_of_(session.gateway) : GatewayHealth();
    session.unanswered_calls = health.unanswered;
    session.gateway_error = std::move(health.error);
    session.call_latencies = std::move(health.latency);
  }
  return Outcome<BrokerStatus>{std::move(status), {}};
}

Task<bool> Broker::Shutdown(std::chrono::milliseconds patience) {
  const ProgressFn log = [](const std::string& what, uint64_t done, uint64_t total) {
    spdlog::info("{}: {} of {}", what, done, total);
  };
  for (const MountPtr& mount : std::vector<MountPtr>(mounts_)) {
    auto stopped = co_await mount->Stop(false);
    if (!stopped && stopped.error().code == EBUSY) {
      LogEvent(spdlog::level::warn, {{"mount", mount->spec().mountpoint}},
               "{} is in use; detaching it", mount->spec().mountpoint);
      stopped = co_await mount->Stop(true);
    }
    if (!stopped || std::erase(mounts_, mount) == 0) continue;  // another unmount has it
    for (const SlotPtr& slot : sessions_) {
      if (slot->session.get() == mount->session()) --slot->users;
    }
  }
  bool clean = true;
  const int64_t deadline = MonotonicNs() + std::chrono::nanoseconds(patience).count();
  for (const SlotPtr& slot : std::vector<SlotPtr>(sessions_)) {
    if (slot->closing) continue;
    ++slot->users;
    const bool drained = co_await DrainSession(slot, patience, log);
    --slot->users;
    if (drained) {
      co_await DropSessionIfUnused(slot);
    } else {
      clean = false;
      LogEvent(spdlog::level::err, {{"workspace", slot->session->workspace()}},
               "changes to workspace {} are not at the gateway; they are kept in {}",
               slot->session->workspace(), slot->session->spool());
    }
  }
  for (const RecoveryPtr& recovery : recoveries_) {
    boost::asio::steady_timer timer(executor_);
    while (!recovery->done() && MonotonicNs() < deadline) {
      recovery->Hurry();
      timer.expires_after(std::chrono::milliseconds(10));
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    if (recovery->done()) continue;
    clean = false;
    spdlog::error("changes to workspace {} are not at the gateway; they are kept in {}",
                  recovery->manifest().workspace, recovery->spool());
  }
  co_return clean;
}

}  // namespace airstore::broker
