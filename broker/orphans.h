// SPDX-License-Identifier: Apache-2.0
//
// Orphans: mounts of a broker that has died. Until somebody serves them, whoever uses them waits;
// those that cannot be served again must be ended.
// Threads: any; calls block, for seconds at most.
#pragma once

#include <string>
#include <vector>

#include "broker/frontend_link.h"
#include "broker/mount_manifest.h"

namespace airstore::broker {

// A mount that can be served on.
struct LeftMount {
  MountManifest manifest;
  // Without a channel: its frontend is gone, and another one is to be started on the device.
  FrontendLink link;
};

// Those in a session's spool. `frontend_dir`: where programs of frontends are. The frontend of
// another minor version is ended; mounts whose frontends cannot be understood are ended as below,
// and those whose frontends do not live, unless the service manager has kept what is needed.
std::vector<LeftMount> FindLeftMounts(const std::string& session_spool,
                                      const shm::SessionId& session,
                                      const std::string& frontend_dir);
// Ends the process, and waits until it is gone.
void EndFrontend(FrontendLink* link);

// Ends the mount: its users get errors instead of waiting, the mount point is free. It is said in
// the log.
void EndOrphan(const std::string& session_spool, const MountManifest& manifest,
               const std::string& frontend_dir, const std::string& why);
// All that are left in a session's spool.
void EndOrphans(const std::string& session_spool, const std::string& frontend_dir,
                const std::string& why);

}  // namespace airstore::broker
