// SPDX-License-Identifier: Apache-2.0
#include "broker/control_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "broker/service_manager.h"
#include "broker/state_dir.h"

namespace airstore::broker {
namespace {

// 0 when somebody answers at the address, an errno otherwise.
int TryConnect(const sockaddr_un& address) {
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return errno;
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return 0;
  }
  return errno == EAGAIN ? 0 : errno;  // EAGAIN: its queue is full, so it listens
}

Result<void> ClearStale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode)) {
    return Error{EEXIST, "control socket " + path + ": there is something else"};
  }
  const int code = TryConnect(address);
  if (code == 0) {
    return Error{EADDRINUSE, "another airstored listens on " + path +
                                 ": stop it, or give this one another --socket"};
  }
  if (code != ECONNREFUSED && code != ENOENT) return SysError("control socket " + path, code);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return SysError("remove stale " + path);
  return {};
}

}  // namespace

void ControlSocket::Remove() const {
  if (HaveServiceManager()) return;
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return;
  // The time, too: a successor's file may get the same inode number.
  if (info.st_dev == identity.st_dev && info.st_ino == identity.st_ino &&
      info.st_ctim.tv_sec == identity.st_ctim.tv_sec &&
      info.st_ctim.tv_nsec == identity.st_ctim.tv_nsec) {
    unlink(path.c_str());
  }
}

Result<ControlSocket> ListenOnControlSocket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path[0] != '/' || path.size() >= sizeof address.sun_path) {
    return Error{ENAMETOOLONG, "control socket " + path + ": an absolute path of at most " +
                                   std::to_string(sizeof address.sun_path - 1) +
                                   " bytes is needed"};
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const std::string directory = path.substr(0, path.find_last_of('/'));
  if (!directory.empty()) AIRSTORE_TRY(MakeDirectories(directory, 0755));
  AIRSTORE_TRY(ClearStale(path, address));

  ControlSocket out;
  out.path = path;
  out.fd.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!out.fd) return SysError("socket");
  if (bind(out.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return SysError("bind " + path);
  }
  if (chmod(path.c_str(), 0666) != 0 || lstat(path.c_str(), &out.identity) != 0) {
    return SysError("control socket " + path);
  }
  if (listen(out.fd.get(), SOMAXCONN) != 0) return SysError("listen on " + path);
  return out;
}

Result<ControlSocket> AdoptControlSocket(UniqueFd fd) {
  ControlSocket out;
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return SysError("getsockname of the control socket");
  }
  out.path.assign(address.sun_path, strnlen(address.sun_path, sizeof address.sun_path));
  out.fd = std::move(fd);
  if (lstat(out.path.c_str(), &out.identity) != 0) return SysError("control socket " + out.path);
  return out;
}

}  // namespace airstore::broker
