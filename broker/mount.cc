// SPDX-License-Identifier: Apache-2.0
#include "broker/mount.h"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "broker/calls.h"
#include "broker/clock.h"
#include "broker/fuse_device.h"
#include "broker/left_clients.h"
#include "broker/log_event.h"
#include "broker/mount_manifest.h"
#include "broker/service_manager.h"
#include "broker/session.h"
#include "shm/base/fault.h"
#include "shm/counters.h"
#include "shm/request_rules.h"

namespace airstore::broker {
namespace {

constexpr auto kRecoveryPatience = std::chrono::seconds(15);
// Beyond io_timeout, which ends an operation from within, before it has an effect.
constexpr auto kAnswerGrace = std::chrono::seconds(2);
// A frontend answers by itself when the broker does not.
constexpr auto kFrontendGrace = std::chrono::milliseconds(500);
constexpr size_t kUnmounters = 2;  // one by force while another waits for what is written back
constexpr int kItemsAtOnce = 256;  // then others get their turn

// Hardly anything goes through the arena where the kernel writes by itself.
uint64_t ArenaBytes(const SpoolBudget& budget, bool passthrough) {
  const uint64_t most = passthrough ? 2 * shm::kMinArenaBytes : shm::kArenaBytes;
  return std::min(budget.ArenaBytes(), most);
}

bool Opens(const shm::Call& call, const shm::RequestReply& reply) {
  const auto op = static_cast<shm::Op>(call.args.op);
  return reply.error == 0 &&
         (op == shm::Op::kOpen || op == shm::Op::kCreate || op == shm::Op::kTmpfile);
}

// Else it is tried again, and is told when it has come to something.
bool EndsAWrite(int error) {
  return error != 0 && error != ETIMEDOUT && error != EAGAIN && error != EINTR && error != ENOTCONN;
}

const char* StateName(Mount::State state) {
  switch (state) {
    case Mount::State::kStarting:
      return "starting";
    case Mount::State::kReady:
      return "ready";
    case Mount::State::kRecovering:
      return "recovering";
    case Mount::State::kUnmounting:
      return "unmounting";
    case Mount::State::kDead:
      return "dead";
    case Mount::State::kGone:
      return "gone";
  }
  return "unknown";
}

// Upper edge of the bucket below which `part` of all observations lie.
uint64_t Quantile(const shm::LaneConsumer& lane, uint32_t row, double part) {
  uint64_t total = 0;
  for (uint32_t b = 0; b < shm::kHistogramBuckets; ++b) total += lane.HistogramBucket(row, b);
  if (total == 0) return 0;
  uint64_t seen = 0;
  for (uint32_t b = 0; b < shm::kHistogramBuckets; ++b) {
    seen += lane.HistogramBucket(row, b);
    if (static_cast<double>(seen) >= part * static_cast<double>(total)) return 2ull << b;
  }
  return 0;
}

}  // namespace

Mount::Mount(boost::asio::any_io_executor executor, Session* session, uint32_t index,
             MountOptions options)
    : executor_(executor),
      session_(session),
      index_(index),
      options_(std::move(options)),
      space_(options_.budget),
      frontend_(executor),
      wake_(executor),
      restart_timer_(executor),
      names_timer_(executor),
      forgot_(executor),
      call_watch_(std::make_shared<CallWatch>(
          executor, std::chrono::nanoseconds(options_.io_timeout + kAnswerGrace).count(),
          [this](uint32_t slot, int error) { GiveUp(slot, error); })),
      trace_(options_.trace),
      trace_timer_(executor),
      changed_(executor) {
  if (is_nfs()) options_.passthrough = false;
}

Mount::~Mount() {
  if (unmounter_) unmounter_->join();
}

Task<Result<std::shared_ptr<Mount>>> Mount::Start(boost::asio::any_io_executor executor,
                                                  Session* session, uint32_t index,
                                                  MountOptions options) {
  std::shared_ptr<Mount> mount(new Mount(executor, session, index, std::move(options)));
  const int64_t begun = MonotonicNs();
  if (auto prepared = mount->Prepare(); !prepared) {
    if (mount->device_) (void)co_await mount->UnmountDevice(true);
    RemoveMountManifest(mount->options_.spool, index);
    co_return prepared.error();
  }
  auto ready = co_await mount->frontend_.AwaitReady();
  if (!ready) {
    (void)co_await mount->UnmountDevice(true);
    RemoveMountManifest(mount->options_.spool, index);
    co_return ready.error();
  }
  mount->ready_us_ = static_cast<uint64_t>((MonotonicNs() - begun) / 1000);
  mount->Begin();
  if (mount->is_nfs() && !mount->options_.spec.serve_only) {
    if (auto mounted = co_await mount->MountExport(); !mounted) {
      (void)co_await mount->Stop(true);
      co_return mounted.error();
    }
  }
  mount->options_.place.reset();
  co_return mount;
}

void Mount::Begin() {
  state_ = State::kReady;
  frontend_since_ns_ = MonotonicNs();
  session_->mounts().Add(this);
  session_->AddOwner(owner());
  KeepDescriptor(NameOfDevice(HexOf(session_->id()), index_), device_->fd());
  NoteSpace();
  space_.Reserve(lane_->arena().size());
  SetWriteGate(options_.budget->gate());
  SetSynchronous(!session_->tree().lease());
  const auto& slabs = session_->inodes().slabs().segments();
  for (size_t i = slabs_sent_; i < slabs.size(); ++i) {
    if (slabs[i]) SendSlab(*slabs[i]);
  }
  serving_ = true;
  access_id_ = "mount-" + std::to_string(getpid()) + "-" + std::to_string(RealtimeNs());
  lane_->WantReads(session_->access().wanted());
  // An earlier broker may have been told and not have looked.
  session_->access().Noted(false);
  session_->tasks().Spawn(Serve());
  session_->tasks().Spawn(WatchFrontend());
  StartTrace();
}

Result<void> Mount::Prepare() {
  shm::MetaWriter& meta = session_->inodes().meta();
  auto lane = shm::LaneConsumer::Create(
      session_->id(), index_, meta.reader().view().geometry().inode_capacity, SpoolFile("lane"),
      SpoolFile("arena"),
      // Places in queues of earlier mounts are on record.
      static_cast<uint64_t>(RealtimeNs()), ArenaBytes(*options_.budget, options_.passthrough));
  if (!lane) return lane.error();
  lane_ = std::move(*lane);
  auto ledger =
      MountLedger::Create(SpoolFile("ledger"), meta.reader().view().geometry().inode_capacity);
  if (!ledger) return ledger.error();
  ledger_ = std::move(*ledger);
  ledger_->Handled(lane_->popped());
  SetPatience();

  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return SysError("eventfd");
  wake_.assign(event);

  auto device = MakeDevice();
  if (!device) return device.error();
  device_ = std::move(*device);

  AIRSTORE_TRY(WriteMountManifest(options_.spool, Manifest()));
  AIRSTORE_TRY(StartFrontend());
  return {};
}

void Mount::SetPatience() {
  lane_->SetPatience(static_cast<uint32_t>((options_.io_timeout + kFrontendGrace).count()));
}

void Mount::SendSlab(const shm::Segment& segment) {
  if (!frontend_.running()) return;  // the next one gets them all
  if (auto sent = frontend_.SendSlab(segment); !sent) {
    spdlog::warn("{}: handing over slab {}: {}", options_.spec.mountpoint, segment.header().index,
                 sent.error().ToString());
  }
}

Result<void> Mount::SendContent(uint64_t id, int file) { return frontend_.SendContent(id, file); }

Task<void> Mount::Serve() {
  const auto self = shared_from_this();
  while (state_ != State::kGone) {
    if (!co_await DrainLane()) {
      Detach();
      break;
    }
    ++drains_;
    if (state_ == State::kRecovering) changed_.NotifyAll();
    if (frontend_gone_) break;
    if (!lane_->PrepareSleep()) continue;
    boost::system::error_code error;
    co_await wake_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              boost::asio::redirect_error(boost::asio::use_awaitable, error));
    uint64_t count = 0;
    if (read(wake_.native_handle(), &count, sizeof(count)) > 0) ++wakeups_;
    lane_->Awake();
  }
  serving_ = false;
  changed_.NotifyAll();
}

