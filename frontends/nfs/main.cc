// SPDX-License-Identifier: Apache-2.0
//
// airstore-nfs: serves one workspace to NFS version 3 clients of this host. Started by the broker,
// which listens on the port and hands the socket over, with the shared memory, on the channel at
// descriptor 3. With --refuse it is handed the socket alone, of an export that has ended.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "frontends/nfs/left_clients.h"
#include "frontends/nfs/server.h"
#include "frontends/process/program.h"
#include "frontends/process/sandbox.h"
#include "frontends/volume/attach.h"
#include "frontends/volume/channel_thread.h"
#include "shm/channel.h"

namespace {

namespace volume = airstore::volume;
namespace nfs = airstore::nfs;

// Kept in the lane: who finds it has had a predecessor.
constexpr uint8_t kOpening[] = {'n', 'f', 's', '3'};

// Serving connections; the listening socket is one that the broker has made.
constexpr int kSystemCalls[] = {
    SYS_recvfrom,   SYS_sendto,        SYS_getsockname, SYS_getpeername, SYS_setsockopt,
    SYS_shutdown,   SYS_epoll_create1, SYS_epoll_ctl,   SYS_epoll_pwait,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
};

// Memory for replies is to be had without waiting for what is written back to us, where that is
// permitted (CAP_SYS_RESOURCE): a client on this host would wait for itself.
void KeepOutOfWriteback() { (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); }

int Serve();
int Refuse();
constexpr airstore::FrontendProgram kProgram{"airstore-nfs", "airctl mount --backend nfs", Serve,
                                             nullptr, Refuse};

int Serve() {
  const auto fail = [](const std::string& why) { return FailToAttach(kProgram, why); };
  if (auto dropped = airstore::DropPrivileges(); !dropped) return fail(dropped.error().ToString());
  KeepOutOfWriteback();
  auto attached = volume::Attach(volume::kChannelFd);
  if (!attached) return fail(attached.error().message);
  volume::Volume* const served = attached->volume.get();
  served->TellTrueSizes();
  auto options = nfs::ParseExportOptions(attached->text);
  if (!options) return fail(options.error().message);
  nfs::Service service(served, *std::move(options));
  const bool successor = !served->Opening().empty();
  nfs::Dispatcher dispatcher(&service, successor);
  auto peers = nfs::Peers::Open();
  if (!peers) return fail(peers.error().ToString());
  if (auto restricted = airstore::RestrictSystemCalls(kSystemCalls); !restricted) {
    return fail(restricted.error().ToString());
  }
  if (successor) {
    served->ForgetAll();
  } else {
    served->SaveOpening(kOpening);
  }
  volume::StartChannelThread(volume::kChannelFd, std::move(attached->listener),
                             airstore::UniqueFd(dup(attached->device.get())), served);
  // At once: whatever was acknowledged lies in the lane.
  nfs::Server server(&service, &dispatcher, std::move(attached->device), *std::move(peers),
                     [] { _exit(volume::kExitUnmounted); });
  volume::ReportReady(volume::kChannelFd);
  const int error = server.Run();
  fprintf(stderr, "airstore-nfs: %s\n", strerror(error));
  _exit(volume::kExitFailed);
}

// The broker waits until we have the socket, and for our end no longer than that.
int Refuse() {
  if (!airstore::DropPrivileges()) return volume::kExitFailed;
  KeepOutOfWriteback();
  auto first = airstore::shm::ReceiveMessage(volume::kChannelFd);
  constexpr auto kKind = static_cast<uint32_t>(airstore::shm::ChannelKind::kRefuse);
  if (!first || first->message.kind != kKind || first->fds.size() != 1) {
    return volume::kExitCannotAttach;
  }
  close(volume::kChannelFd);
  auto peers = nfs::Peers::Open();
  airstore::UniqueFd volumes(open("/proc/fs/nfsfs/volumes", O_RDONLY | O_CLOEXEC));
  if (!peers || !volumes) return volume::kExitFailed;
  if (const pid_t child = fork(); child != 0) return child < 0 ? volume::kExitFailed : 0;
  if (!airstore::RestrictSystemCalls(kSystemCalls)) return volume::kExitFailed;
  nfs::LeftClients(std::move(first->fds[0]), *std::move(peers), std::move(volumes)).Run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return airstore::RunFrontend(kProgram, argc, argv); }
