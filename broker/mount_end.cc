// SPDX-License-Identifier: Apache-2.0
#include "broker/mount.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include "broker/left_clients.h"
#include "broker/log_event.h"
#include "broker/mount_manifest.h"
#include "broker/service_manager.h"
#include "broker/session.h"

namespace airstore::broker {
namespace {

constexpr auto kRecoveryPatience = std::chrono::seconds(15);
constexpr size_t kUnmounters = 2;  // one by force while another waits for what is written back

}  // namespace

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

}  // namespace airstore::broker
