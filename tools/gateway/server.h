// SPDX-License-Identifier: Apache-2.0
//
// The gateway on a socket: gRPC server, services, health, TLS.
//
// Threads: Start() and Stop() from one thread; everything else happens in gRPC's and the pools'.
// Ownership: borrows the gateway. Stop() ends streams and waits for calls; the destructor stops.
// Fails: Start() when TLS files are unreadable, or the port is in use; EINVAL, saying why: the
// options make no sense, or plain text is not allowed.
#pragma once

#include <memory>
#include <string>

#include "tools/gateway/gateway.h"
#include "tools/gateway/v1/services.h"

namespace grpc {
class Server;
}

namespace airstore::gateway {

class AdminService;
class CallMeter;
class StorageService;

enum class Protocol { kAll, kV1, kV2 };

struct ServerOptions {
  std::string listen = "127.0.0.1:7070";  // host:port or unix:/path
  std::string tls_cert;                   // PEM files; both or none
  std::string tls_key;
  std::string tls_client_ca;  // PEM file; who has no certificate of theirs is not let in
  bool insecure = false;      // allow plain text on an address that others can reach
  // What is not served is UNIMPLEMENTED. Administration and health always are.
  Protocol protocol = Protocol::kAll;
  Config config;               // what v1 offers besides files
  CallMeter* meter = nullptr;  // counts calls; outlives the server
};

class Server {
 public:
  static Result<std::unique_ptr<Server>> Start(Gateway& gateway, const ServerOptions& options);
  ~Server();
  void Stop();

  int port() const { return port_; }  // 0 for unix sockets

 private:
  Server();
  Result<void> Listen(const ServerOptions& options);

  std::unique_ptr<StorageService> storage_;
  std::unique_ptr<AdminService> admin_;
  std::unique_ptr<v1::Services> v1_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// unix:..., 127.0.0.0/8, [::1], localhost.
bool IsLocalAddress(const std::string& listen);

}  // namespace airstore::gateway
