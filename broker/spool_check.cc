// SPDX-License-Identifier: Apache-2.0
//
// What a broker that is to take over looks at before it says that it is ready. The old one is at
// work all the while.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "broker/handover.h"
#include "broker/mount_ledger.h"
#include "broker/mount_manifest.h"
#include "broker/session_manifest.h"
#include "shm/layout.h"

namespace airstore::broker {
namespace {

Result<void> CheckLane(const std::string& path, const std::string& mountpoint) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  alignas(shm::SegmentHeader) uint8_t bytes[sizeof(shm::SegmentHeader)];
  if (!file) return SysError("open " + path);
  if (pread(file.get(), bytes, sizeof(bytes), 0) != ssize_t{sizeof(bytes)}) {
    return Error{EPROTO, path + " is too short"};
  }
  const auto& header = *reinterpret_cast<const shm::SegmentHeader*>(bytes);
  if (header.magic == shm::kMagic && header.abi_major == shm::kAbiMajor) return {};
  return Error{EPROTO, mountpoint + ": its frontend speaks shared-memory ABI " +
                           std::to_string(header.abi_major) + "." +
                           std::to_string(header.abi_minor) + ", airstore " AIRSTORE_VERSION " " +
                           std::to_string(shm::kAbiMajor) + "." + std::to_string(shm::kAbiMinor)};
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
      AIRSTORE_TRY(CheckLane(path + "/lane-" + std::to_string(mount.index), mount.spec.mountpoint));
      const std::string ledger = path + "/" + MountLedger::FileName(mount.index);
      if (access(ledger.c_str(), R_OK | W_OK) != 0) return SysError("open " + ledger);
    }
  }
  if (failed) return Error{failed.value(), "read " + spool};
  return {};
}

}  // namespace airstore::broker
