// SPDX-License-Identifier: Apache-2.0
//
// Mounting an export with the NFS client of this host's kernel, and unmounting it.
// Threads: any; every call blocks, and those that mount or unmount need the export to be served
// meanwhile.
#pragma once

#include <cstdint>
#include <string>

#include "broker/proc_mounts.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct NfsMountOptions {
  std::string source;  // HOST:/PATH
  std::string mountpoint;
  int directory = -1;     // what to mount on, wherever that path leads by then; -1: what is there
  bool by_helper = true;  // mount(8) may be asked: it goes by the path
  uint16_t port = 0;
  bool read_only = false;
};

// For people, and for who mounts an export that is only served.
std::string NfsMountCommand(const NfsMountOptions& options);

// By mount(2), which needs no helper; else by mount(8). Errors: ENODEV: this kernel has no NFS
// client; ENOPKG: mount(8) has no helper for NFS; others begin with "NFS mount".
Result<void> MountNfs(const NfsMountOptions& options);
// Of what mount(8) said when it failed. `installed`: its helper for NFS is there.
Error NfsHelperError(const std::string& output, bool installed);

// Writes back what the client keeps to itself.
void SyncNfs(const std::string& mountpoint);
// EBUSY: something is open in it. ESTALE: something else is mounted over it. With `force` it is
// made to end: umount, umount -f, umount -l, a few seconds for each.
Result<void> UnmountNfs(const MountedFs& mounted, bool force);

}  // namespace airstore::broker
