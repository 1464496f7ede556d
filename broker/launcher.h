// SPDX-License-Identifier: Apache-2.0
//
// Frontend processes: start one, hand it its descriptors, learn of its death.
//
// The child gets one end of the channel as descriptor 3 and nothing else but stdio; it runs as the
// mount's owner with no_new_privs. Its death is seen through a pidfd, so a reused pid never
// misleads. Threads: Launch may be called from the event loop (posix_spawn-like cost, about a
// millisecond).
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct LaunchOptions {
  std::string program;  // path of airstore-fuse
  std::vector<std::string> arguments;
  uint32_t uid = 0;  // to run as, when the broker is root
  uint32_t gid = 0;
  int program_fd = -1;  // the program, opened; then `program` is only its name
};

struct FrontendProcess {
  pid_t pid = -1;
  UniqueFd pidfd;    // readable when the process has ended
  UniqueFd channel;  // our end, SEQPACKET, close-on-exec
};

Result<FrontendProcess> Launch(const LaunchOptions& options);
// SIGKILL, to that process and no other.
void Kill(const FrontendProcess& process);
struct ProcessEnd {
  std::string text;  // for people: "exit status 1", "killed by signal 9"
  int status = -1;   // of its exit; -1: it did not exit
  int signal = 0;    // that ended it; 0: none
};
// REQUIRES: it has ended or is about to; waits for that, if it is our child. Of another's child
// neither status nor signal is known.
ProcessEnd Reap(const FrontendProcess& process);
// Private resident bytes of a process, from /proc/PID/smaps_rollup; 0 when unknown.
uint64_t PrivateResidentBytes(pid_t pid);

}  // namespace airstore::broker