Task<bool> Mount::DrainLane() {
  shm::LaneConsumer::Item item;
  std::string why;
  for (int handled = 0;; ++handled) {
    if (handled == kItemsAtOnce) {
      MarkDrained();
      co_await boost::asio::post(executor_, boost::asio::use_awaitable);
      handled = 0;
    }
    const auto next = lane_->Pop(&item, &why);
    if (next == shm::LaneConsumer::Next::kEmpty) break;
    if (next == shm::LaneConsumer::Next::kCorrupt) {
      problem_ = "the frontend broke the protocol: " + why;
      LogEvent(spdlog::level::err, {{"mount", options_.spec.mountpoint}, {"error", problem_}},
               "{}: {}; it is ended", options_.spec.mountpoint, problem_);
      co_return false;
    }
    switch (item.op) {
      case shm::QueueOp::kCall:
        session_->tasks().Spawn(HandleCall(std::move(item.call)));
        break;
      case shm::QueueOp::kWrite:
        co_await HandleWrite(item);
        break;
      case shm::QueueOp::kRelease:
        HandleRelease(item);
        break;
      case shm::QueueOp::kTouch:
        ++notifying_;
        session_->tasks().Spawn(HandleTouch(item.inode, item.time_ns));
        break;
      case shm::QueueOp::kForget:
        session_->tree().ReclaimOrphan(item.inode);
        break;
      case shm::QueueOp::kInterrupt:
        session_->locks().Interrupt(index_, item.unique);
        break;
      case shm::QueueOp::kReads:
        session_->access().Noted(item.flags != 0);
        break;
      case shm::QueueOp::kNone:
        break;
    }
  }
  MarkDrained();
  co_return true;
}

