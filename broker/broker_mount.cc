// SPDX-License-Identifier: Apache-2.0
//
// Which backend a mount gets, and what is said when there is none.
#include <cerrno>

#include "broker/broker.h"

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
      return {FailureKind::kBusy, error.message, "airctl unmount --force " + spec.mountpoint};
    default:
      return {FailureKind::kInternal, "mount " + spec.mountpoint + ": " + error.ToString(), ""};
  }
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
