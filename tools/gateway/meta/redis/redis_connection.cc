// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/meta/redis/redis_connection.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <thread>

#include "tools/gateway/meta/redis/redis_sentinel.h"

namespace airstore::gateway {
namespace {

Result<void> ConnectTo(int fd, const sockaddr* address, socklen_t size,
                       const RedisOptions& options) {
  const std::chrono::milliseconds timeout = options.timeout;
  const auto patience = options.connect_timeout.count() != 0 ? options.connect_timeout : timeout;
  if (connect(fd, address, size) != 0) {
    if (errno != EINPROGRESS) return SysError("connect");
    pollfd ready = {fd, POLLOUT, 0};
    if (poll(&ready, 1, static_cast<int>(patience.count())) <= 0) {
      return SysError("connect", ETIMEDOUT);
    }
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) return SysError("connect", error);
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  const timeval limit = {timeout.count() / 1000, timeout.count() % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return {};
}

std::string TlsError() {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  return text;
}

RedisReply Taken(const redisReply& reply) {
  RedisReply taken;
  switch (reply.type) {
    case REDIS_REPLY_INTEGER:
      taken.kind = RedisReply::Kind::kInteger;
      taken.integer = reply.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
      taken.kind =
          reply.type == REDIS_REPLY_ERROR ? RedisReply::Kind::kError : RedisReply::Kind::kText;
      taken.text.assign(reply.str, static_cast<size_t>(reply.len));
      break;
    case REDIS_REPLY_ARRAY:
      taken.kind = RedisReply::Kind::kArray;
      for (size_t i = 0; i < reply.elements; ++i) taken.items.push_back(Taken(*reply.element[i]));
      break;
    default:
      break;
  }
  return taken;
}

// A replica, by now; and one without its master.
bool IsNoMaster(const std::string& refusal) {
  return refusal.starts_with("READONLY") || refusal.starts_with("MASTERDOWN");
}

void Append(std::string& out, const RedisCommand& command) {
  out.append("*").append(std::to_string(command.size())).append("\r\n");
  for (const std::string& word : command) {
    out.append("$").append(std::to_string(word.size())).append("\r\n").append(word).append("\r\n");
  }
}

}  // namespace

RedisConnection::RedisConnection(const RedisOptions& options)
    : options_(options), reader_(redisReaderCreate()) {
  AIRSTORE_CHECK(reader_ != nullptr);
}

RedisConnection::~RedisConnection() {
  if (tls_ != nullptr) SSL_free(tls_);
  if (tls_context_ != nullptr) SSL_CTX_free(tls_context_);
  redisReaderFree(reader_);
}

Result<std::unique_ptr<RedisConnection>> RedisConnection::Open(const RedisOptions& options) {
  if (!options.sentinels.empty()) return OpenMaster(options);
  std::unique_ptr<RedisConnection> connection(new RedisConnection(options));
  Result<void> done = connection->Connect();
  if (done && options.tls) done = connection->StartTls();
  if (done) done = connection->Greet();
  if (!done)
    return Error{done.error().code, "Redis at " + options.Name() + ": " + done.error().message};
  return connection;
}

Result<void> RedisConnection::Connect() {
  if (!options_.socket.empty()) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (options_.socket.size() >= sizeof address.sun_path) return Error{ENAMETOOLONG, "socket"};
    options_.socket.copy(address.sun_path, options_.socket.size());
    fd_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return ConnectTo(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address, options_);
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed =
      getaddrinfo(options_.host.c_str(), std::to_string(options_.port).c_str(), &hints, &found);
  if (failed != 0) return Error{EHOSTUNREACH, gai_strerror(failed)};
  Result<void> done = Error{EHOSTUNREACH, "no address"};
  for (const addrinfo* at = found; at != nullptr && !done; at = at->ai_next) {
    fd_ = UniqueFd(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    done = ConnectTo(fd_.get(), at->ai_addr, at->ai_addrlen, options_);
  }
  freeaddrinfo(found);
  const int on = 1;
  setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  return done;
}

Result<void> RedisConnection::StartTls() {
  tls_context_ = SSL_CTX_new(TLS_client_method());
  AIRSTORE_CHECK(tls_context_ != nullptr);
  SSL_CTX_set_min_proto_version(tls_context_, TLS1_2_VERSION);
  SSL_CTX_set_verify(tls_context_, SSL_VERIFY_PEER, nullptr);
  const int trusted =
      options_.ca_file.empty()
          ? SSL_CTX_set_default_verify_paths(tls_context_)
          : SSL_CTX_load_verify_locations(tls_context_, options_.ca_file.c_str(), nullptr);
  if (trusted != 1) return Error{EINVAL, "certificate authorities: " + TlsError()};
  if (!options_.cert_file.empty() &&
      (SSL_CTX_use_certificate_chain_file(tls_context_, options_.cert_file.c_str()) != 1 ||
       SSL_CTX_use_PrivateKey_file(tls_context_, options_.key_file.c_str(), SSL_FILETYPE_PEM) !=
           1)) {
    return Error{EINVAL, "own certificate: " + TlsError()};
  }
  tls_ = SSL_new(tls_context_);
  AIRSTORE_CHECK(tls_ != nullptr);
  SSL_set_fd(tls_, fd_.get());
  // Servers of a cluster are known to each other by their addresses, and to us by them, too.
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_), options_.host.c_str()) != 1) {
    SSL_set_tlsext_host_name(tls_, options_.host.c_str());
    SSL_set1_host(tls_, options_.host.c_str());
  }
  if (SSL_connect(tls_) != 1) return Error{EPROTO, "TLS: " + TlsError()};
  return {};
}

