// SPDX-License-Identifier: Apache-2.0
//
// What a mount's device is, by its backend.
#include "broker/mount_device.h"

#include "broker/fuse_device.h"
#include "broker/mount.h"
#include "broker/session.h"

namespace airstore::broker {

Result<std::unique_ptr<MountDevice>> Mount::MakeDevice() {
  if (is_nfs()) {
    options_.nfs = NewExportNames();
    auto listening = NfsExport::Listen();
    if (!listening) return listening.error();
    return std::unique_ptr<MountDevice>(std::move(*listening));
  }
  FuseMountOptions mount_options;
  mount_options.mountpoint = options_.spec.mountpoint;
  mount_options.source = "airstore:" + session_->workspace();
  mount_options.read_only = options_.spec.read_only;
  mount_options.kernel_checks = options_.spec.squash != SquashWho::kAll;
  mount_options.relatime = options_.spec.relatime;
  mount_options.owner_uid = options_.caller.uid;
  mount_options.owner_gid = options_.caller.gid;
  auto device = FuseDevice::Mount(mount_options);
  if (!device) return device.error();
  return std::unique_ptr<MountDevice>(std::move(*device));
}

std::unique_ptr<MountDevice> Mount::AdoptDevice(UniqueFd device, uint32_t minor) const {
  if (is_nfs()) return NfsExport::Adopt(std::move(device));
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
  return text;
}

// Attributes are believed for a second: then what other mounts have changed is seen.
void Mount::DescribeExport(MountStatus* status) const {
  if (!is_nfs() || device_ == nullptr) return;
  status->nfs_host = NfsExport::kHost;
  status->nfs_port = static_cast<const NfsExport&>(*device_).port();
  status->nfs_path = options_.nfs.path;
  const std::string port = std::to_string(status->nfs_port);
  status->nfs_command = "mount -t nfs -o nfsvers=3,proto=tcp,port=" + port +
                        ",mountproto=tcp,mountport=" + port +
                        ",nolock,hard,actimeo=1,nosuid,nodev " + status->nfs_host + ":" +
                        status->nfs_path + " " + options_.spec.mountpoint;
}

}  // namespace airstore::broker
