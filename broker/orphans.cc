// SPDX-License-Identifier: Apache-2.0
#include "broker/orphans.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/frontend_link.h"
#include "broker/fuse_device.h"
#include "broker/mount_manifest.h"

namespace airstore::broker {
namespace {

void EndOrphan(const std::string& session_spool, const MountManifest& manifest) {
  const std::string& mountpoint = manifest.spec.mountpoint;
  auto link = ConnectFrontend(session_spool, FrontendSocketName(manifest.index),
                              geteuid() == 0 ? manifest.owner.uid : geteuid());
  std::string why = "its session cannot be taken up again";
  if (!link) {
    why = link.error().ToString();
  } else if (std::string problem = VersionProblem(*link); !problem.empty()) {
    why = std::move(problem);
  }
  auto device = FuseDevice::Adopt(link ? std::move(link->device) : UniqueFd(), mountpoint,
                                  manifest.device_minor);
  if (!device->Mounted() && !link) {
    RemoveMountManifest(session_spool, manifest.index);
    return;
  }
  device->Abort();
  if (auto done = device->Unmount(true); !done) {
    spdlog::error("{}: {}", mountpoint, done.error().ToString());
  }
  // It ends by itself when it sees the end of the mount; it may be stopped, though.
  if (link) (void)syscall(SYS_pidfd_send_signal, link->pidfd.get(), SIGKILL, nullptr, 0);
  RemoveMountManifest(session_spool, manifest.index);
  spdlog::warn("{}: a mount of a broker that has died is detached: {}", mountpoint, why);
}

}  // namespace

void EndOrphans(const std::string& session_spool) {
  for (const MountManifest& manifest : MountManifestsIn(session_spool)) {
    EndOrphan(session_spool, manifest);
  }
}

}  // namespace airstore::broker