void Mount::MarkDrained() {
  if (notifying_ == 0) {
    lane_->MarkApplied();
  } else {
    lane_->MarkTaken();
  }
}

Task<void> Mount::HandleWrite(const shm::LaneConsumer::Item& item) {
  if (options_.spec.read_only) {  // an honest frontend has refused it
    ledger_->Handled(lane_->popped());
    co_return;
  }
  // What an earlier broker has written may have been cut off since.
  if (lane_->popped() > ledger_->handled()) {
    // While it waits for room nobody else may say that it is applied: its bytes are in the arena.
    ++notifying_;
    co_await ApplyWrite(item);
    --notifying_;
    ledger_->Handled(lane_->popped());
  }
  if (session_->mounts().size() > 1) {
    ++notifying_;
    session_->tasks().Spawn(NotifyWrite(item.inode, item.offset, item.data.size()));
  }
}

// It was accepted while there was room: without, it waits, and all that was queued behind it.
Task<void> Mount::ApplyWrite(const shm::LaneConsumer::Item& item) {
  constexpr auto kPause = std::chrono::milliseconds(50);
  auto written = session_->contents().Write(item.inode, item.offset, item.data, item.time_ns);
  boost::asio::steady_timer timer(executor_);
  while (!written && written.error().code == ENOSPC && state_ != State::kDead) {
    timer.expires_after(kPause);
    co_await timer.async_wait(boost::asio::use_awaitable);
    options_.budget->Look();
    written = session_->contents().Write(item.inode, item.offset, item.data, item.time_ns);
  }
  if (!written) spdlog::warn("write to inode {}: {}", item.inode, written.error().ToString());
}

// As a write, applied when no other mount's kernel shows what was before.
Task<void> Mount::HandleTouch(uint64_t inode, int64_t time_ns) {
  const auto self = shared_from_this();
  co_await session_->tree().Touch(this, inode, time_ns);
  if (--notifying_ == 0) lane_->MarkApplied();
}

void Mount::HandleRelease(const shm::LaneConsumer::Item& item) {
  const int64_t read_ns =
      options_.spec.relatime ? session_->tree().UnseenRead(*this, item.inode) : 0;
  bool counted = false;
  if (lane_->popped() > ledger_->handled()) {
    const uint32_t index = session_->inodes().IndexOf(item.inode);
    ledger_->Released(lane_->popped(), index, item.flags);
    counted = true;
  }
  if (read_ns == 0) return EndOpen(item.inode, item.flags, counted);
  ++notifying_;
  session_->tasks().Spawn(HandleReadRelease(item.inode, item.flags, read_ns, counted));
}

// The file counts as open until its time of access is known: whoever asks meanwhile is told by us,
// not by the record in which it is still missing.
Task<void> Mount::HandleReadRelease(uint64_t inode, uint32_t flags, int64_t read_ns, bool counted) {
  const auto self = shared_from_this();
  co_await session_->tree().Touch(this, inode, read_ns);
  if (in_service()) EndOpen(inode, flags, counted);
  if (--notifying_ == 0) lane_->MarkApplied();
}

