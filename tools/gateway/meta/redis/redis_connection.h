// SPDX-License-Identifier: Apache-2.0
//
// A connection to a Redis server: commands out, replies in, over TCP, TLS or a unix socket. The
// protocol is hiredis'; the socket is ours, because the hiredis of Debian 12 knows no TLS.
//
// Threads: one at a time.
// Fails: Call() when the connection breaks or nothing comes for `timeout`: it is of no more use
// then, nor is one to a server that says that it is no master. What a server refuses is a reply,
// not a failure.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"

struct redisReader;
struct ssl_st;
struct ssl_ctx_st;

namespace airstore::gateway {

struct RedisSentinel {
  std::string host;
  int port = 26379;
};

struct RedisAddress {
  std::string host;
  int port = 6379;
  friend auto operator<=>(const RedisAddress&, const RedisAddress&) = default;
};

struct RedisOptions {
  std::string host = "127.0.0.1";
  int port = 6379;
  std::string socket;  // a path, instead of host and port
  // Who knows host and port of the service's master; empty: they are as above.
  std::vector<RedisSentinel> sentinels;
  std::string service;
  // Some servers of a cluster, which know the others; empty: it is none.
  std::vector<RedisAddress> cluster;
  int database = 0;
  std::string user;  // of the server's access control lists; empty: its default one
  std::string password;
  bool tls = false;
  std::string ca_file;              // empty: the system's
  std::string cert_file, key_file;  // for servers that ask
  std::string prefix = "airstore";  // of all keys
  std::chrono::milliseconds timeout{10'000};
  std::chrono::milliseconds connect_timeout{0};  // 0: the same

  std::string Name() const {
    if (!sentinels.empty()) return service;
    if (!cluster.empty()) {
      return "the cluster of " + cluster[0].host + ":" + std::to_string(cluster[0].port);
    }
    return socket.empty() ? host + ":" + std::to_string(port) : socket;
  }
};

using RedisCommand = std::vector<std::string>;

struct RedisReply {
  enum class Kind { kNil, kInteger, kText, kArray, kError };
  Kind kind = Kind::kNil;
  int64_t integer = 0;
  std::string text;  // of an error, too
  std::vector<RedisReply> items;

  bool is_nil() const { return kind == Kind::kNil; }
  bool is_error() const { return kind == Kind::kError; }
};

class RedisConnection {
 public:
  // Connects, to the master where sentinels are to be asked, and says who we are.
  static Result<std::unique_ptr<RedisConnection>> Open(const RedisOptions& options);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  // Sends them at once; one reply each, in their order.
  Result<std::vector<RedisReply>> Call(std::span<const RedisCommand> commands);
  // One command; a refusal is a failure here.
  Result<RedisReply> Call(const RedisCommand& command);
  // What the server sends by itself, to those who have subscribed: the next message, or nothing
  // when none has come for so long.
  Result<std::optional<RedisReply>> Next(std::chrono::milliseconds patience);
  // The answer comes to Next().
  Result<void> Ping();
  // From any thread: Next() fails soon.
  void Interrupt();
  // Whether it may be used: nothing has come that nobody asked for, such as its end.
  bool IsQuiet() const;
  bool broken() const { return broken_; }
  std::string Name() const { return options_.Name(); }
  RedisAddress address() const { return {options_.host, options_.port}; }

 private:
  explicit RedisConnection(const RedisOptions& options);
  Result<void> Connect();
  Result<void> StartTls();
  Result<void> Greet();
  Result<void> Send(std::string_view bytes);
  Result<RedisReply> Receive();
  Result<std::optional<RedisReply>> Received();  // of what has come already
  Result<void> Feed();                           // waits for more
  Error Broke(const std::string& why);

  const RedisOptions options_;
  UniqueFd fd_;
  ssl_ctx_st* tls_context_ = nullptr;
  ssl_st* tls_ = nullptr;
  redisReader* const reader_;
  bool broken_ = false;
};

}  // namespace airstore::gateway
