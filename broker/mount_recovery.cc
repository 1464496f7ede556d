// SPDX-License-Identifier: Apache-2.0
//
// The frontends of a mount: starting one, and replacing one that has ended unexpectedly.
//
// Order matters in a replacement. The dead process is reaped first, so that nobody writes to the
// lane; then the lane is put in order; then the kernel is told to send again what was not answered,
// before the successor reads: what it reads anew must not be sent twice.
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <cstring>

#include "broker/clock.h"
#include "broker/log_event.h"
#include "broker/mount.h"
#include "broker/remap.h"
#include "broker/session.h"

namespace airstore::broker {
namespace {

constexpr int kMostStarts = 10;
constexpr int kCallTries = 20;
constexpr auto kCallPause = std::chrono::milliseconds(5);
constexpr int kExitUnmounted = 0;  // of a frontend: the file system is no longer mounted

}  // namespace

LaunchOptions Mount::LaunchOf(std::string first_argument) const {
  LaunchOptions launch;
  launch.program = options_.frontend_dir + (is_nfs() ? "/airstore-nfs" : "/airstore-fuse");
  launch.arguments = {std::move(first_argument)};
  launch.uid = options_.caller.uid;
  launch.gid = options_.caller.gid;
  return launch;
}

Result<void> Mount::StartFrontend() {
  session_->access().Noted(false);  // the one before may have died before it said so
  const LaunchOptions launch = LaunchOf(options_.spec.mountpoint);
  auto meta_fd = session_->inodes().meta().segment().OpenReadOnly();
  if (!meta_fd) return meta_fd.error();
  shm::ChannelMessage message{};
  std::memcpy(message.session, session_->id().data(), sizeof(message.session));
  message.mount_index = index_;
  if (options_.spec.read_only) message.flags |= shm::kAttachReadOnly;
  const bool read_only = options_.spec.read_only || session_->read_only();
  if (options_.spec.relatime && !read_only) message.flags |= shm::kRelatime;
  if (options_.passthrough) message.flags |= shm::kAttachPassthrough;
  if (options_.spec.uid) {
    message.flags |= shm::kShowUid;
    message.show_uid = *options_.spec.uid;
  }
  if (options_.spec.gid) {
    message.flags |= shm::kShowGid;
    message.show_gid = *options_.spec.gid;
  }
  if (options_.spec.squash != SquashWho::kNobody && !is_nfs()) {
    const bool all = options_.spec.squash == SquashWho::kAll;
    message.flags |= all ? shm::kSquashAll : shm::kSquashRoot;
    message.anonymous_uid = options_.spec.anonymous_uid;
    message.anonymous_gid = options_.spec.anonymous_gid;
  }
  const std::string text = ExportText();
  message.text_bytes = static_cast<uint32_t>(text.copy(message.text, sizeof(message.text)));
  auto listener = BindFrontendSocket(options_.spool, FrontendSocketName(index_));
  if (!listener) return listener.error();
  AIRSTORE_TRY(frontend_.Start(launch, message,
                               {device_->fd(), meta_fd->get(), lane_->lane().fd(),
                                lane_->arena().fd(), wake_.native_handle(), listener->get()}));
  NoteProgram();
  for (const auto& segment : session_->inodes().slabs().segments()) {
    if (segment) SendSlab(*segment);
  }
  slabs_sent_ = session_->inodes().slabs().segments().size();
  return {};
}

void Mount::NoteProgram() {
  struct stat program {};
  const std::string path = "/proc/" + std::to_string(frontend_.pid()) + "/exe";
  if (stat(path.c_str(), &program) != 0) return;
  if (program.st_dev == program_device_ && program.st_ino == program_inode_) return;
  if (auto kept = KeepProgram(path, KeptProgram(options_.spool, program.st_dev, program.st_ino));
      !kept) {
    spdlog::warn("{}: {}", options_.spec.mountpoint, kept.error().ToString());
    return;
  }
  program_device_ = program.st_dev;
  program_inode_ = program.st_ino;
  if (auto written = WriteMountManifest(options_.spool, Manifest()); !written) {
    spdlog::warn("{}: {}", options_.spec.mountpoint, written.error().ToString());
  }
}

Task<void> Mount::WatchFrontend() {
  const auto self = shared_from_this();
  for (;;) {
    // One that was adopted with its device only has had no frontend of ours yet.
    ProcessEnd end{.text = "it did not outlive its broker"};
    if (frontend_.running()) end = co_await frontend_.AwaitEnd();
    // Of a frontend that an earlier broker started the exit status is not known.
    const bool unmounted =
        end.status == kExitUnmounted || (end.status < 0 && end.signal == 0 && !device_->Mounted());
    if (state_ != State::kReady || unmounted) {
      lane_->FrontendGone();
      if (state_ == State::kReady) problem_ = "it was unmounted by somebody else";
      break;
    }
    if (!co_await Replace(std::move(end))) break;
  }
  frontend_gone_ = true;
  wake_.cancel();
  if (in_service()) {
    LogEvent(spdlog::level::err, {{"mount", options_.spec.mountpoint}, {"error", problem_}},
             "{}: {}; the mount is detached", options_.spec.mountpoint, problem_);
    while (serving_) co_await changed_.Wait();  // what was accepted is applied first
    Detach();
  }
  changed_.NotifyAll();
}

Task<bool> Mount::Replace(ProcessEnd end) {
  const int64_t ended_ns = MonotonicNs();
  state_ = State::kRecovering;
  problem_ = "the frontend ended unexpectedly: " + end.text;
  last_end_ = end.text;
  LogEvent(spdlog::level::warn, {{"mount", options_.spec.mountpoint}, {"error", problem_}},
           "{}: {}; replacing it", options_.spec.mountpoint, problem_);
  RefuseBlamed(end);
  std::chrono::nanoseconds lived(ended_ns - frontend_since_ns_);
  for (int starts = 1;; ++starts) {
    lane_->FrontendGone();
    eventfd_write(wake_.native_handle(), 1);  // there may be records now behind a gap
    const auto pause = restart_policy_.Ended(lived, end.signal == SIGKILL);
    if (pause.count() != 0) {
      LogEvent(spdlog::level::err, {{"mount", options_.spec.mountpoint}},
               "{}: frontends end too often; the next one in {} ms", options_.spec.mountpoint,
               pause.count());
      restart_timer_.expires_after(pause);
      boost::system::error_code cancelled;
      co_await restart_timer_.async_wait(
          boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
      if (state_ != State::kRecovering) co_return false;
    }
    if (!device_->has_kernel()) co_await CloseOpens();
    if (auto resent = device_->Resend(); !resent) {
      problem_ += "; the kernel does not send requests again: " + resent.error().ToString();
      co_return false;
    }
    auto started = StartFrontend();
    if (started) started = co_await frontend_.AwaitReady();
    if (state_ != State::kRecovering) {  // stopped or detached meanwhile
      if (started) {
        frontend_.Kill();
        (void)co_await frontend_.AwaitEnd();
      }
      co_return false;
    }
    if (started) break;
    problem_ =
        "a frontend that ended unexpectedly could not be replaced: " + started.error().ToString();
    spdlog::error("{}: {}", options_.spec.mountpoint, problem_);
    if (starts == kMostStarts) co_return false;
    lived = std::chrono::nanoseconds(0);
    end = ProcessEnd{};
  }
  frontend_since_ns_ = MonotonicNs();
  ++frontend_restarts_;
  state_ = State::kReady;
  problem_.clear();
  LogEvent(spdlog::level::info, {{"mount", options_.spec.mountpoint}},
           "{}: another frontend serves after {} ms", options_.spec.mountpoint,
           (frontend_since_ns_ - ended_ns) / 1'000'000);
  changed_.NotifyAll();
  co_return true;
}

// What it had accepted comes first. Calls of its that are under way may open something yet; those
// that wait for the gateway do not.
Task<void> Mount::CloseOpens() {
  const uint64_t before = drains_;
  eventfd_write(wake_.native_handle(), 1);  // the lane may have been drained during a pause
  while (drains_ == before && serving_ && state_ == State::kRecovering) co_await changed_.Wait();
  boost::asio::steady_timer timer(executor_);
  for (int tries = 0; tries < kCallTries && calls_in_work_ != 0; ++tries) {
    timer.expires_after(kCallPause);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
  if (state_ != State::kRecovering) co_return;
  ++closes_;
  ledger_->CloseAll();
  session_->contents().ReleaseMount(index_);
}

// Who sends SIGKILL does not look at what is in work.
void Mount::RefuseBlamed(const ProcessEnd& end) {
  if (end.signal == SIGKILL) return;
  for (const uint64_t unique : restart_policy_.Blame(lane_->RequestsInWork())) {
    spdlog::error("{}: request {} was in work at each of the last crashes; it is refused",
                  options_.spec.mountpoint, unique);
    (void)device_->Answer(unique, EIO);
  }
}

Task<void> Mount::Settled(std::chrono::seconds patience) {
  boost::asio::steady_timer deadline(executor_, patience);
  const auto late = std::make_shared<bool>(false);
  deadline.async_wait([self = shared_from_this(), late](const boost::system::error_code& error) {
    if (error) return;
    *late = true;
    self->changed_.NotifyAll();
  });
  while (state_ == State::kRecovering && !*late) co_await changed_.Wait();
}

}  // namespace airstore::broker
