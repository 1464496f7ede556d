// SPDX-License-Identifier: Apache-2.0
//
// What a broker that is to take over looks at before it says that it is ready. The old one is at
// work all the while.
#include <unistd.h>

#include <filesystem>

#include "broker/handover.h"
#include "broker/mount_ledger.h"
#include "broker/mount_manifest.h"
#include "broker/remap.h"
#include "broker/session_manifest.h"
#include "shm/abi.h"

namespace airstore::broker {
namespace {

// One of another ABI can be brought over if its program says what there is.
Result<void> CheckLane(const std::string& session_spool, const MountManifest& mount) {
  const LaneAbi abi = AbiOfLane(session_spool, mount.index);
  if (abi.major == shm::AbiMajor() || (abi.major != 0 && mount.portable != 0)) return {};
  return Error{EPROTO, mount.spec.mountpoint + ": its frontend speaks shared-memory ABI " +
                           shm::AbiText(abi.major, abi.minor) + ", airstore " AIRSTORE_VERSION " " +
                           shm::OwnAbi()};
}

}  // namespace

Result<void> CheckSpool(const std::string& spool) {
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(spool, failed)) {
    const std::string path = entry.path();
    const auto mounts = MountManifestsIn(path);
    if (mounts.empty()) continue;
    if (auto manifest = ReadManifest(path); !manifest) return manifest.error();
    for (const MountManifest& mount : mounts) {
      AIRSTORE_TRY(CheckLane(path, mount));
      const std::string ledger = path + "/" + MountLedger::FileName(mount.index);
      if (access(ledger.c_str(), R_OK | W_OK) != 0) return SysError("open " + ledger);
    }
  }
  if (failed) return Error{failed.value(), "read " + spool};
  return {};
}

}  // namespace airstore::broker
