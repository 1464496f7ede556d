// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "frontends/nfs/record_reader.h"

namespace airstore::nfs {
namespace {

constexpr timeval kPatience{20, 0};
constexpr uint32_t kLastFragment = 1u << 31;
constexpr int kMostParts = 8;

bool ReceiveAll(int socket, std::span<uint8_t> into) {
  while (!into.empty()) {
    const ssize_t got = recv(socket, into.data(), into.size(), MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into = into.subspan(static_cast<size_t>(got));
  }
  return true;
}

bool SendAll(int socket, iovec* parts, int count) {
  while (count > 0) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<size_t>(count);
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    while (count > 0 && static_cast<size_t>(sent) >= parts->iov_len) {
      sent -= static_cast<ssize_t>(parts->iov_len);
      ++parts;
      --count;
    }
    if (count > 0) {
      parts->iov_base = static_cast<char*>(parts->iov_base) + sent;
      parts->iov_len -= static_cast<size_t>(sent);
    }
  }
  return true;
}

}  // namespace

Connection::Connection(UniqueFd socket, Peer peer) : socket_(std::move(socket)), peer_(peer) {
  const int on = 1;
  setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
}

std::span<const uint8_t> Connection::ReadRecord(std::span<uint8_t> buffer) {
  RecordReader reader(buffer);
  for (;;) {
    if (!ReceiveAll(socket_.get(), reader.Wanted())) return {};
    const RecordReader::State state = reader.Filled();
    if (state == RecordReader::State::kBroken) return {};
    if (state == RecordReader::State::kComplete) return reader.record();
  }
}

bool Connection::HasMore() const {
  char next;
  return recv(socket_.get(), &next, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

void Connection::SendReply(std::span<const char> head, const iovec* payload, int count) {
  size_t bytes = head.size();
  for (int i = 0; i < count; ++i) bytes += payload[i].iov_len;
  uint32_t marker = htonl(static_cast<uint32_t>(bytes) | kLastFragment);
  iovec parts[kMostParts] = {{&marker, sizeof(marker)},
                             {const_cast<char*>(head.data()), head.size()}};
  memcpy(parts + 2, payload, sizeof(iovec) * static_cast<size_t>(count));
  const std::lock_guard lock(sending_);
  if (!SendAll(socket_.get(), parts, count + 2)) End();
}

void Connection::End() { shutdown(socket_.get(), SHUT_RDWR); }

}  // namespace airstore::nfs
