// SPDX-License-Identifier: Apache-2.0
//
// Where a mount is made, which backend it gets, and what is said when there is none.
#include <cerrno>

#include "broker/as_caller.h"
#include "broker/broker.h"
#include "broker/proc_mounts.h"
#include "broker/shell_word.h"

namespace airstore::broker {
namespace {

bool FuseUnavailable(const Error& error) { return error.code == ENODEV; }
bool NfsUnavailable(const Error& error) { return error.code == ENODEV || error.code == ENOPKG; }

std::string ServeOnly(const MountSpec& spec) {
  return "or serve it only, for a guest or container to mount: airctl mount " + spec.mountpoint +
         " --backend nfs --serve-only";
}

// Of a mount for which nobody asked for NFS.
Failure FallbackFailure(const Error& fuse, const Error& nfs, const MountSpec& spec) {
  const std::string first = "fuse mount failed: fuse unavailable: " + fuse.message;
  const std::string advice = "mend either of them (airctl doctor), " + ServeOnly(spec);
  if (NfsUnavailable(nfs)) {
    return {FailureKind::kNoBackend, first + "; nfs fallback unavailable: " + nfs.message, advice};
  }
  return {FailureKind::kNfsFallbackFailed, first + "; nfs fallback failed: " + nfs.ToString(),
          advice};
}

}  // namespace

Failure Broker::MountFailure(const Error& error, const MountSpec& spec) const {
  if (spec.backend == "nfs" && NfsUnavailable(error)) {
    const std::string mend = error.code == ENOPKG ? "install nfs-common (apt install nfs-common), "
                                                  : "load it (modprobe nfs), ";
    return {FailureKind::kNfsUnavailable, error.message, mend + ServeOnly(spec)};
  }
  if (FuseUnavailable(error)) {
    return {FailureKind::kFuseUnavailable, "fuse unavailable: " + error.message,
            "or mount it over NFS: --backend nfs"};
  }
  switch (error.code) {
    case EBUSY:
      return {FailureKind::kBusy, error.message, ""};
    case ENOENT:
    case EACCES:
    case EPERM:
      return {FailureKind::kHost, error.message, ""};
    case ENOTDIR:
      return {FailureKind::kUsage, spec.mountpoint + " is not a directory", ""};
    case ENOTCONN:
      return {FailureKind::kBusy, error.message,
              "airctl unmount --force " + ShellWord(spec.mountpoint)};
    default:
      return {FailureKind::kInternal, "mount " + spec.mountpoint + ": " + error.ToString(), ""};
  }
}

Task<std::optional<Outcome<MountStatus>>> Broker::InTheWay(Caller caller, MountSpec spec,
                                                           ProgressFn progress) {
  using Answer = Outcome<MountStatus>;
  const auto busy = [](std::string message, std::string advice) {
    return Answer{std::nullopt, {FailureKind::kBusy, std::move(message), std::move(advice)}};
  };
  for (const MountPtr& existing : std::vector<MountPtr>(mounts_)) {
    if (existing->spec().mountpoint != spec.mountpoint) continue;
    // Names of what is only served are their owners' own.
    if (existing->owner() != caller.uid && (existing->spec().serve_only || spec.serve_only)) {
      continue;
    }
    if (!MaySee(caller, *existing)) {
      co_return busy(spec.mountpoint + " is a mount of another user", "mount somewhere else");
    }
    if (existing->in_service() && existing->session()->refused()) {
      co_return co_await Remount(existing, spec);
    }
    if (existing->state() != broker::Mount::State::kDead && !existing->LostItsPlace()) {
      co_return busy(
          spec.mountpoint + " is already a mount of workspace " + existing->Status().workspace,
          "airctl unmount " + ShellWord(spec.mountpoint));
    }
    (void)co_await UnmountFound(existing, true, progress);
  }
  // Its server may be gone: it is not asked.
  if (!spec.serve_only && IsOurNfs(MountedAt(spec.mountpoint))) {
    co_return busy(spec.mountpoint + " is a stale mount",
                   "airctl unmount --force " + ShellWord(spec.mountpoint));
  }
  co_return std::nullopt;
}

Task<Outcome<std::shared_ptr<const UniqueFd>>> Broker::FindPlace(Caller caller, MountSpec* spec) {
  using Place = Outcome<std::shared_ptr<const UniqueFd>>;
  const std::string& named = spec->mountpoint;
  auto found = co_await OpenDirectoryAs(caller, named);
  if (!found) {
    Error error = found.error();
    switch (error.code) {
      case ENOENT:
        co_return Place{
            {}, {FailureKind::kUsage, named + " does not exist", "mkdir -p " + ShellWord(named)}};
      case EACCES:
        co_return Place{{}, {FailureKind::kPermission, error.ToString(), ""}};
      case ETIMEDOUT:
        co_return Place{{},
                        {FailureKind::kHost, named + " does not answer",
                         "look at what is mounted there or above it"}};
      case ENOTCONN:
        error.message = named + " is a stale mount";
        break;
      default:
        break;
    }
    co_return Place{{}, MountFailure(error, *spec)};
  }
  if (caller.uid != 0 && found->owner != caller.uid) {
    co_return Place{{},
                    {FailureKind::kPermission, named + " belongs to another user",
                     "mount on a directory that you own"}};
  }
  spec->mountpoint = found->path;
  co_return Place{std::move(found->directory), {}};
}

Task<Outcome<Broker::MountPtr>> Broker::StartMount(Session* session, uint32_t index,
                                                   MountOptions options) {
  using Started = Outcome<MountPtr>;
  const MountSpec asked = options.spec;
  const bool any = asked.backend == "auto";
  if (any) options.spec.backend = "fuse";
  auto mount = co_await broker::Mount::Start(executor_, session, index, options);
  if (mount) co_return Started{*mount, {}};
  const Error first = mount.error();
  if (!any || !FuseUnavailable(first)) {
    co_return Started{std::nullopt, MountFailure(first, options.spec)};
  }
  options.spec.backend = "nfs";
  mount = co_await broker::Mount::Start(executor_, session, index, std::move(options));
  if (mount) co_return Started{*mount, {}};
  co_return Started{std::nullopt, FallbackFailure(first, mount.error(), asked)};
}

}  // namespace airstore::broker
