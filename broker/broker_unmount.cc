// SPDX-License-Identifier: Apache-2.0
//
// Unmounting. What would have nowhere to be asked for is sent before: once it is unmounted, nobody
// who looks at the mount point sees that something is missing at the gateway.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "broker/broker.h"
#include "broker/log_event.h"
#include "broker/shell_word.h"

namespace airstore::broker {
namespace {

using Done = Outcome<LeftUnsent>;

// Before, and once more for what comes meanwhile.
constexpr auto kPatience = std::chrono::seconds(30);

LeftUnsent UnsentOf(Session& session) {
  return {session.log().pending(), session.contents().dirty_bytes(), session.log().last_error()};
}

std::string Says(const LeftUnsent& left) {
  return std::to_string(left.changes) + " changes (" + FormatSize(left.bytes) +
         ") are not at the gateway yet" + (left.why.empty() ? "" : ": " + left.why);
}

Done Fail(FailureKind kind, std::string message, std::string advice = "") {
  return {std::nullopt, {kind, std::move(message), std::move(advice)}};
}

Failure Refusal(const Error& error, const MountSpec& spec) {
  const std::string& mountpoint = spec.mountpoint;
  if (error.code == EBUSY && spec.serve_only) {
    return {FailureKind::kBusy, mountpoint + " is in use: a client is connected",
            "unmount it there (umount), or give --force to end it now"};
  }
  if (error.code == EBUSY) {
    return {FailureKind::kBusy, mountpoint + " is in use",
            "close what is open in it (lsof +f -- " + ShellWord(mountpoint) +
                "), or give --force to detach it now"};
  }
  if (error.code == ESTALE) return {FailureKind::kBusy, error.message, "unmount that first"};
  return {FailureKind::kInternal, error.ToString(), ""};
}

}  // namespace

Task<Done> Broker::Unmount(const Caller& caller, const std::string& mountpoint, bool force,
                           ProgressFn progress) {
  const MountPtr mount = FindMount(caller, mountpoint);
  if (!mount) {
    co_return Fail(FailureKind::kNotFound, mountpoint + " is not a mount of this broker",
                   "airctl status lists the mounts");
  }
  co_return co_await UnmountFound(mount, force, std::move(progress));
}

Task<Done> Broker::UnmountFound(MountPtr mount, bool force, ProgressFn progress) {
  const std::string mountpoint = mount->spec().mountpoint;
  SlotPtr slot;
  for (const SlotPtr& candidate : sessions_) {
    if (candidate->session.get() == mount->session()) slot = candidate;
  }
  if (!slot) co_return Fail(FailureKind::kBusy, mountpoint + " is being unmounted");
  Session& session = *slot->session;
  if (!force && mount->in_service()) {
    ++slot->users;  // it stays meanwhile
    co_await mount->WriteBack();
    const bool sent = co_await DrainSession(slot, kPatience, progress);
    --slot->users;
    if (std::find(mounts_.begin(), mounts_.end(), mount) == mounts_.end()) {
      co_await DropSessionIfUnused(slot);
      co_return Fail(FailureKind::kNotFound,
                     mountpoint + " is not a mount of this broker any more");
    }
    const LeftUnsent left = UnsentOf(session);
    // What other mounts of the workspace go on changing is seen there.
    if (!sent && !(slot->users > 1 && left.why.empty())) {
      co_return Fail(
          FailureKind::kDirty, mountpoint + " stays mounted: " + Says(left),
          "try again later, or give --force: they are kept then, and sent as soon as the "
          "gateway takes them");
    }
  }
  if (const auto stopped = co_await mount->Stop(force); !stopped) {
    co_return Done{std::nullopt, Refusal(stopped.error(), mount->spec())};
  }
  if (std::erase(mounts_, mount) == 0) {  // somebody else has done it
    co_return Fail(FailureKind::kNotFound, mountpoint + " is not a mount of this broker");
  }
  TellMountCounts();
  const bool clean =
      co_await DrainSession(slot, force ? std::chrono::seconds(0) : kPatience, progress);
  const LeftUnsent left = clean ? LeftUnsent() : UnsentOf(session);
  --slot->users;
  if (clean) {
    co_await DropSessionIfUnused(slot);
  } else if (slot->users == 0) {
    broker::Spawn(executor_, DropSessionWhenClean(slot));
  }
  LogEvent(spdlog::level::info, {{"mount", mountpoint}}, "unmounted {}", mountpoint);
  if (clean || force) co_return Done{left, {}};
  co_return Fail(FailureKind::kDirty, mountpoint + " is unmounted, but " + Says(left),
                 "they are kept and sent as soon as the gateway takes them; see airctl status");
}

}  // namespace airstore::broker
