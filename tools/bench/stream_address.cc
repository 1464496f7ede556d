// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/stream_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace airstore::bench {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr int kBacklog = 128;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<SocketAddress> Resolve(const std::string& text, bool passive) {
  SocketAddress result;
  if (text.starts_with(kUnixPrefix)) {
    const std::string path = text.substr(kUnixPrefix.size());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) return SysError(text, ENAMETOOLONG);
    std::copy(path.begin(), path.end(), address.sun_path);
    memcpy(&result.storage, &address, sizeof(address));
    result.size = sizeof(address);
    return result;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return SysError("address '" + text + "': no port", EINVAL);
  std::string host = text.substr(0, colon);
  if (host.size() > 1 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  const int rc = getaddrinfo(host.empty() ? nullptr : host.c_str(), text.substr(colon + 1).c_str(),
                             &hints, &found);
  if (rc != 0) return SysError("address '" + text + "': " + gai_strerror(rc), EINVAL);
  memcpy(&result.storage, found->ai_addr, found->ai_addrlen);
  result.size = found->ai_addrlen;
  freeaddrinfo(found);
  return result;
}

Result<UniqueFd> Socket(const SocketAddress& address) {
  UniqueFd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return SysError("socket");
  return fd;
}

}  // namespace

Result<UniqueFd> ListenOn(const std::string& address) {
  auto resolved = Resolve(address, true);
  if (!resolved) return resolved.error();
  auto fd = Socket(*resolved);
  if (!fd) return fd.error();
  const int on = 1;
  setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.starts_with(kUnixPrefix)) unlink(address.c_str() + kUnixPrefix.size());
  if (bind(fd->get(), resolved->get(), resolved->size) != 0) return SysError("bind " + address);
  if (listen(fd->get(), kBacklog) != 0) return SysError("listen on " + address);
  return fd;
}

Result<UniqueFd> StartConnect(const std::string& address) {
  auto resolved = Resolve(address, false);
  if (!resolved) return resolved.error();
  auto fd = Socket(*resolved);
  if (!fd) return fd.error();
  SetNoDelay(fd->get());
  if (connect(fd->get(), resolved->get(), resolved->size) != 0 && errno != EINPROGRESS) {
    return SysError("connect to " + address);
  }
  return fd;
}

uint16_t BoundPort(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return 0;
  if (storage.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  }
  if (storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  }
  return 0;
}

void SetNoDelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace airstore::bench