void Mount::EndOpen(uint64_t inode, uint32_t flags, bool counted) {
  if (counted) session_->contents().Release(inode, index_, flags);
  session_->tree().ReclaimOrphan(inode);
}

// A write is applied, for who waits for it, when no other mount's kernel shows the old bytes any
// more. The lane goes on meanwhile: a read of that kernel may hold the page, and its answer may
// come through a call of a sibling.
Task<void> Mount::NotifyWrite(uint64_t inode, uint64_t offset, uint64_t length) {
  const auto self = shared_from_this();
  co_await session_->tree().NotifyData(this, inode, offset, length);
  if (--notifying_ == 0) lane_->MarkApplied();
}

Task<void> Mount::HandleCall(shm::Call call) {
  const auto self = shared_from_this();
  Reach(FaultPoint::kCallTaken);
  if (call.given_up && !shm::GivesBack(call.args) && !ExecutedBefore(call)) {
    GiveUp(call.slot, ETIMEDOUT);
    co_return;
  }
  const std::vector<uint64_t> locked = LockedDirectories(call);
  Lock(locked);
  const uint64_t closes = closes_;
  const uint64_t watched = call_watch_->Begin(call.slot, call.args.pid, &session_->tasks());
  ++calls_in_work_;
  std::string text;
  const int64_t begun_ns = trace_.on() ? MonotonicNs() : 0;
  const shm::RequestReply reply = co_await AnswerCall(session_, this, call, &text);
  --calls_in_work_;
  if (begun_ns != 0) NoteCall(call, reply, begun_ns);
  // Who has been killed meanwhile would never close what it opened.
  const bool late = closes_ != closes && Opens(call, reply);
  const bool wanted = call_watch_->End(watched) && !late;
  for (const uint64_t directory : locked) {
    locked_directories_.erase(locked_directories_.find(directory));
  }
  if (wanted) {
    Answer(call, reply, text);
  } else {
    Undo(call, reply);
    if (late) GiveUp(call.slot, ESTALE);
  }
}

void Mount::Answer(const shm::Call& call, const shm::RequestReply& reply, const std::string& text) {
  if (auto room = AdmitOpen(call, reply); !room) {
    Undo(call, reply);
    shm::RequestReply refused{};
    refused.error = room.error().code;
    (void)lane_->Reply(call.slot, refused);
    return;
  }
  const bool noted = NoteOpen(call, reply);
  if (session_->access().wanted()) NotePassthrough(call, reply);
  Reach(FaultPoint::kCallBeforeAnswer);
  const bool wanted = lane_->Reply(call.slot, reply, text);
  Reach(FaultPoint::kCallAfterAnswer);
  if (wanted) return;
  if (noted) ledger_->TakeBackLastOpened();
  Undo(call, reply);
}

void Mount::Undo(const shm::Call& call, const shm::RequestReply& reply) {
  const auto op = static_cast<shm::Op>(call.args.op);
  if ((op == shm::Op::kFsync || op == shm::Op::kFlush) && EndsAWrite(reply.error)) {
    // Nobody has heard of it.
    session_->inodes().Update(call.args.inode, [&](shm::InodeRecord& record) {
      if (record.write_error == 0) record.write_error = static_cast<uint32_t>(reply.error);
    });
  }
  if (reply.error != 0) return;
  if (static_cast<shm::Op>(call.args.op) == shm::Op::kSetLock) {
    if (reply.value == shm::kDeferred) {
      session_->locks().Interrupt(index_, call.args.unique);
    } else {
      session_->locks().TakeBack(index_, call.args.unique);
    }
  }
  UndoOpen(session_, this, call, reply);
}

Result<void> Mount::AdmitOpen(const shm::Call& call, const shm::RequestReply& reply) {
  if (!Opens(call, reply)) return {};
  const size_t before = ledger_->bytes();
  AIRSTORE_TRY(ledger_->Admit(reply.inode_index));
  if (ledger_->bytes() != before) NoteSpace();
  return {};
}

void Mount::NoteSpace() {
  space_.Set(lane_->lane().size() + lane_->arena().size() + ledger_->bytes());
}

void Mount::Lock(const std::vector<uint64_t>& directories) {
  for (const uint64_t directory : directories) locked_directories_.insert(directory);
  if (HeldUp()) DistrustNames();
}

