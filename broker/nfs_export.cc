// SPDX-License-Identifier: Apache-2.0
#include "broker/nfs_export.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <cstdio>
#include <fstream>
#include <span>

namespace airstore::broker {
namespace {

constexpr int kBacklog = 64;
constexpr size_t kSecretBytes = 16;

std::string RandomHex() {
  uint8_t bytes[kSecretBytes];
  AIRSTORE_CHECK(getrandom(bytes, sizeof(bytes), 0) == ssize_t{sizeof(bytes)});
  std::string text;
  for (const uint8_t byte : bytes) {
    char digits[3];
    snprintf(digits, sizeof(digits), "%02x", byte);
    text += digits;
  }
  return text;
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

NfsExportNames NewExportNames() { return {"/airstore-" + RandomHex(), RandomHex()}; }

Result<std::unique_ptr<NfsExport>> NfsExport::Listen() {
  UniqueFd bound(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!bound) return SysError("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(bound.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(bound.get(), kBacklog) != 0) {
    return SysError("NFS listen");
  }
  return std::unique_ptr<NfsExport>(new NfsExport(std::move(bound)));
}

std::unique_ptr<NfsExport> NfsExport::Adopt(UniqueFd socket) {
  return std::unique_ptr<NfsExport>(new NfsExport(std::move(socket)));
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

Result<void> NfsExport::Unmount(bool lazy) {
  if (!Mounted()) return {};
  if (!lazy && HasClients(port())) {
    return Error{EBUSY, "an NFS client is connected; unmount it there first"};
  }
  if (shutdown(fd(), SHUT_RDWR) != 0) return SysError("stop listening");
  return {};
}

// Frontends share the socket and see its end.
void NfsExport::Abort() { (void)shutdown(fd(), SHUT_RDWR); }

}  // namespace airstore::broker
