// SPDX-License-Identifier: Apache-2.0
#include "broker/nfs_export.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdio>
#include <fstream>

#include "broker/proc_mounts.h"

namespace airstore::broker {
namespace {

constexpr int kBacklog = 64;

bool Bind(int to, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(to, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

// Rows of /proc/net/tcp: "  12: 0100007F:PORT 0100007F:PORT STATE ...".
bool HasClients(uint16_t port) {
  char local[16];
  snprintf(local, sizeof(local), "0100007F:%04X", port);
  constexpr const char* kEstablished = "01";
  std::ifstream table("/proc/net/tcp");
  std::string number;
  std::string ours;
  std::string theirs;
  std::string state;
  for (std::string rest; table >> number >> ours >> theirs >> state; std::getline(table, rest)) {
    if (ours == local && state == kEstablished) return true;
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<NfsExport>> NfsExport::Listen(uint16_t port) {
  UniqueFd bound(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!bound) return SysError("NFS listen");
  // Connections of the last one that are being forgotten do not keep the port from it.
  const int on = 1;
  setsockopt(bound.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (!Bind(bound.get(), port) && (port == 0 || !Bind(bound.get(), 0))) {
    return SysError("NFS listen");
  }
  if (listen(bound.get(), kBacklog) != 0) return SysError("NFS listen");
  return std::unique_ptr<NfsExport>(new NfsExport(std::move(bound)));
}

std::unique_ptr<NfsExport> NfsExport::Adopt(UniqueFd socket, std::string source,
                                            std::string mountpoint) {
  std::unique_ptr<NfsExport> adopted(new NfsExport(std::move(socket)));
  adopted->source_ = std::move(source);
  adopted->mountpoint_ = std::move(mountpoint);
  return adopted;
}

Result<void> NfsExport::Mount(const NfsMountOptions& options) {
  AIRSTORE_TRY(MountNfs(options));
  source_ = options.source;
  mountpoint_ = options.mountpoint;
  return {};
}

bool NfsExport::StillMounted() const { return Found().has_value(); }

// Its mount point may have been moved.
std::optional<MountedFs> NfsExport::Found() const {
  if (mountpoint_.empty()) return std::nullopt;
  std::optional<MountedFs> found;
  for (MountedFs& one : MountedFileSystems()) {
    if (!IsOurNfs(one) || one.source != source_) continue;
    if (!found || one.path == mountpoint_) found = std::move(one);
  }
  return found;
}

uint16_t NfsExport::port() const {
  sockaddr_in address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(fd(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return 0;
  return ntohs(address.sin_port);
}

bool NfsExport::Mounted() const {
  int listens = 0;
  socklen_t bytes = sizeof(listens);
  return getsockopt(fd(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 && listens != 0;
}

Result<int32_t> NfsExport::BackingOpen(int /*file*/) {
  return Error{EOPNOTSUPP, "NFS clients have no passthrough"};
}

Result<void> NfsExport::NotifyInvalAttr(uint64_t /*inode*/) {
  return Error{ENOENT, "no kernel holds it"};
}

Result<void> NfsExport::Answer(uint64_t /*unique*/, int /*error*/) {
  return Error{ENOENT, "no kernel waits for it"};
}

void NfsExport::WriteBack() {
  if (const auto mounted = Found()) SyncNfs(mounted->path);
}

Result<void> NfsExport::Unmount(bool lazy) {
  if (!Mounted()) return {};
  if (const auto mounted = Found()) {
    AIRSTORE_TRY(UnmountNfs(*mounted, lazy));
    outlived_ = lazy;
    if (lazy) return {};
  } else if (!lazy && mountpoint_.empty() && HasClients(port())) {
    return Error{EBUSY, "an NFS client is connected; unmount it there first"};
  }
  if (shutdown(fd(), SHUT_RDWR) != 0) return SysError("stop listening");
  return {};
}

// Frontends share the socket and see its end.
void NfsExport::Abort() { (void)shutdown(fd(), SHUT_RDWR); }

}  // namespace airstore::broker