bool Mount::HeldUp() const {
  return std::any_of(forgetting_.begin(), forgetting_.end(), [this](uint64_t directory) {
    return locked_directories_.contains(directory);
  });
}

// Right before the answer: who dies in between has the successor carry out the call once more.
bool Mount::NoteOpen(const shm::Call& call, const shm::RequestReply& reply) {
  if (!Opens(call, reply)) return false;
  ledger_->Opened(call.position, reply.inode_index, ModeOfOpen(call, reply), reply.backing_id);
  return true;
}

void Mount::NotePassthrough(const shm::Call& call, const shm::RequestReply& reply) {
  const auto op = static_cast<shm::Op>(call.args.op);
  if (reply.error != 0 || (op != shm::Op::kOpen && op != shm::Op::kCreate) ||
      (reply.open_mode & shm::kOpenModeMask) != shm::kOpenPassthrough ||
      (call.args.flags & O_ACCMODE) == O_WRONLY) {
    return;
  }
  session_->access().Opened(*this, reply.attr.inode);
}

void Mount::GiveUp(uint32_t slot, int error) {
  shm::RequestReply reply{};
  reply.error = error;
  lane_->Reply(slot, reply);
}

void Mount::Detach() {
  if (!in_service()) return;
  ForgetDescriptor(NameOfDevice(HexOf(session_->id()), index_));
  state_ = State::kDead;
  restart_timer_.cancel();
  trace_timer_.cancel();
  detaching_ = true;  // from now on: whoever stops it waits for that
  Spawn(executor_, DetachDevice());
  frontend_.CloseChannel();
  RemoveMountManifest(options_.spool, index_);
  space_.Reserve(0);
  session_->access().Leave(this);
  session_->mounts().Remove(this);
  session_->contents().ReleaseMount(index_);
  session_->inodes().ForgetMounts(1ull << index_);
  session_->locks().ReleaseMount(index_);
  changed_.NotifyAll();
}

// A client in the kernel would ask for ever, and unmounting waits for what it keeps to itself: both
// are told that it is gone.
Task<void> Mount::DetachDevice() {
  const auto self = shared_from_this();
  if (device_->StillMounted()) {
    frontend_.Kill();
    auto refused = RefuseLeftClients(LaunchOf(options_.spec.mountpoint), device_->fd());
    if (!refused) {
      spdlog::warn("{}: programs that still use it may hang: {}", options_.spec.mountpoint,
                   refused.error().ToString());
    }
  } else {
    device_->Abort();
  }
  if (auto done = co_await UnmountDevice(true); !done) {
    spdlog::error("{}: {}", options_.spec.mountpoint, done.error().ToString());
  }
  detaching_ = false;
  changed_.NotifyAll();
}

// Directories above may be of a file system that does not answer.
Task<Result<void>> Mount::UnmountDevice(bool lazy) {
  auto work = [](MountDevice* device, bool detach) -> Task<Result<void>> {
    co_return device->Unmount(detach);
  };
  Task<Result<void>> unmounting = work(device_.get(), lazy);
  co_return co_await boost::asio::co_spawn(unmounter().get_executor(), std::move(unmounting),
                                           boost::asio::use_awaitable);
}

boost::asio::thread_pool& Mount::unmounter() {
  if (!unmounter_) unmounter_ = std::make_unique<boost::asio::thread_pool>(kUnmounters);
  return *unmounter_;
}

// While frontends that end are still replaced.
Task<void> Mount::WriteBack() {
  if (!is_nfs() || state_ != State::kReady) co_return;
  auto work = [](MountDevice* device) -> Task<void> {
    device->WriteBack();
    co_return;
  };
  co_await boost::asio::co_spawn(unmounter().get_executor(), work(device_.get()),
                                 boost::asio::use_awaitable);
}

// Detached but still in use: the programs that use it keep it alive until this, or are told by
// others that it is gone.
void Mount::EndForClients() {
  if (!device_->Outlived()) return device_->Abort();
  auto refused = RefuseLeftClients(LaunchOf(options_.spec.mountpoint), device_->fd());
  if (!refused) {
    spdlog::warn("{}: programs that still use it may hang: {}", options_.spec.mountpoint,
                 refused.error().ToString());
  }
  frontend_.Kill();
}

