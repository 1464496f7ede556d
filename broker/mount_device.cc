// SPDX-License-Identifier: Apache-2.0
//
// What a mount's device is, by its backend.
#include "broker/mount_device.h"

#include <sys/stat.h>
#include <unistd.h>

#include "broker/fuse_device.h"
#include "broker/mount.h"
#include "broker/session.h"

namespace airstore::broker {

Result<std::unique_ptr<MountDevice>> Mount::MakeDevice() {
  if (is_nfs()) {
    auto secret = ReadExportSecret(options_.state_dir);
    if (!secret) return secret.error();
    options_.nfs = NamesOf({options_.caller.uid, session_->gateway_address(),
                            session_->workspace_id(), options_.spec.mountpoint},
                           *secret);
    // A kernel that cannot let go of an earlier mount yet would wait for that one's connection.
    if (!options_.spec.serve_only) options_.nfs.port = 0;
    auto listening = NfsExport::Listen(options_.nfs.port);
    if (!listening) return listening.error();
    return std::unique_ptr<MountDevice>(std::move(*listening));
  }
  FuseMountOptions mount_options;
  mount_options.mountpoint = options_.spec.mountpoint;
  if (options_.place) mount_options.directory = options_.place->get();
  mount_options.source = "airstore:" + session_->workspace();
  mount_options.read_only = options_.spec.read_only;
  mount_options.kernel_checks = options_.spec.squash != SquashWho::kAll;
  mount_options.relatime = options_.spec.relatime;
  mount_options.allow_other = options_.allow_other;
  mount_options.owner_uid = options_.caller.uid;
  mount_options.owner_gid = options_.caller.gid;
  auto device = FuseDevice::Mount(mount_options);
  if (!device) return device.error();
  return std::unique_ptr<MountDevice>(std::move(*device));
}

// What a frontend hands over may be anything, and a write into it must not block the event loop.
Result<void> Mount::CheckDevice(int device) const {
  struct stat info {};
  struct stat fuse {};
  if (fstat(device, &info) != 0) return SysError("look at the mount's device");
  if (is_nfs() && S_ISSOCK(info.st_mode)) return {};
  if (!is_nfs() && S_ISCHR(info.st_mode) && stat("/dev/fuse", &fuse) == 0 &&
      info.st_rdev == fuse.st_rdev) {
    return {};
  }
  return Error{EPROTO, "what the frontend serves is no device of a mount"};
}

std::unique_ptr<MountDevice> Mount::AdoptDevice(UniqueFd device, uint32_t minor) const {
  if (is_nfs()) {
    if (options_.spec.serve_only) return NfsExport::Adopt(std::move(device), "", "");
    return NfsExport::Adopt(std::move(device), ExportSource(), options_.spec.mountpoint);
  }
  return FuseDevice::Adopt(std::move(device), options_.spec.mountpoint, minor);
}

// Lines as frontends/nfs/service.h reads them.
std::string Mount::ExportText() const {
  if (!is_nfs()) return {};
  std::string text = "path=" + options_.nfs.path + "\nkey=" + options_.nfs.key +
                     "\nuid=" + std::to_string(options_.caller.uid) +
                     "\ngid=" + std::to_string(options_.caller.gid) + "\n";
  if (options_.spec.squash != SquashWho::kNobody) {
    text += options_.spec.squash == SquashWho::kAll ? "squash=all\n" : "squash=root\n";
    text += "anonymous_uid=" + std::to_string(options_.spec.anonymous_uid) +
            "\nanonymous_gid=" + std::to_string(options_.spec.anonymous_gid) + "\n";
  }
  if (options_.spec.nfs_auth_none) text += "mount_auth=none\n";
  return text;
}

std::string Mount::ExportSource() const {
  return std::string(NfsExport::kHost) + ":" + options_.nfs.path;
}

NfsMountOptions Mount::NfsOptions() const {
  NfsMountOptions options;
  options.source = ExportSource();
  options.mountpoint = options_.spec.mountpoint;
  if (options_.place) options.directory = options_.place->get();
  options.by_helper = options_.caller.uid == 0 || geteuid() != 0;
  options.port = static_cast<const NfsExport&>(*device_).port();
  options.read_only = options_.spec.read_only;
  return options;
}

// The kernel asks the frontend, and that may ask us.
Task<Result<void>> Mount::MountExport() {
  auto work = [](NfsExport* device, NfsMountOptions options) -> Task<Result<void>> {
    co_return device->Mount(options);
  };
  Task<Result<void>> mounting = work(static_cast<NfsExport*>(device_.get()), NfsOptions());
  co_return co_await boost::asio::co_spawn(unmounter().get_executor(), std::move(mounting),
                                           boost::asio::use_awaitable);
}

bool Mount::LostItsPlace() const {
  return is_nfs() && !options_.spec.serve_only && in_service() &&
         !static_cast<const NfsExport&>(*device_).StillMounted();
}

void Mount::DescribeExport(MountStatus* status) const {
  if (!is_nfs() || device_ == nullptr) return;
  status->nfs_host = NfsExport::kHost;
  status->nfs_port = static_cast<const NfsExport&>(*device_).port();
  status->nfs_path = options_.nfs.path;
  if (options_.spec.serve_only) status->nfs_command = NfsMountCommand(NfsOptions());
  if (LostItsPlace()) {
    status->problem = "somebody else has unmounted it; 'airctl unmount' ends it";
  }
}

}  // namespace airstore::broker
