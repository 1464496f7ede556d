// SPDX-License-Identifier: Apache-2.0
//
// airstore-bench-gateway: many simulated brokers against one or several gateways of one store: how
// many changes, lookups and bytes a second, how long a call takes, and what it costs the processes
// that are named. Or fills a workspace, so that somebody can look how large the store has become.
//
// Threads: one for each broker.
// Fails how: one line on stderr; 2 for a bad command line, 1 for everything else.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tools/bench/gateway/simulated_broker.h"

namespace airstore::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> gateways;
  std::string token_file;
  std::vector<std::string> processes;  // NAME=PID
  std::string what = "metadata";
  size_t brokers = 8;
  bool one_workspace = false;
  double seconds = 5;
  size_t batch = 64;
  size_t block_bytes = 1 << 20;
  uint64_t files = 100'000;
  size_t name_bytes = 16;
  bool own_blocks = false;
  bool json = false;
};

std::string ReadToken(const std::string& file) {
  std::ifstream in(file);
  std::string token;
  if (!std::getline(in, token)) throw std::runtime_error("cannot read a token from " + file);
  return token;
}

// User and system time of a process, in seconds.
double CpuOf(const std::string& pid) {
  std::ifstream in("/proc/" + pid + "/stat");
  std::string text;
  std::getline(in, text);
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0, system = 0;
  if (!(fields >> user >> system)) throw std::runtime_error("there is no process " + pid);
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// By the part of the name before '=': several processes may share one.
std::map<std::string, double> CpuOfAll(const std::vector<std::string>& processes) {
  std::map<std::string, double> cpu;
  for (const std::string& one : processes) {
    const size_t equals = one.find('=');
    if (equals == std::string::npos) throw std::runtime_error("--process is NAME=PID");
    cpu[one.substr(0, equals)] += CpuOf(one.substr(equals + 1));
  }
  return cpu;
}

class Administrator {
 public:
  Administrator(const std::string& address, std::string token)
      : token_(std::move(token)),
        admin_(wire::Admin::NewStub(
            grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {}

  // A new workspace; its token.
  std::string MakeWorkspace(const std::string& name) {
    wire::CreateWorkspaceRequest create;
    wire::Workspace workspace;
    create.set_name(name);
    Call(&wire::Admin::Stub::CreateWorkspace, create, &workspace);
    wire::CreateTokenRequest request;
    wire::CreateTokenResponse made;
    request.set_workspace(name);
    request.set_principal("bench");
    Call(&wire::Admin::Stub::CreateToken, request, &made);
    return made.secret();
  }
  void RemoveWorkspace(const std::string& name) {
    wire::DeleteWorkspaceRequest request;
    wire::DeleteWorkspaceResponse response;
    request.set_name(name);
    Call(&wire::Admin::Stub::DeleteWorkspace, request, &response);
  }

 private:
  template <typename Method, typename Request, typename Response>
  void Call(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token_);
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const grpc::Status status = (admin_.get()->*method)(&context, request, response);
    if (!status.ok()) throw std::runtime_error("administrator: " + status.error_message());
  }

  const std::string token_;
  std::unique_ptr<wire::Admin::Stub> admin_;
};

double Percentile(std::vector<double>& sorted, double part) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(part * static_cast<double>(sorted.size())))];
}

nlohmann::json Report(LoadCounts counts, double seconds, const std::map<std::string, double>& cpu) {
  nlohmann::json report;
  report["seconds"] = seconds;
  report["changes_per_s"] = static_cast<double>(counts.changes) / seconds;
  report["lookups_per_s"] = static_cast<double>(counts.lookups) / seconds;
  report["written_mb_per_s"] = static_cast<double>(counts.written_bytes) / 1e6 / seconds;
  report["read_mb_per_s"] = static_cast<double>(counts.read_bytes) / 1e6 / seconds;
  const auto operations = static_cast<double>(counts.changes + counts.lookups);
  for (const auto& [name, used] : cpu) {
    report["cpu"][name] = {{"cores", used / seconds},
                           {"us_per_operation", operations == 0 ? 0 : used * 1e6 / operations}};
  }
  for (auto& [name, times] : counts.call_ms) {
    std::sort(times.begin(), times.end());
    report["calls"][name] = {{"count", times.size()},
                             {"p50_ms", Percentile(times, 0.5)},
                             {"p99_ms", Percentile(times, 0.99)}};
  }
  return report;
}

