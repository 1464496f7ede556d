// SPDX-License-Identifier: Apache-2.0
#include "broker/mount.h"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "broker/clock.h"
#include "broker/mount_manifest.h"
#include "broker/service_manager.h"
#include "broker/session.h"

namespace airstore::broker {
namespace {

// Beyond io_timeout, which ends an operation from within, before it has an effect.
constexpr auto kAnswerGrace = std::chrono::seconds(2);
// A frontend answers by itself when the broker does not.
constexpr auto kFrontendGrace = std::chrono::milliseconds(500);

// Hardly anything goes through the arena where the kernel writes by itself.
uint64_t ArenaBytes(const SpoolBudget& budget, bool passthrough) {
  const uint64_t most = passthrough ? 2 * shm::kMinArenaBytes : shm::kArenaBytes;
  return std::min(budget.ArenaBytes(), most);
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
      repeated_(executor, std::chrono::nanoseconds(options_.io_timeout).count()),
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

void Mount::SendSlabEnded(uint32_t index) {
  if (!frontend_.running()) return;
  if (auto sent = frontend_.SendSlabEnded(index); !sent) {
    spdlog::warn("{}: slab {} stays mapped: {}", options_.spec.mountpoint, index,
                 sent.error().ToString());
  }
}

Result<void> Mount::SendContent(uint64_t id, int file) { return frontend_.SendContent(id, file); }

Result<int32_t> Mount::BackingOpen(int file) {
  auto id = device_->BackingOpen(file);
  if (id) ledger_->AddBacking(*id);
  return id;
}

void Mount::BackingClose(int32_t backing_id) {
  device_->BackingClose(backing_id);
  ledger_->RemoveBacking(backing_id);
}

}  // namespace airstore::broker
