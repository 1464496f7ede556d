// SPDX-License-Identifier: Apache-2.0
#include "frontends/process/program.h"

#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstring>

#include "frontends/process/sandbox.h"
#include "frontends/volume/attach.h"
#include "frontends/volume/exporter.h"
#include "shm/abi.h"

namespace airstore {
namespace {

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

int Export() {
  if (!DropPrivileges()) return volume::kExitFailed;
  return volume::RunExporter(volume::kChannelFd);
}

}  // namespace

int FailToAttach(const FrontendProgram& program, const std::string& why) {
  fprintf(stderr, "%s: %s\n", program.name, why.c_str());
  volume::ReportFailure(volume::kChannelFd, why);
  return volume::kExitCannotAttach;
}

int RunFrontend(const FrontendProgram& program, int argc, char** argv) {
  KeepMemorySmall();
  signal(SIGPIPE, SIG_IGN);  // who reads our messages may be gone before us
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("%s %s (shared-memory ABI %s)\n", program.name, AIRSTORE_VERSION, shm::OwnAbi().c_str());
    return 0;
  }
  if (!IsChannel(volume::kChannelFd)) {
    fprintf(stderr, "%s is started by airstored; use '%s'.\n", program.name, program.started_by);
    return volume::kExitUsage;
  }
  // Other arguments are for those who read the process list.
  const std::string_view asked = argc > 1 ? argv[1] : "";
  if (asked == "--notify" && program.notify != nullptr) return program.notify();
  if (asked == "--refuse" && program.refuse != nullptr) return program.refuse();
  if (asked == "--export") return Export();
  return program.serve();
}

}  // namespace airstore
