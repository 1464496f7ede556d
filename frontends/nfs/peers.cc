// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/peers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

namespace airstore::nfs {
namespace {

// As the table writes them: the word of the address as it lies in memory, and the port.
std::string AddressIn(const sockaddr_in& address) {
  char text[16];
  snprintf(text, sizeof(text), "%08X:%04X", address.sin_addr.s_addr, ntohs(address.sin_port));
  return text;
}

bool AddressesOf(int connection, sockaddr_in* ours, sockaddr_in* theirs) {
  socklen_t bytes = sizeof(*ours);
  if (getsockname(connection, reinterpret_cast<sockaddr*>(ours), &bytes) != 0) return false;
  bytes = sizeof(*theirs);
  return getpeername(connection, reinterpret_cast<sockaddr*>(theirs), &bytes) == 0 &&
         ours->sin_family == AF_INET && theirs->sin_family == AF_INET;
}

// "  12: LOCAL REMOTE STATE TX:RX TR:WHEN RETRANSMITS  UID TIMEOUT INODE ..."
std::optional<uint32_t> UidIn(std::string_view line) {
  constexpr size_t kState = 3, kUid = 7, kInode = 9;
  constexpr std::string_view kEstablished = "01";
  std::array<std::string_view, kInode + 1> fields;
  for (std::string_view& field : fields) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    field = line.substr(0, line.find(' '));
    line.remove_prefix(field.size());
  }
  // What its process has closed has uid 0 there, and no inode: it may be anybody's.
  if (fields[kState] != kEstablished || fields[kInode].empty() || fields[kInode] == "0") {
    return std::nullopt;
  }
  const std::string_view text = fields[kUid];
  uint32_t uid = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), uid).ec != std::errc()) {
    return std::nullopt;
  }
  return uid;
}

}  // namespace

Result<Peers> Peers::Open() {
  UniqueFd table(open("/proc/net/tcp", O_RDONLY | O_CLOEXEC));
  if (!table) return SysError("open /proc/net/tcp");
  return Peers(std::move(table));
}

std::optional<uint32_t> Peers::UidOf(int connection) {
  sockaddr_in ours{};
  sockaddr_in theirs{};
  if (!AddressesOf(connection, &ours, &theirs)) return std::nullopt;
  const std::string wanted = AddressIn(theirs) + " " + AddressIn(ours) + " ";
  std::string rest;
  char some[8192];
  off_t at = 0;
  for (;;) {
    const ssize_t got = pread(table_.get(), some, sizeof(some), at);
    if (got <= 0) return std::nullopt;
    at += got;
    rest.append(some, static_cast<size_t>(got));
    for (size_t end = 0; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
      const std::string_view line(rest.data(), end);
      if (line.find(wanted) != std::string_view::npos) return UidIn(line);
    }
  }
}

}  // namespace airstore::nfs
