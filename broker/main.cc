// SPDX-License-Identifier: Apache-2.0
//
// airstored: parses its options, then runs the event loop until SIGTERM or SIGINT, or until another
// airstored takes over.
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "broker/broker.h"
#include "broker/control_server.h"
#include "broker/event_loop.h"
#include "broker/grpc_admin.h"
#include "broker/grpc_gateway.h"
#include "broker/handover.h"
#include "broker/log_setup.h"
#include "broker/metrics.h"
#include "broker/metrics_server.h"
#include "broker/options.h"
#include "broker/remap.h"
#include "broker/service_manager.h"
#include "broker/state_dir.h"
#include "broker/v1/grpc_context_client.h"
#include "broker/v1/metadata_engine.h"
#include "broker/v1/negotiated_gateway.h"
#include "broker/v1/v1_gateway.h"

namespace airstore::broker {
namespace {

constexpr auto kShutdownPatience = std::chrono::seconds(60);

// A descriptor for each content file in use: as many as we may have.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// Of the file that was started, whatever became of it.
std::string OwnProgram() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length <= 0 ? "" : std::string(path, static_cast<size_t>(length));
}

bool LeavesMounts(const Options& options) {
  return options.on_stop == "leave" || (options.on_stop == "auto" && HaveServiceManager());
}

// From the loop, so that one that hangs is replaced.
Task<void> KeepAlive(boost::asio::any_io_executor loop, std::chrono::microseconds period) {
  boost::asio::steady_timer timer(loop);
  for (;;) {
    TellServiceManager("WATCHDOG=1");
    timer.expires_after(period / 3);
    boost::system::error_code ended;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ended));
    if (ended) co_return;
  }
}

v1::V1Options V1OptionsOf(const Options& options, const std::string& spool) {
  v1::V1Options v1;
  v1.directory_of = [spool](const std::array<uint8_t, 16>& id) { return spool + "/" + HexOf(id); };
  v1.age = options.v1_freshness;
  v1.first_era = options.v1_first_era;
  v1.uid = geteuid();
  v1.gid = getegid();
  return v1;
}

Outcome<std::shared_ptr<Gateway>> MakeGateway(boost::asio::any_io_executor loop,
                                              GatewayChannelPool* channels, const Options& options,
                                              const std::string& spool, const std::string& address,
                                              const std::string& token) {
  using Made = Outcome<std::shared_ptr<Gateway>>;
  const bool only_v1 = options.gateway_protocol == "v1";
  auto channel = channels->Get(address, only_v1 ? Speech::kV1 : Speech::kV2);
  if (!channel.value) return Made{std::nullopt, channel.failure};
  const auto make_v1 = [loop, channels, address, token = Secret(token),
                        of_v1 = V1OptionsOf(options, spool),
                        timeout = options.io_timeout]() -> std::unique_ptr<Gateway> {
    auto over = channels->Get(address, Speech::kV1);
    if (!over.value) return nullptr;  // we are ending
    auto client =
        v1::MakeClientWithMetadata(v1::MakeGrpcContextClient(loop, *over.value, token, timeout),
                                   v1::MakeGrpcMetadataEngine(loop, *over.value, token, timeout));
    return v1::MakeV1Gateway(loop, std::move(client), of_v1);
  };
  if (only_v1) return Made{std::shared_ptr<Gateway>(make_v1()), {}};
  auto v2 = MakeGrpcGateway(loop, *channel.value, token,
                            GrpcGatewayOptions{.call_timeout = options.io_timeout});
  if (options.gateway_protocol == "v2") return Made{std::move(v2), {}};
  return Made{v1::MakeNegotiatedGateway(std::move(v2), make_v1), {}};
}

