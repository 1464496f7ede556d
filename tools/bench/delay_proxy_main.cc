// SPDX-License-Identifier: Apache-2.0
//
// airstore-delay-proxy: puts distance between two processes on one machine. Ends on SIGTERM or
// SIGINT. Threads: one.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>

#include "tools/bench/delay_proxy.h"

namespace airstore::bench {
namespace {

DelayProxy* g_proxy = nullptr;  // a signal handler has no other way to reach it

void OnSignal(int /*signal*/) { g_proxy->Stop(); }

// Written under another name first: whoever waits for the file never reads half a number.
bool WritePortFile(const std::string& path, uint16_t port) {
  const std::string draft = path + ".new";
  {
    std::ofstream out(draft);
    out << port << '\n';
    if (!out.flush()) return false;
  }
  return rename(draft.c_str(), path.c_str()) == 0;
}

int Main(int argc, char** argv) {
  CLI::App app("Passes a stream on, every byte later by a fixed time", "airstore-delay-proxy");
  DelayProxy::Options options;
  double delay_ms = 0;
  uint64_t buffer_mib = options.buffer_bytes >> 20;
  std::string port_file;
  app.add_option("--listen", options.listen, "HOST:PORT (port 0: any) or unix:PATH")->required();
  app.add_option("--connect", options.connect, "HOST:PORT or unix:PATH")->required();
  app.add_option("--delay-ms", delay_ms, "one-way delay")->check(CLI::NonNegativeNumber);
  app.add_option("--bandwidth-mbit", options.bandwidth_mbit, "per direction; 0: not limited");
  app.add_option("--buffer-mib", buffer_mib, "most to hold per connection and direction")
      ->check(CLI::PositiveNumber);
  app.add_option("--port-file", port_file, "where to write the port listened on");
  CLI11_PARSE(app, argc, argv);
  options.delay = std::chrono::microseconds(static_cast<int64_t>(delay_ms * 1000));
  options.buffer_bytes = buffer_mib << 20;

  auto proxy = DelayProxy::Create(std::move(options));
  if (!proxy) {
    fprintf(stderr, "airstore-delay-proxy: %s\n", proxy.error().ToString().c_str());
    return 1;
  }
  g_proxy = proxy->get();
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  if (!port_file.empty() && !WritePortFile(port_file, (*proxy)->port())) {
    fprintf(stderr, "airstore-delay-proxy: cannot write %s\n", port_file.c_str());
    return 1;
  }
  auto ran = (*proxy)->Run();
  if (!ran) {
    fprintf(stderr, "airstore-delay-proxy: %s\n", ran.error().ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace airstore::bench

int main(int argc, char** argv) { return airstore::bench::Main(argc, argv); }
