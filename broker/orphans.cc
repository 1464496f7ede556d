// SPDX-License-Identifier: Apache-2.0
#include "broker/orphans.h"

#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

#include "broker/fuse_device.h"
#include "broker/left_clients.h"
#include "broker/nfs_export.h"
#include "broker/nfs_mount.h"
#include "broker/proc_mounts.h"
#include "broker/service_manager.h"
#include "broker/session_manifest.h"
#include "shm/abi.h"

namespace airstore::broker {
namespace {

constexpr int kEndMs = 2000;

Result<FrontendLink> Connect(const std::string& session_spool, const MountManifest& manifest) {
  return ConnectFrontend(session_spool, FrontendSocketName(manifest.index),
                         geteuid() == 0 ? manifest.owner.uid : geteuid());
}

// From what the service manager has kept. Without a device: nothing was.
FrontendLink KeptLink(const shm::SessionId& session, uint32_t mount_index) {
  const std::string id = HexOf(session);
  FrontendLink link;
  link.session = session;
  link.mount_index = mount_index;
  link.meta = KeptDescriptor(NameOfTables(id));
  if (!link.meta) return link;
  const std::string prefix = PrefixOfSlabs(id);
  for (const std::string& name : NamesOfKept(prefix)) {
    const auto index = static_cast<uint32_t>(atoi(name.c_str() + prefix.size()));
    link.slabs.emplace_back(index, KeptDescriptor(name));
  }
  link.device = KeptDescriptor(NameOfDevice(id, mount_index));
  return link;
}

// Whoever still uses it is told that it is gone. `socket`: of the frontend that serves it, which is
// needed for what the client still keeps; -1: there is none, and somebody else answers at once.
void UnmountOrphan(const MountedFs& mounted, int socket, const LaunchOptions& launch) {
  const auto refuse = [&](int listening) {
    if (auto refused = RefuseLeftClients(launch, listening); !refused) {
      spdlog::warn("{}: {}", mounted.path, refused.error().ToString());
    }
  };
  if (socket < 0) {
    auto listening = NfsExport::Listen(mounted.nfs_port);
    if (listening && (*listening)->port() == mounted.nfs_port) refuse((*listening)->fd());
  }
  if (auto done = UnmountNfs(mounted, true); !done) {
    spdlog::error("{}: {}", mounted.path, done.error().ToString());
  }
  if (socket >= 0) refuse(socket);
}

}  // namespace

void EndFrontend(FrontendLink* link) {
  link->channel.reset();
  (void)syscall(SYS_pidfd_send_signal, link->pidfd.get(), SIGKILL, nullptr, 0);
  pollfd ended{link->pidfd.get(), POLLIN, 0};
  (void)poll(&ended, 1, kEndMs);
}

std::vector<LeftMount> FindLeftMounts(const std::string& session_spool,
                                      const shm::SessionId& session,
                                      const std::string& frontend_dir) {
  std::vector<LeftMount> mounts;
  for (MountManifest& manifest : MountManifestsIn(session_spool)) {
    auto link = Connect(session_spool, manifest);
    if (!link) {
      FrontendLink kept = KeptLink(session, manifest.index);
      if (kept.device) {
        spdlog::info("{}: it has no frontend; another one is started", manifest.spec.mountpoint);
        mounts.push_back({std::move(manifest), std::move(kept)});
      } else {
        EndOrphan(session_spool, manifest, frontend_dir, link.error().ToString());
      }
      continue;
    }
    if (const std::string problem = VersionProblem(*link); !problem.empty()) {
      if (link->abi_major != shm::AbiMajor()) {
        EndOrphan(session_spool, manifest, frontend_dir, problem);
        continue;
      }
      spdlog::warn("{}: {}; it is replaced", manifest.spec.mountpoint, problem);
      EndFrontend(&*link);
    }
    mounts.push_back({std::move(manifest), std::move(*link)});
  }
  return mounts;
}

void EndOrphan(const std::string& session_spool, const MountManifest& manifest,
               const std::string& frontend_dir, const std::string& why) {
  const std::string& mountpoint = manifest.spec.mountpoint;
  auto link = Connect(session_spool, manifest);
  if (manifest.spec.backend == "nfs") {
    const auto mounted = MountedAt(mountpoint);
    if (!manifest.spec.serve_only && IsOurNfs(mounted)) {
      UnmountOrphan(*mounted, link ? link->device.get() : -1,
                    {.program = frontend_dir + "/airstore-nfs",
                     .arguments = {mountpoint},
                     .uid = manifest.owner.uid,
                     .gid = manifest.owner.gid});
    }
    if (link) EndFrontend(&*link);  // nothing else has the socket
    RemoveMountManifest(session_spool, manifest.index);
    spdlog::warn("{}: an export of a broker that has died is ended: {}", mountpoint, why);
    return;
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
  if (link) EndFrontend(&*link);
  RemoveMountManifest(session_spool, manifest.index);
  spdlog::warn("{}: a mount of a broker that has died is detached: {}", mountpoint, why);
}

void EndOrphans(const std::string& session_spool, const std::string& frontend_dir,
                const std::string& why) {
  for (const MountManifest& manifest : MountManifestsIn(session_spool)) {
    EndOrphan(session_spool, manifest, frontend_dir, why);
  }
}

}  // namespace airstore::broker
