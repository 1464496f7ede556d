// SPDX-License-Identifier: Apache-2.0
//
// airstore-nfs: serves one workspace to NFS version 3 clients of this host. Started by the broker,
// which listens on the port and hands the socket over, with the shared memory, on the channel at
// descriptor 3.
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "frontends/nfs/sandbox.h"
#include "frontends/nfs/server.h"
#include "frontends/volume/attach.h"
#include "frontends/volume/channel_thread.h"
#include "frontends/volume/exporter.h"
#include "shm/abi.h"

namespace {

namespace volume = airstore::volume;
namespace nfs = airstore::nfs;

// Kept in the lane: who finds it has had a predecessor.
constexpr uint8_t kOpening[] = {'n', 'f', 's', '3'};

void KeepMemorySmall() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MMAP_THRESHOLD, 256 * 1024);
  mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

bool IsChannel(int fd) {
  int type = 0;
  socklen_t length = sizeof(type);
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

int Fail(const std::string& text) {
  fprintf(stderr, "airstore-nfs: %s\n", text.c_str());
  volume::ReportFailure(volume::kChannelFd, text);
  return volume::kExitCannotAttach;
}

int Serve() {
  if (auto dropped = nfs::DropPrivileges(); !dropped) return Fail(dropped.error().ToString());
  auto attached = volume::Attach(volume::kChannelFd);
  if (!attached) return Fail(attached.error().message);
  volume::Volume* const served = attached->volume.get();
  auto options = nfs::ParseExportOptions(attached->text);
  if (!options) return Fail(options.error().message);
  nfs::Service service(served, *std::move(options));
  const bool successor = !served->Opening().empty();
  nfs::Dispatcher dispatcher(&service, successor);
  auto peers = nfs::Peers::Open();
  if (!peers) return Fail(peers.error().ToString());
  if (auto restricted = nfs::RestrictSystemCalls(); !restricted) {
    return Fail(restricted.error().ToString());
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

int Export() {
  if (!nfs::DropPrivileges()) return volume::kExitFailed;
  return volume::RunExporter(volume::kChannelFd);
}

}  // namespace

int main(int argc, char** argv) {
  KeepMemorySmall();
  signal(SIGPIPE, SIG_IGN);
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("airstore-nfs %s (shared-memory ABI %s)\n", AIRSTORE_VERSION,
           airstore::shm::OwnAbi().c_str());
    return 0;
  }
  // Other arguments are for those who read the process list.
  if (!IsChannel(volume::kChannelFd)) {
    fprintf(stderr, "airstore-nfs is started by airstored; use 'airctl mount --backend nfs'.\n");
    return volume::kExitUsage;
  }
  if (argc > 1 && strcmp(argv[1], "--export") == 0) return Export();
  return Serve();
}
