// SPDX-License-Identifier: Apache-2.0
#include "tests/nfs/rpc_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace airstore::nfs_test {
namespace {

constexpr uint32_t kLastFragment = 1u << 31;
constexpr timeval kPatience{60, 0};

std::string Words(std::initializer_list<uint32_t> words) {
  std::string bytes;
  for (uint32_t word : words) {
    word = htonl(word);
    bytes.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  return bytes;
}

uint32_t WordAt(const std::string& bytes, size_t index) {
  if (bytes.size() < 4 * (index + 1)) throw std::runtime_error("a reply is too short");
  uint32_t word = 0;
  memcpy(&word, bytes.data() + 4 * index, sizeof(word));
  return ntohl(word);
}

std::string CredentialBytes(const Credentials& who) {
  if (who.flavor != AUTH_SYS) return Words({who.flavor, 0});
  std::string body = Words({1, 4}) + "test" + Words({who.uid, who.gid});
  body += Words({static_cast<uint32_t>(who.groups.size())});
  for (const uint32_t gid : who.groups) body += Words({gid});
  return Words({AUTH_SYS, static_cast<uint32_t>(body.size())}) + body;
}

bool Receive(int socket, char* to, size_t bytes) {
  while (bytes != 0) {
    const ssize_t got = recv(socket, to, bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != ECONNRESET) throw std::runtime_error("no reply came");
    if (got <= 0) return false;
    to += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

RpcClient::RpcClient(uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    throw std::runtime_error(std::string("connect: ") + strerror(errno));
  }
  setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
}

void RpcClient::SendBytes(const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t sent = send(socket_.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (sent < 0) return;  // reading tells
    at += static_cast<size_t>(sent);
  }
}

std::optional<std::string> RpcClient::ReadRecord() {
  std::string record;
  for (;;) {
    std::string mark(4, '\0');
    if (!Receive(socket_.get(), mark.data(), mark.size())) return std::nullopt;
    const uint32_t word = WordAt(mark, 0);
    std::string fragment(word & ~kLastFragment, '\0');
    if (!Receive(socket_.get(), fragment.data(), fragment.size())) return std::nullopt;
    record += fragment;
    if ((word & kLastFragment) != 0) return record;
  }
}

std::string RpcClient::CallBytes(uint32_t xid, uint32_t program, uint32_t version,
                                 uint32_t procedure, const std::string& arguments) const {
  const std::string call = Words({xid, CALL, RPC_MSG_VERSION, program, version, procedure}) +
                           CredentialBytes(who_) + Words({AUTH_NONE, 0}) + arguments;
  return Words({kLastFragment | static_cast<uint32_t>(call.size())}) + call;
}

Reply RpcClient::ParseReply(const std::string& record, uint32_t xid) {
  if (WordAt(record, 0) != xid) throw std::runtime_error("a reply to another call");
  if (WordAt(record, 1) != REPLY) throw std::runtime_error("no reply");
  Reply reply;
  reply.denied = WordAt(record, 2) == MSG_DENIED;
  if (reply.denied) {
    reply.status = WordAt(record, 3);
    reply.why = WordAt(record, 4);
    return reply;
  }
  reply.status = WordAt(record, 5);
  reply.body = record.substr(24);
  return reply;
}

Reply RpcClient::Call(uint32_t program, uint32_t version, uint32_t procedure,
                      const std::string& arguments) {
  const uint32_t xid = NextXid();
  SendBytes(CallBytes(xid, program, version, procedure, arguments));
  const auto record = ReadRecord();
  if (!record) throw std::runtime_error("the connection has ended");
  return ParseReply(*record, xid);
}

}  // namespace airstore::nfs_test