Result<void> RedisConnection::Greet() {
  if (!options_.password.empty()) {
    RedisCommand auth = {"AUTH"};
    if (!options_.user.empty()) auth.push_back(options_.user);
    auth.push_back(options_.password);
    auto done = Call(auth);
    if (!done) return Error{EACCES, done.error().message};
  }
  // A server that has just started reads its log first.
  const auto give_up = std::chrono::steady_clock::now() + options_.timeout;
  while (true) {
    const RedisCommand ping = {"PING"};
    auto replies = Call(std::span(&ping, 1));
    if (!replies) return replies.error();
    const RedisReply& reply = replies->front();
    if (!reply.is_error()) break;
    if (!reply.text.starts_with("LOADING") || std::chrono::steady_clock::now() > give_up) {
      return Error{reply.text.starts_with("NOAUTH") ? EACCES : EAGAIN, reply.text};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  if (options_.database != 0) {
    auto done = Call(RedisCommand{"SELECT", std::to_string(options_.database)});
    if (!done) return done.error();
  }
  return {};
}

Error RedisConnection::Broke(const std::string& why) {
  broken_ = true;
  return {EIO, "connection to Redis at " + options_.Name() + ": " + why};
}

Result<void> RedisConnection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = tls_ != nullptr
                          ? SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size()))
                          : send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && tls_ == nullptr && errno == EINTR) continue;
    if (n <= 0) return Broke(strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<std::optional<RedisReply>> RedisConnection::Received() {
  void* raw = nullptr;
  if (redisReaderGetReply(reader_, &raw) != REDIS_OK) return Broke(reader_->errstr);
  if (raw == nullptr) return std::optional<RedisReply>();
  RedisReply reply = Taken(*static_cast<redisReply*>(raw));
  freeReplyObject(raw);
  return std::optional(std::move(reply));
}

Result<void> RedisConnection::Feed() {
  while (true) {
    char buffer[16384];
    const ssize_t n = tls_ != nullptr ? SSL_read(tls_, buffer, sizeof buffer)
                                      : recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && tls_ == nullptr && errno == EINTR) continue;
    if (n == 0) return Broke("closed by the server");
    if (n < 0) return Broke(errno == EAGAIN ? "no answer in time" : strerror(errno));
    if (redisReaderFeed(reader_, buffer, static_cast<size_t>(n)) != REDIS_OK) {
      return Broke(reader_->errstr);
    }
    return {};
  }
}

Result<RedisReply> RedisConnection::Receive() {
  while (true) {
    auto reply = Received();
    if (!reply) return reply.error();
    if (*reply) return std::move(**reply);
    AIRSTORE_TRY(Feed());
  }
}

Result<std::optional<RedisReply>> RedisConnection::Next(std::chrono::milliseconds patience) {
  if (broken_) return Broke("lost before");
  const auto until = std::chrono::steady_clock::now() + patience;
  while (true) {
    auto reply = Received();
    if (!reply || *reply) return reply;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    if (tls_ == nullptr || SSL_pending(tls_) == 0) {
      pollfd ready = {fd_.get(), POLLIN | POLLRDHUP, 0};
      const int n = poll(&ready, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
      if (n < 0 && errno != EINTR) return Broke(strerror(errno));
      if (n < 0) continue;
      if (n == 0) return std::optional<RedisReply>();
    }
    AIRSTORE_TRY(Feed());
  }
}

Result<void> RedisConnection::Ping() { return Send("*1\r\n$4\r\nPING\r\n"); }

void RedisConnection::Interrupt() { shutdown(fd_.get(), SHUT_RDWR); }

Result<std::vector<RedisReply>> RedisConnection::Call(std::span<const RedisCommand> commands) {
  if (broken_) return Broke("lost before");
  std::string bytes;
  for (const RedisCommand& command : commands) Append(bytes, command);
  AIRSTORE_TRY(Send(bytes));
  std::vector<RedisReply> replies;
  replies.reserve(commands.size());
  while (replies.size() < commands.size()) {
    auto reply = Receive();
    if (!reply) return reply.error();
    if (reply->is_error() && IsNoMaster(reply->text)) broken_ = true;
    replies.push_back(std::move(*reply));
  }
  return replies;
}

Result<RedisReply> RedisConnection::Call(const RedisCommand& command) {
  auto replies = Call(std::span(&command, 1));
  if (!replies) return replies.error();
  RedisReply& reply = replies->front();
  if (reply.is_error()) return Error{EIO, "Redis: " + command.front() + ": " + reply.text};
  return std::move(reply);
}

bool RedisConnection::IsQuiet() const {
  pollfd end = {fd_.get(), POLLIN | POLLRDHUP, 0};
  return !broken_ && poll(&end, 1, 0) == 0;
}

}  // namespace airstore::gateway