Task<Result<void>> Mount::Stop(bool force) {
  // Unmounting may need answers from a frontend.
  if (state_ == State::kRecovering && !force) co_await Settled(kRecoveryPatience);
  if (state_ == State::kRecovering && !force) {
    co_return Error{EBUSY, "unmount " + options_.spec.mountpoint + ": " + problem_};
  }
  if (state_ == State::kDead) {
    while (detaching_) co_await changed_.Wait();
    state_ = State::kGone;
    co_return Result<void>{};
  }
  if (!force) co_await WriteBack();
  if (!in_service()) co_return Error{EBUSY, "the mount is starting or stopping"};
  const bool served = state_ == State::kReady;
  state_ = State::kUnmounting;
  restart_timer_.cancel();
  trace_timer_.cancel();
  if (!served) frontend_.Kill();
  finder_.reset();  // who is looking something up uses the mount
  if (const auto unmounted = co_await UnmountDevice(force); !unmounted) {
    // What has ended meanwhile was not replaced.
    state_ = State::kReady;
    if (frontend_gone_ || !served) Detach();
    co_return unmounted.error();
  }
  if (force) EndForClients();
  boost::asio::steady_timer patience(executor_, std::chrono::seconds(5));
  patience.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
    if (!cancelled && !self->frontend_gone_) {
      LogEvent(
          spdlog::level::warn, {{"mount", self->options_.spec.mountpoint}},
          "{}: the frontend does not end, as when another mount namespace still has the mount; "
          "killing it",
          self->options_.spec.mountpoint);
      self->frontend_.Kill();
    }
  });
  while (!frontend_gone_ || serving_) co_await changed_.Wait();
  patience.cancel();
  session_->access().Leave(this);
  session_->mounts().Remove(this);
  session_->contents().ReleaseMount(index_);
  session_->inodes().ForgetMounts(1ull << index_);
  session_->locks().ReleaseMount(index_);
  state_ = State::kGone;
  ForgetDescriptor(NameOfDevice(HexOf(session_->id()), index_));
  RemoveMountManifest(options_.spool, index_);
  for (const char* file : {"lane", "arena", "ledger"}) unlink(SpoolFile(file).c_str());
  space_.Set(0);
  space_.Reserve(0);
  co_return Result<void>{};
}

Result<int32_t> Mount::BackingOpen(int file) {
  auto id = device_->BackingOpen(file);
  if (id) ledger_->AddBacking(*id);
  return id;
}

void Mount::BackingClose(int32_t backing_id) {
  device_->BackingClose(backing_id);
  ledger_->RemoveBacking(backing_id);
}

MountStatus Mount::Status() const {
  MountStatus status;
  status.mountpoint = options_.spec.mountpoint;
  status.workspace = session_->workspace();
  status.gateway = session_->gateway_address();
  status.backend = is_nfs() ? "nfs" : "fuse";
  status.read_only = options_.spec.read_only;
  status.passthrough = options_.passthrough;
  status.squash = options_.spec.squash;
  status.relatime = options_.spec.relatime;
  status.fsync_local = options_.spec.fsync_local;
  status.frontend_pid = static_cast<uint32_t>(frontend_.pid());
  status.frontend_restarts = frontend_restarts_;
  status.problem = problem_;
  status.frontend_up_ms = static_cast<uint64_t>((MonotonicNs() - frontend_since_ns_) / 1'000'000);
  status.last_end = last_end_;
  DescribeExport(&status);
  status.owner_uid = options_.caller.uid;
  status.state = StateName(state_);
  status.frontend_rss_bytes = frontend_.running() ? PrivateResidentBytes(frontend_.pid()) : 0;
  status.ready_us = ready_us_;
  status.dirty_bytes = session_->contents().dirty_bytes();
  for (uint32_t i = 0; i < shm::kCounterCount; ++i) {
    status.counters[shm::kCounterNames[i]] = lane_->Counter(i);
  }
  for (uint32_t i = 0; i < shm::kHistogramCount; ++i) {
    status.latency_p50_ns[shm::kHistogramNames[i]] = Quantile(*lane_, i, 0.5);
    status.latency_p99_ns[shm::kHistogramNames[i]] = Quantile(*lane_, i, 0.99);
    LatencyCounts& counts = status.latencies[shm::kHistogramNames[i]];
    for (uint32_t b = 0; b < shm::kHistogramBuckets; ++b) {
      counts.push_back(lane_->HistogramBucket(i, b));
    }
  }
  return status;
}

}  // namespace airstore::broker
