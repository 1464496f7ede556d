// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/left_clients.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <sstream>

#include "frontends/nfs/nfs3.h"
#include "frontends/nfs/rpc_message.h"

namespace airstore::nfs {
namespace {

// Who has closed its connection because it was idle comes back when it has something to ask.
constexpr int kLookMs = 30'000;
constexpr size_t kMostConnections = 64;
constexpr uint32_t kRootUid = 0;  // the kernel's client is root's

// Words behind the status when a procedure fails: no attributes (one word), neither before nor
// after (two).
constexpr std::array<uint32_t, 22> kWordsOfFailure = {0, 0, 2, 1, 1, 1, 1, 2, 2, 2, 2,
                                                      2, 2, 2, 4, 3, 1, 1, 1, 1, 1, 2};
static_assert(kWordsOfFailure.size() == NFSPROC3_COMMIT + 1);

uint16_t PortOf(int socket) {
  sockaddr_in address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return 0;
  return ntohs(address.sin_port);
}

bool PutGone(XDR* out, uint32_t procedure) {
  nfsstat3 status = NFS3ERR_STALE;
  if (!xdr_nfsstat3(out, &status)) return false;
  for (uint32_t i = 0; i < kWordsOfFailure[procedure]; ++i) {
    bool_t follows = FALSE;
    if (!xdr_bool(out, &follows)) return false;
  }
  return true;
}

}  // namespace

size_t RefuseCall(std::span<const uint8_t> record, std::span<char> room) {
  XDR in;
  XDR out;
  // It is not written to.
  xdrmem_create(&in, reinterpret_cast<char*>(const_cast<uint8_t*>(record.data())),
                static_cast<u_int>(record.size()), XDR_DECODE);
  xdrmem_create(&out, room.data(), static_cast<u_int>(room.size()), XDR_ENCODE);
  CallHead head;
  const CallHeadResult result = DecodeCallHead(&in, &head);
  if (result == CallHeadResult::kNoCall) return 0;
  if (result == CallHeadResult::kBadVersion) {
    EncodeRpcMismatch(&out, head.xid);
  } else if (head.program != NFS3_PROGRAM) {
    EncodeFailure(&out, head.xid, PROG_UNAVAIL);
  } else if (head.version != NFS3_VERSION) {
    EncodeVersions(&out, head.xid, NFS3_VERSION, NFS3_VERSION);
  } else if (head.procedure >= kWordsOfFailure.size()) {
    EncodeFailure(&out, head.xid, PROC_UNAVAIL);
  } else {
    EncodeSuccess(&out, head.xid);
    if (head.procedure != NFSPROC3_NULL && !PutGone(&out, head.procedure)) return 0;
  }
  return xdr_getpos(&out);
}

// "v3 7f000001  801 0:50 FSID FSC": the address and the port are hexadecimal.
bool HasVolumeOf(const std::string& volumes, uint16_t port) {
  std::istringstream lines(volumes);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string version, server;
    unsigned of = 0;
    if (words >> version >> server >> std::hex >> of && server == "7f000001" && of == port) {
      return true;
    }
  }
  return false;
}

LeftClients::LeftClients(UniqueFd listener, Peers peers, UniqueFd volumes)
    : listener_(std::move(listener)),
      peers_(std::move(peers)),
      volumes_(std::move(volumes)),
      port_(PortOf(listener_.get())) {}

void LeftClients::Run() {
  if (!memory_) return;
  std::vector<pollfd> watched;
  while (SomebodyIsLeft()) {
    watched.assign(1, {listener_.get(), POLLIN, 0});
    for (const auto& connection : connections_) {
      watched.push_back({connection->socket(), POLLIN, 0});
    }
    if (poll(watched.data(), watched.size(), kLookMs) < 0 && errno != EINTR) return;
    for (size_t i = connections_.size(); i > 0; --i) {
      if (watched[i].revents == 0 || Answer(*connections_[i - 1])) continue;
      connections_.erase(connections_.begin() + static_cast<ptrdiff_t>(i) - 1);
    }
    if (watched[0].revents != 0) Accept();
  }
}

bool LeftClients::SomebodyIsLeft() {
  std::string text;
  std::array<char, 4096> part;
  for (;;) {
    const ssize_t got =
        pread(volumes_.get(), part.data(), part.size(), static_cast<off_t>(text.size()));
    if (got <= 0) return HasVolumeOf(text, port_);
    text.append(part.data(), static_cast<size_t>(got));
  }
}

void LeftClients::Accept() {
  UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket || connections_.size() >= kMostConnections) return;
  if (peers_.UidOf(socket.get()) != kRootUid) return;
  connections_.push_back(std::make_unique<Connection>(std::move(socket), Peer{kRootUid}));
}

bool LeftClients::Answer(Connection& connection) {
  const auto record = connection.ReadRecord(memory_.record());
  if (record.empty()) return false;
  const size_t bytes = RefuseCall(record, memory_.reply());
  if (bytes == 0) return false;
  connection.SendReply(memory_.reply().first(bytes), nullptr, 0);
  return true;
}

}  // namespace airstore::nfs
