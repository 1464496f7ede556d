// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <fstream>
#include <sstream>

#include "tools/gateway/admin_service.h"
#include "tools/gateway/call_meter.h"
#include "tools/gateway/storage_service.h"

namespace airstore::gateway {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;
constexpr std::chrono::seconds kStopGrace{2};

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return SysError("read " + path, errno != 0 ? errno : EIO);
  return text.str();
}

Result<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return Error{EINVAL, "--tls-cert and --tls-key belong together"};
  }
  if (options.tls_cert.empty()) {
    if (!options.tls_client_ca.empty()) {
      return Error{EINVAL, "--tls-client-ca needs --tls-cert and --tls-key"};
    }
    if (!options.insecure && !IsLocalAddress(options.listen)) {
      return Error{EPERM, "plain text on " + options.listen +
                              " would show tokens to the network: use TLS, or --insecure"};
    }
    return grpc::InsecureServerCredentials();
  }
  auto cert = ReadFile(options.tls_cert);
  if (!cert) return cert.error();
  auto key = ReadFile(options.tls_key);
  if (!key) return key.error();
  const auto clients = options.tls_client_ca.empty()
                           ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                           : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  grpc::SslServerCredentialsOptions ssl(clients);
  if (!options.tls_client_ca.empty()) {
    auto authorities = ReadFile(options.tls_client_ca);
    if (!authorities) return authorities.error();
    ssl.pem_root_certs = std::move(*authorities);
  }
  ssl.pem_key_cert_pairs.push_back({*key, *cert});
  return grpc::SslServerCredentials(ssl);
}

void SetArguments(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // With SO_REUSEPORT a second gateway would silently share the port.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Brokers ping often, with and without calls, to notice a dead link soon: never punish that.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  // And notice dead brokers, whose watches would stay otherwise.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
}

}  // namespace

bool IsLocalAddress(const std::string& listen) {
  for (const char* prefix : {"unix:", "unix-abstract:", "localhost:", "[::1]:"}) {
    if (listen.starts_with(prefix)) return true;
  }
  // An address in 127.0.0.0/8, not a host name that begins like one.
  return listen.starts_with("127.") &&
         listen.find_first_not_of("0123456789.:") == std::string::npos;
}

Server::Server() = default;

Result<std::unique_ptr<Server>> Server::Start(Gateway& gateway, const ServerOptions& options) {
  std::unique_ptr<Server> server(new Server());
  if (options.protocol != Protocol::kV1) {
    server->storage_ = std::make_unique<StorageService>(gateway);
  }
  if (options.protocol != Protocol::kV2) {
    auto services = v1::Services::Open(gateway, options.config);
    if (!services) return services.error();
    server->v1_ = std::move(*services);
  } else {
    gateway.OfferWith([](const Workspace&) { return Offer(); });
  }
  server->admin_ = std::make_unique<AdminService>(gateway);
  AIRSTORE_TRY(server->Listen(options));
  return server;
}

Result<void> Server::Listen(const ServerOptions& options) {
  auto credentials = MakeCredentials(options);
  if (!credentials) return credentials.error();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetArguments(builder);
  if (options.meter != nullptr) {
    builder.experimental().SetInterceptorCreators(options.meter->Interceptors());
  }
  builder.AddListeningPort(options.listen, *credentials, &port_);
  if (storage_) builder.RegisterService(storage_.get());
  if (v1_) v1_->Register(builder);
  builder.RegisterService(admin_.get());
  server_ = builder.BuildAndStart();
  if (!server_) {
    return Error{EADDRINUSE, "cannot listen on " + options.listen +
                                 " (in use, not an address of this host, or a bad certificate)"};
  }
  if (options.listen.starts_with("unix")) port_ = 0;
  return {};
}

void Server::Stop() {
  if (!server_) return;
  if (v1_) v1_->Stop();
  server_->Shutdown(std::chrono::system_clock::now() + kStopGrace);
  server_->Wait();
  // Services (and their pools) may only go when no call can reach them.
  server_.reset();
}

Server::~Server() { Stop(); }

}  // namespace airstore::gateway
