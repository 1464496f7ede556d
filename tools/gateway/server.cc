// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <sstream>

#include "shm/base/fd.h"
#include "tools/gateway/admin_service.h"
#include "tools/gateway/call_meter.h"
#include "tools/gateway/storage_service.h"

namespace airstore::gateway {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;
constexpr std::chrono::seconds kStopGrace{2};

Result<std::string> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file) return SysError("read " + path, errno != 0 ? errno : EIO);
  // Also of an empty file, and then with no errno.
  if (!(text << file.rdbuf()) && errno != 0) return SysError("read " + path);
  if (text.view().empty()) return Error{EINVAL, path + " is empty"};
  return text.str();
}

bool IsUnix(const std::string& listen) {
  return listen.starts_with("unix:") || listen.starts_with("unix-abstract:");
}

struct Place {
  std::string host;
  std::string port;
};

// Of what is no socket of this host.
Result<Place> PlaceOf(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  Place place{listen.substr(0, colon), colon == listen.npos ? "" : listen.substr(colon + 1)};
  uint16_t number = 0;
  const char* const end = place.port.data() + place.port.size();
  const auto [stop, error] = std::from_chars(place.port.data(), end, number);
  const bool bracketed = place.host.starts_with('[') && place.host.ends_with(']');
  if (error != std::errc() || stop != end ||
      (!bracketed && place.host.find(':') != std::string::npos)) {
    return Error{EINVAL, "--listen \"" + listen + "\": expected host:port or unix:/path"};
  }
  if (bracketed) place.host = place.host.substr(1, place.host.size() - 2);
  return place;
}

// gRPC does not say it.
Error WhyNot(const ServerOptions& options) {
  const std::string what = "cannot listen on " + options.listen;
  if (IsUnix(options.listen)) {
    const std::string path = options.listen.substr(options.listen.find(':') + 1);
    const std::string in = path.substr(0, path.rfind('/') + 1);
    if (!in.empty() && access(in.c_str(), W_OK | X_OK) != 0) return SysError(what);
  } else if (const auto place = PlaceOf(options.listen); place) {
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const char* host = place->host.empty() ? nullptr : place->host.c_str();
    if (getaddrinfo(host, place->port.c_str(), &hints, &found) != 0) {
      return Error{EADDRNOTAVAIL, what};
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
      const UniqueFd fd(socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, 0));
      const int on = 1;
      if (fd) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (fd && bind(fd.get(), one->ai_addr, one->ai_addrlen) != 0) return SysError(what);
    }
  }
  if (!options.tls_cert.empty()) return Error{EKEYREJECTED, what + " with this certificate"};
  return Error{EIO, what};
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
      return Error{EINVAL, "plain text on " + options.listen +
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
  if (!IsUnix(options.listen)) {
    if (const auto place = PlaceOf(options.listen); !place) return place.error();
  }
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
  if (!server_) return WhyNot(options);
  if (IsUnix(options.listen)) port_ = 0;
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
