// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/gateway/faulty_proxy.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "shm/base/result.h"

namespace airstore::gateway {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// A whole message with its body; empty: the connection has ended.
std::string ReceiveMessage(int fd) {
  std::string message;
  size_t want = std::string::npos;
  char buffer[65536];
  while (message.size() < want) {
    const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return {};
    message.append(buffer, static_cast<size_t>(n));
    const size_t head = message.find("\r\n\r\n");
    if (want == std::string::npos && head != std::string::npos) {
      want = head + 4;
      const std::string lower = [&] {
        std::string text = message.substr(0, head);
        for (char& c : text) c = static_cast<char>(tolower(c));
        return text;
      }();
      const size_t at = lower.find("content-length:");
      if (at != std::string::npos) want += strtoul(lower.c_str() + at + 15, nullptr, 10);
    }
  }
  return message;
}

std::string Answer(std::string_view status, std::string_view body) {
  return "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string(body);
}

}  // namespace

FaultyProxy::FaultyProxy(int upstream_port)
    : upstream_port_(upstream_port), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  AIRSTORE_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  AIRSTORE_CHECK(listen(listener_.get(), 64) == 0);
  getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Accept(); });
}

FaultyProxy::~FaultyProxy() {
  stopping_ = true;
  shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
  for (auto& connection : connections_) {
    shutdown(connection->client.get(), SHUT_RDWR);
    shutdown(connection->server.get(), SHUT_RDWR);
    connection->thread.join();
  }
}

void FaultyProxy::Add(Fault fault, int times) {
  std::lock_guard lock(mu_);
  for (int i = 0; i < times; ++i) faults_.push_back(fault);
  for (auto& connection : connections_) {
    if (!connection->done) shutdown(connection->client.get(), SHUT_RDWR);
  }
}

void FaultyProxy::Clear() {
  std::lock_guard lock(mu_);
  faults_.clear();
}

void FaultyProxy::Break(bool broken) {
  std::lock_guard lock(mu_);
  broken_ = broken;
  if (!broken) return;
  for (auto& connection : connections_) {
    if (!connection->done) shutdown(connection->client.get(), SHUT_RDWR);
  }
}

Fault FaultyProxy::Next() {
  std::lock_guard lock(mu_);
  if (faults_.empty()) return Fault::kNone;
  const Fault fault = faults_.front();
  faults_.pop_front();
  return fault;
}

void FaultyProxy::Accept() {
  while (!stopping_) {
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    if (broken_) {
      ++hit_;
      continue;
    }
    auto connection = std::make_unique<Connection>();
    connection->client = std::move(client);
    connection->server = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Loopback(upstream_port_);
    if (connect(connection->server.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof address) != 0) {
      continue;
    }
    std::lock_guard lock(mu_);
    Connection& kept = *connections_.emplace_back(std::move(connection));
    kept.thread = std::thread([this, &kept] { Serve(kept); });
  }
}

void FaultyProxy::Serve(Connection& connection) {
  const int client = connection.client.get();
  const int server = connection.server.get();
  const Fault fault = Next();
  if (fault == Fault::kNone || Misbehave(connection, fault)) {
    char buffer[65536];
    pollfd ends[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    for (bool open = true; open && poll(ends, 2, -1) > 0;) {
      for (int i = 0; i < 2 && open; ++i) {
        if (ends[i].revents == 0) continue;
        const ssize_t n = recv(ends[i].fd, buffer, sizeof buffer, 0);
        open = n > 0 && SendAll(ends[1 - i].fd, {buffer, static_cast<size_t>(n)});
      }
    }
  }
  shutdown(connection.client.get(), SHUT_RDWR);  // if it still is one
  shutdown(server, SHUT_RDWR);
  connection.done = true;
}

// False: the connection is of no more use.
bool FaultyProxy::Misbehave(Connection& connection, Fault fault) {
  const int client = connection.client.get();
  const std::string request = ReceiveMessage(client);
  if (request.empty()) return false;
  ++hit_;
  switch (fault) {
    case Fault::kNone:
      break;
    case Fault::kSlowDown:
      return SendAll(client, Answer("503 Slow Down",
                                    "<?xml version=\"1.0\"?><Error><Code>SlowDown"
                                    "</Code><Message>less</Message></Error>")) &&
             false;
    case Fault::kServerError:
      return SendAll(client, Answer("500 Internal Server Error", "")) && false;
    case Fault::kNoSuchPage:
      return SendAll(client, Answer("404 Not Found", "<html><body>Not Found</body></html>")) &&
             false;
    case Fault::kReset: {
      const linger now = {1, 0};
      setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
      connection.client.reset();
      return false;
    }
    case Fault::kSilence: {
      char byte;
      (void)recv(client, &byte, 1, 0);  // until the caller has had enough
      return false;
    }
    case Fault::kDrip:
    case Fault::kCut:
    case Fault::kDamage:
      break;
  }
  if (!SendAll(connection.server.get(), request)) return false;
  std::string answer = ReceiveMessage(connection.server.get());
  if (answer.empty()) return false;
  if (fault == Fault::kDamage) {
    answer.back() = static_cast<char>(answer.back() ^ 1);
    return SendAll(client, answer);
  }
  if (fault == Fault::kCut) return SendAll(client, answer.substr(0, answer.size() / 2)) && false;
  for (size_t at = 0; at < answer.size(); at += 16) {
    pollfd end = {client, POLLIN | POLLRDHUP, 0};
    if (poll(&end, 1, 200) > 0) return false;  // the caller has had enough
    if (!SendAll(client, answer.substr(at, 16))) return false;
  }
  return true;
}

}  // namespace airstore::gateway
