// SPDX-License-Identifier: Apache-2.0
//
// MountManifest: what a later broker must know of a mount to serve it on, or to end it. A small
// JSON file next to the mount's lane, for the broker's user only; its only secret is the key of an
// NFS export.
// Threads: stateless.
#pragma once

#include <string>
#include <vector>

#include "broker/broker_api.h"
#include "broker/nfs_names.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct MountManifest {
  uint32_t index = 0;         // of the mount in its session
  MountSpec spec;             // without the token
  Caller owner;               // whose mount it is, and who its frontend runs as
  bool passthrough = false;   // as negotiated with the kernel
  uint32_t device_minor = 0;  // of the mounted file system; 0: not known
  // The file that the frontend's process is of, by which its copy is found when another broker has
  // it write what there is in portable form (remap.h). 0: there is none.
  uint64_t program_device = 0;
  uint64_t program_inode = 0;
  uint32_t portable = 0;  // shm::kPortableVersion of that program
  NfsExportNames nfs;     // empty: not served over NFS
};

// Replaces an older one as a whole.
Result<void> WriteMountManifest(const std::string& directory, const MountManifest& manifest);
// EPROTO when it makes no sense.
Result<MountManifest> ReadMountManifest(const std::string& path);
// Those in the directory, by index; what makes no sense is left out.
std::vector<MountManifest> MountManifestsIn(const std::string& directory);
// With the socket of its frontend.
void RemoveMountManifest(const std::string& directory, uint32_t index);

}  // namespace airstore::broker