int Run(const Options& options, const std::vector<std::string>& arguments,
        std::shared_ptr<const LogCounts> log_counts) {
  const std::string own_program = OwnProgram();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an errno
  signal(SIGIO, SIG_IGN);  // of leases that are only taken to ask who else has a content file open
  RaiseFileLimit();
  Estate estate;
  Successor successor([](const char* name) -> const char* { return getenv(name); });
  const bool inherits = successor.inherits();
  if (inherits) {
    auto taken = successor.TakeOver(options.state_dir, [&]() -> Result<void> {
      auto made =
          options.store_dir.empty() ? Result<void>() : MakeDirectories(options.store_dir, 0700);
      if (!made) return Error{made.error().code, made.error().ToString()};
      return {};
    });
    if (!taken) {
      spdlog::error("{}", taken.error().ToString());
      return EXIT_FAILURE;
    }
    estate = std::move(*taken);
  }
  // Before those descriptors go that nobody asks for.
  if (!inherits) estate.control = GivenSocket();
  auto state_dir = inherits ? StateDir::Adopt(options.state_dir, std::move(estate.lock))
                            : StateDir::Open(options.state_dir);
  if (!state_dir) {
    spdlog::error("{}", state_dir.error().message);
    return EXIT_FAILURE;
  }
  if (auto spool = MakeDirectories(state_dir->spool(), 0700); !spool) {
    spdlog::error("{}", spool.error().ToString());
    return EXIT_FAILURE;
  }
  if (!options.store_dir.empty()) {
    if (auto store = MakeDirectories(options.store_dir, 0700); !store) {
      spdlog::error("{}", store.error().ToString());
      return EXIT_FAILURE;
    }
  }

  Remap remap(state_dir->spool());
  // Their frontends go on, without a broker or with the old one.
  if (auto remapped = remap.Run(inherits); !remapped) {
    spdlog::error("{}", remapped.error().ToString());
    return EXIT_FAILURE;
  }

  boost::asio::io_context loop(1);
  GatewayChannelPool channels(GatewayTls{.ca_file = options.gateway_ca_file,
                                         .cert_file = options.gateway_cert_file,
                                         .key_file = options.gateway_key_file,
                                         .insecure = options.gateway_insecure,
                                         .as_v1 = options.gateway_protocol == "v1"});
  Broker broker(
      loop.get_executor(), options, state_dir->spool(),
      [&](const std::string& address, const std::string& token) {
        return MakeGateway(loop.get_executor(), &channels, options, state_dir->spool(), address,
                           token);
      },
      OpenFailure);
  broker.OnHealth([&channels](const std::string& address) { return channels.Health(address); });
  Handover handover(loop.get_executor(), arguments);
  broker.OnUpgrade([&](std::string program, ProgressFn progress) -> Task<Outcome<Nothing>> {
    if (program.empty()) program = own_program;
    auto prepared = co_await handover.Prepare(program, progress);
    // Mounts were served, made and ended meanwhile.
    if (prepared.value && !co_await broker.Settle()) {
      co_return handover.CallOff("a mount is being made or ended");
    }
    // Nothing of ours runs from here on.
    if (prepared.value) loop.stop();
    co_return prepared;
  });
  const AdminFactory admin = [&](const std::string& address, const std::string& token) {
    auto channel = channels.Get(address);
    if (!channel.value) {
      return Outcome<std::shared_ptr<AdminClient>>{std::nullopt, channel.failure};
    }
    return Outcome<std::shared_ptr<AdminClient>>{
        MakeGrpcAdminClient(loop.get_executor(), *channel.value, token), {}};
  };
  auto control =
      estate.control
          ? ControlServer::Adopt(loop.get_executor(), std::move(estate.control), broker, admin)
          : ControlServer::Listen(loop.get_executor(), options.socket, broker, admin);
  if (!control) {
    spdlog::error("{}", control.error().ToString());
    return EXIT_FAILURE;
  }

  // Without metrics mounts are served all the same.
  std::unique_ptr<MetricsServer> metrics;
  if (!options.metrics.empty()) {
    auto serving = MetricsServer::Listen(
        loop.get_executor(), *ParseMetricsAddress(options.metrics), [&broker, log_counts] {
          const auto status = broker.Status(Caller{.uid = 0}, "");
          return status.value ? MetricsText(*status.value, *log_counts) : std::string();
        });
    if (serving) {
      metrics = std::move(*serving);
      broker.TellMetricsAddress(metrics->address());
      spdlog::info("metrics are served at {}", metrics->address());
    } else {
      spdlog::error("metrics are not served: {}", serving.error().ToString());
    }
  }

  // Before the old broker ends, or its end is taken for ours.
  TellServiceManager("READY=1\nMAINPID=" + std::to_string(getpid()));
  successor.Done();
  remap.Finish();
  if (const auto period = WatchdogTime(); period.count() > 0) {
    Spawn(loop.get_executor(), KeepAlive(loop.get_executor(), period));
  }

  bool clean = true;
  bool leaves = false;
  boost::asio::signal_set signals(loop, SIGTERM, SIGINT);
  signals.async_wait([&](const boost::system::error_code& error, int number) {
    if (error) return;
    TellServiceManager("STOPPING=1");
    if (number == SIGTERM && LeavesMounts(options)) {
      spdlog::info("ending; mounts are left to the next airstored");
      leaves = true;
      loop.stop();
      return;
    }
    spdlog::info("shutting down");
    Spawn(loop.get_executor(),
          [](Broker* all, bool* result, boost::asio::io_context* context) -> Task<void> {
            *result = co_await all->Shutdown(kShutdownPatience);
            context->stop();
          }(&broker, &clean, &loop));
  });
  spdlog::info("airstored {} serves {}", AIRSTORE_VERSION, (*control)->path());
  RunEventLoop(&loop);
  if (leaves || handover.prepared()) {
    // As after a crash: all that a successor needs is on record. Nothing is torn down here, because
    // what would be removed is the successor's.
    broker.LetGo();
    if (leaves) control->reset();
    if (leaves) metrics.reset();
    spdlog::default_logger()->flush();
    if (leaves || handover.Complete(state_dir->lock(), (*control)->fd())) _exit(EXIT_SUCCESS);
    StartAnew(arguments, state_dir->lock(), (*control)->fd());
  }
  control->reset();
  channels.Shutdown();
  if (!clean) {
    // Calls still wait for what is taken apart below. What they changed is on record.
    spdlog::default_logger()->flush();
    _exit(EXIT_FAILURE);
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace airstore::broker

int main(int argc, char** argv) {
  using namespace airstore::broker;
  const CommandLine line = ParseCommandLine(argc, argv, getenv);
  if (line.action == CommandLine::Action::kExit) {
    fputs(line.text.c_str(), line.exit_code == 0 ? stdout : stderr);
    return line.exit_code;
  }
  const auto log_counts = SetUpLog({.program = "airstored",
                                    .level = line.options.log_level,
                                    .format = line.options.log_format,
                                    .file = line.options.log_file});
  if (!log_counts) {
    fprintf(stderr, "airstored: %s\n", log_counts.error().message.c_str());
    return EXIT_FAILURE;
  }
  MeetServiceManager();
  return Run(line.options, std::vector<std::string>(argv + 1, argv + argc), *log_counts);
}
