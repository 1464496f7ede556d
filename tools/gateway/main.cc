// SPDX-License-Identifier: Apache-2.0
//
// airstore-gateway: serves workspaces kept in a data directory. Parses the command line, opens the
// gateway, serves until SIGTERM or SIGINT.
//
// Threads: signals are blocked before any thread starts and taken by the main thread only.
// Fails how: one line on stderr; 2 for a bad command line or configuration, 1 for everything else.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "broker/log_event.h"
#include "broker/log_setup.h"
#include "broker/metrics_address.h"
#include "tools/gateway/call_meter.h"
#include "tools/gateway/copy_main.h"
#include "tools/gateway/failed.h"
#include "tools/gateway/gateway.h"
#include "tools/gateway/metrics.h"
#include "tools/gateway/server.h"

namespace airstore::gateway {
namespace {

struct Options {
  GatewayOptions gateway;
  ServerOptions server;
  std::string config_file;
  std::string port_file;
  broker::LogOptions log{.program = "gateway"};
  std::string metrics;  // where they are served; empty: nowhere
};

void AddFlags(CLI::App& app, Options& options, int64_t& gc_grace, int64_t& session_seconds,
              uint64_t& cache_mib, std::string& protocol) {
  app.add_option("--data", options.gateway.data_dir,
                 "Directory for what the gateway keeps; metadata and blocks are here, too, unless "
                 "they are elsewhere")
      ->required();
  app.add_option("--metadata", options.gateway.metadata,
                 "URL of the metadata: sqlite:///FILE, redis://..., redis+sentinel://..., "
                 "redis+cluster://..., rediss... with TLS (default DATA/metadata.sqlite)");
  app.add_option(
      "--blocks", options.gateway.blocks,
      "URL of the blocks: file:///DIRECTORY, s3://BUCKET/PREFIX?... (default DATA/blocks)");
  app.add_option("--listen", options.server.listen, "host:port (port 0: any) or unix:/path")
      ->capture_default_str();
  app.add_option("--port-file", options.port_file, "Write the port in use to this file");
  app.add_option("--tls-cert", options.server.tls_cert, "PEM file of the certificate chain");
  app.add_option("--tls-key", options.server.tls_key, "PEM file of the private key");
  app.add_option("--tls-client-ca", options.server.tls_client_ca,
                 "PEM file of authorities: clients need a certificate of theirs");
  app.add_flag("--insecure", options.server.insecure,
               "Allow plain text on an address that is not loopback");
  app.add_option("--admin-token-file", options.gateway.admin_token_file,
                 "File of the admin token, created when missing (default DATA/admin-token)");
  app.add_option("--gc-grace", gc_grace, "Seconds that unreferenced blocks are kept")
      ->check(CLI::Range(int64_t{0}, int64_t{365 * 24 * 3600}))
      ->capture_default_str();
  app.add_option("--session-seconds", session_seconds,
                 "A host not heard of for so long loses its leases and locks")
      ->check(CLI::Range(int64_t{1}, int64_t{3600}))
      ->capture_default_str();
  app.add_option("--cache-mib", cache_mib, "Memory for cached blocks")
      ->check(CLI::Range(uint64_t{8}, uint64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--protocol", protocol, "What clients may speak: v1, v2 or all")
      ->check(CLI::IsMember({"v1", "v2", "all"}))
      ->capture_default_str();
  app.add_option(
      "--config", options.config_file,
      "TOML file of what v1 clients are offered besides files: airstore-gateway.conf(5)");
  app.add_option("--log-level", options.log.level, "trace, debug, info, warn, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.add_option("--log-format", options.log.format, "text, or json: an object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-file", options.log.file,
                 "Where to log instead of stderr; rotated at 16 MiB, five older ones are kept");
  app.add_option("--metrics", options.metrics,
                 "Serve metrics for Prometheus: 127.0.0.1:9465 or unix:/path")
      ->check([](const std::string& text) {
        const auto address = broker::ParseMetricsAddress(text);
        return address ? std::string() : address.error().message;
      });
}

// Whoever waits for the file must never read half a number.
Result<void> WritePortFile(const std::string& path, int port) {
  const std::string temp = path + ".tmp";
  {
    std::ofstream file(temp, std::ios::trunc);
    file << port << "\n";
    if (!file.flush()) return SysError("write " + temp);
  }
  if (rename(temp.c_str(), path.c_str()) != 0) return SysError("rename " + temp);
  return {};
}

Result<void> Serve(Options options, std::shared_ptr<const broker::LogCounts> log,
                   const sigset_t& signals) {
  auto gateway = Gateway::Open(options.gateway);
  if (!gateway) return gateway.error();
  CallMeter meter;
  if (!options.metrics.empty()) options.server.meter = &meter;
  auto server = Server::Start(**gateway, options.server);
  if (!server) return server.error();
  std::unique_ptr<GatewayMetrics> metrics;
  if (!options.metrics.empty()) {
    auto serving = GatewayMetrics::Serve({**gateway, meter, std::move(log)}, options.metrics);
    if (!serving) return serving.error();
    metrics = std::move(*serving);
    broker::LogEvent(spdlog::level::info, {{"address", metrics->address()}},
                     "metrics are served at {}", metrics->address());
  }
  if (!options.port_file.empty()) {
    AIRSTORE_TRY(WritePortFile(options.port_file, (*server)->port()));
  }
  broker::LogEvent(spdlog::level::info,
                   {{"version", AIRSTORE_VERSION},
                    {"data", options.gateway.data_dir},
                    {"address", options.server.listen}},
                   "airstore-gateway {} serves {} on {} (port {})", AIRSTORE_VERSION,
                   options.gateway.data_dir, options.server.listen, (*server)->port());
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  broker::LogEvent(spdlog::level::info, {{"signal", std::to_string(signal_number)}},
                   "signal {}: stopping", signal_number);
  (*server)->Stop();
  return {};
}

int Main(int argc, char** argv) {
  Options options;
  int64_t gc_grace = options.gateway.gc_grace.count();
  int64_t session_seconds = options.gateway.session_lifetime.count();
  uint64_t cache_mib = options.gateway.cache_bytes >> 20;
  std::string protocol = "all";
  CLI::App app(
      "airstore-gateway: serves airstore workspaces from a data directory "
      "(airstore-gateway copy: copies one to another store, see copy --help)");
  app.set_version_flag("--version", "airstore-gateway " AIRSTORE_VERSION);
  AddFlags(app, options, gc_grace, session_seconds, cache_mib, protocol);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Failed({EINVAL, std::string(error.what()) + ": see airstore-gateway --help"});
  }
  options.gateway.gc_grace = std::chrono::seconds(gc_grace);
  options.gateway.session_lifetime = std::chrono::seconds(session_seconds);
  options.gateway.cache_bytes = cache_mib << 20;
  if (protocol != "all") {
    options.server.protocol = protocol == "v1" ? Protocol::kV1 : Protocol::kV2;
  }
  const auto log = broker::SetUpLog(options.log);
  if (!log) return Failed(log.error());

  if (!options.config_file.empty()) {
    auto config = ReadConfigFile(options.config_file);
    if (!config) return Failed({EINVAL, config.error().message});
    options.server.config = std::move(*config);
  }

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  const auto served = Serve(std::move(options), *log, signals);
  return served ? 0 : Failed(served.error());
}

}  // namespace
}  // namespace airstore::gateway

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "copy") {
    return airstore::gateway::CopyMain(argc - 1, argv + 1);
  }
  return airstore::gateway::Main(argc, argv);
}
