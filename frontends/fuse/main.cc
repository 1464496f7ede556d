// SPDX-License-Identifier: Apache-2.0
//
// airstore-fuse: serves one FUSE mount. Started by the broker, which has mounted the device and
// hands it over, with the shared memory, on the channel at descriptor 3.
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "frontends/fuse/notifier.h"
#include "frontends/fuse/sandbox.h"
#include "frontends/fuse/session.h"
#include "frontends/volume/attach.h"
#include "frontends/volume/channel_thread.h"

namespace {

namespace volume = airstore::volume;
namespace fuse = airstore::fuse;

// Dozens of workers must not each get a heap of their own, and large buffers go back to the system
// when they are freed: the default threshold would grow with the first one.
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
  fprintf(stderr, "airstore-fuse: %s\n", text.c_str());
  volume::ReportFailure(volume::kChannelFd, text);
  return volume::kExitCannotAttach;
}

int Serve() {
  if (auto dropped = fuse::DropPrivileges(); !dropped) return Fail(dropped.error().ToString());
  auto attached = volume::Attach(volume::kChannelFd);
  if (!attached) return Fail(attached.error().message);
  volume::Volume* const served = attached->volume.get();
  if (auto restricted = fuse::RestrictSystemCalls(); !restricted) {
    return Fail(restricted.error().ToString());
  }
  fuse::Session::Options options;
  if ((attached->flags & airstore::shm::kAttachPassthrough) != 0) {
    options.passthrough = fuse::InitPatch::Passthrough::kWanted;
  }
  options.on_ready = [] { volume::ReportReady(volume::kChannelFd); };
  // At once, without joining the workers: one of them may wait for an answer that nobody needs any
  // more, and whatever was acknowledged lies in the lane already.
  options.on_unmount = [] { _exit(volume::kExitUnmounted); };
  fuse::Session session(served, std::move(options));
  session.early_answers().SetDevice(attached->device.get());
  volume::StartChannelThread(volume::kChannelFd, std::move(attached->listener),
                             airstore::UniqueFd(dup(attached->device.get())), served);
  const int error = session.Run(std::move(attached->device));
  if (error != 0) fprintf(stderr, "airstore-fuse: session: %s\n", strerror(error));
  // _exit: the channel's thread still uses the volume.
  _exit(error == 0 ? volume::kExitUnmounted : volume::kExitFailed);
}

int Notify() {
  if (!fuse::DropPrivileges() || !fuse::RestrictSystemCalls()) return volume::kExitFailed;
  return fuse::RunNotifier(volume::kChannelFd);
}

}  // namespace

int main(int argc, char** argv) {
  KeepMemorySmall();
  signal(SIGPIPE, SIG_IGN);  // who reads our messages may be gone before us
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("airstore-fuse %s (shared-memory ABI %u.%u)\n", AIRSTORE_VERSION,
           airstore::shm::kAbiMajor, airstore::shm::kAbiMinor);
    return 0;
  }
  // Other arguments are for those who read the process list.
  if (!IsChannel(volume::kChannelFd)) {
    fprintf(stderr, "airstore-fuse is started by airstored; use 'airctl mount'.\n");
    return volume::kExitUsage;
  }
  if (argc > 1 && strcmp(argv[1], "--notify") == 0) return Notify();
  return Serve();
}