void Print(const nlohmann::json& report) {
  std::printf("%.0f changes/s, %.0f lookups/s, %.1f MB/s written, %.1f MB/s read\n",
              report["changes_per_s"].get<double>(), report["lookups_per_s"].get<double>(),
              report["written_mb_per_s"].get<double>(), report["read_mb_per_s"].get<double>());
  for (const auto& [name, call] : report["calls"].items()) {
    std::printf("  %-10s %8llu calls, p50 %8.2f ms, p99 %8.2f ms\n", name.c_str(),
                static_cast<unsigned long long>(call["count"].get<uint64_t>()),
                call["p50_ms"].get<double>(), call["p99_ms"].get<double>());
  }
  if (!report.contains("cpu")) return;
  for (const auto& [name, cpu] : report["cpu"].items()) {
    std::printf("  %-10s %.2f cores, %.1f us of CPU for each change or lookup\n", name.c_str(),
                cpu["cores"].get<double>(), cpu["us_per_operation"].get<double>());
  }
}

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options),
        prefix_("bench-" + std::to_string(getpid()) + "-"),
        administrator_(options.gateways.front(), ReadToken(options.token_file)) {}

  nlohmann::json Do() {
    const size_t brokers = options_.what == "fill" ? 1 : options_.brokers;
    std::vector<std::string> tokens;
    for (size_t i = 0; i < (options_.one_workspace ? 1 : brokers); ++i) {
      tokens.push_back(administrator_.MakeWorkspace(prefix_ + std::to_string(i)));
    }
    std::vector<std::unique_ptr<SimulatedBroker>> all;
    for (size_t i = 0; i < brokers; ++i) {
      all.push_back(std::make_unique<SimulatedBroker>(
          options_.gateways[i % options_.gateways.size()], tokens[i % tokens.size()], i + 1));
      all.back()->Open(!options_.one_workspace || brokers == 1);
      all.back()->counts() = {};
    }
    const auto cpu_before = CpuOfAll(options_.processes);
    const auto begun = Clock::now();
    std::vector<std::thread> threads;
    for (auto& broker : all) threads.emplace_back([&] { Work(*broker, begun); });
    for (std::thread& thread : threads) thread.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    auto cpu = CpuOfAll(options_.processes);
    for (auto& [name, used] : cpu) used -= cpu_before.at(name);
    if (!problem_.empty()) throw std::runtime_error(problem_);
    LoadCounts sum;
    for (auto& broker : all) {
      sum.Add(std::move(broker->counts()));
      if (options_.what != "open") broker->Close();
    }
    // What was filled or opened is to be looked at.
    if (options_.what != "fill" && options_.what != "open") {
      for (size_t i = 0; i < tokens.size(); ++i) {
        administrator_.RemoveWorkspace(prefix_ + std::to_string(i));
      }
    }
    return Report(std::move(sum), seconds, cpu);
  }

 private:
  void Work(SimulatedBroker& broker, Clock::time_point begun) {
    try {
      uint64_t files = 0;
      const auto end = begun + std::chrono::duration<double>(options_.seconds);
      while (options_.what == "open"   ? false
             : options_.what == "fill" ? files < options_.files
                                       : Clock::now() < end) {
        if (options_.what == "metadata") {
          broker.ChangeMetadata(options_.batch);
        } else if (options_.what == "content") {
          broker.MoveContent(options_.block_bytes);
        } else {
          const uint64_t some = std::min<uint64_t>(options_.files - files, 1000);
          broker.Fill(some, !options_.own_blocks, options_.name_bytes);
          files += some;
        }
      }
    } catch (const std::runtime_error& error) {
      const std::lock_guard lock(mu_);
      problem_ = error.what();
    }
  }

  const Options& options_;
  const std::string prefix_;
  Administrator administrator_;
  std::mutex mu_;
  std::string problem_;  // guarded by mu_
};

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("airstore-bench-gateway: simulated brokers against gateways");
  app.add_option("--gateway", options.gateways, "Addresses of gateways of one store, with commas")
      ->delimiter(',')
      ->required();
  app.add_option("--token-file", options.token_file, "File with the admin token")->required();
  app.add_option("--what", options.what,
                 "metadata, content, fill, or open: sessions that stay open")
      ->check(CLI::IsMember({"metadata", "content", "fill"}))
      ->capture_default_str();
  app.add_option("--brokers", options.brokers, "How many at once")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_flag("--one-workspace", options.one_workspace,
               "All in one workspace, none with the lease; else each in its own");
  app.add_option("--seconds", options.seconds, "How long")->capture_default_str();
  app.add_option("--batch", options.batch, "Files that are made in one batch")
      ->check(CLI::Range(1, 2000))
      ->capture_default_str();
  app.add_option("--block-bytes", options.block_bytes, "Of a block, for content")
      ->check(CLI::Range(1, 4 << 20))
      ->capture_default_str();
  app.add_option("--files", options.files, "How many to fill with")->capture_default_str();
  app.add_option("--name-bytes", options.name_bytes, "Of each name, at least")
      ->check(CLI::Range(1, 255))
      ->capture_default_str();
  app.add_flag("--own-blocks", options.own_blocks, "Fill with a block for each file");
  app.add_option("--process", options.processes,
                 "NAME=PID: what CPU time it takes; several of one name are added up");
  app.add_flag("--json", options.json, "Print JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    const nlohmann::json report = Run(options).Do();
    if (options.json) {
      std::cout << report.dump(2) << "\n";
    } else {
      Print(report);
    }
  } catch (const std::runtime_error& error) {
    std::fprintf(stderr, "airstore-bench-gateway: %s\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace airstore::bench

int main(int argc, char** argv) { return airstore::bench::Main(argc, argv); }
