// SPDX-License-Identifier: Apache-2.0
//
// The listening control socket as a file: made, replaced when stale, removed.
// Threads: any; blocks shortly.
#pragma once

#include <sys/stat.h>

#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::broker {

struct ControlSocket {
  UniqueFd fd;  // listening, non-blocking
  std::string path;
  struct stat identity {};  // of the socket file, to remove no other

  // The file goes, if it is still ours. Under a service manager, which may have made it and listens
  // on, it stays.
  void Remove() const;
};

// Connectable for everybody who can reach the directory, which is made (0755) when missing.
// EADDRINUSE: a broker listens there; EEXIST: there is something that is no socket.
Result<ControlSocket> ListenOnControlSocket(const std::string& path);

// The listening socket of a broker, or of a service manager, that has given it to us.
Result<ControlSocket> AdoptControlSocket(UniqueFd fd);

}  // namespace airstore::broker
