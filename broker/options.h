// SPDX-License-Identifier: Apache-2.0
//
// Options of airstored: defaults, then the TOML file, then AIRSTORE_* variables, then flags; the
// later one wins.
// Threads: plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "shm/base/result.h"

namespace airstore::broker {

struct Options {
  std::string state_dir;
  std::string socket;
  std::string gateway = "localhost:1993";  // host:port or unix:/path; empty: mounts name their own
  std::string gateway_ca_file;
  std::string gateway_cert_file;
  std::string gateway_key_file;
  bool gateway_insecure = false;                 // plain text to gateways that are not on this host
  std::string gateway_protocol = "auto";         // "v1", "v2", or whatever the gateway speaks
  std::chrono::milliseconds v1_freshness{3000};  // what a v1 gateway said is believed for so long
  bool v1_first_era = false;  // v1 gateways are of the first ones, which keep no modes
  std::string frontend_dir;   // where airstore-fuse is
  std::string log_level = "info";
  std::string log_format = "text";
  std::string log_file;  // empty: stderr
  std::string metrics;   // where they are served (metrics_server.h); empty: nowhere
  uint32_t inode_limit = 1u << 20;
  uint64_t slab_limit = 512ull << 20;
  uint64_t content_limit = 8ull << 30;
  uint64_t spool_limit = 0;  // 0: half of the disk
  std::chrono::milliseconds io_timeout{30'000};
  std::chrono::milliseconds write_stall_timeout{30'000};
  std::chrono::milliseconds write_debounce{500};
  std::chrono::milliseconds write_debounce_max{2000};
  bool fuse_passthrough = true;
  bool fuse_allow_other = true;  // others than who mounts may use it, where that is permitted
  std::string store_dir;         // of content files; empty: in the spool

  // What SIGTERM does to mounts: "unmount", "leave" (to the next broker), or "auto": leave when a
  // service manager has started us.
  std::string on_stop = "auto";

  // Of mounts that do not say (service_settings.h).
  std::string virtual_nodes = "auto";
  std::string compression = "off";
  std::string access_session;
  bool access_log = true;

  // trace_settings.h.
  std::string fuse_trace = "off";
  std::string fuse_trace_interval = "2s";
  std::string fuse_trace_slow_ms = "50";

  std::string config_file;  // that was read; empty: none
};

// Of a variable of the environment, nullptr when it is not set.
using GetEnv = std::function<const char*(const char*)>;

struct CommandLine {
  enum class Action { kRun, kExit };
  Action action = Action::kExit;
  Options options;
  // kExit: print this (to stderr when exit_code is not 0) and leave with exit_code.
  int exit_code = 0;
  std::string text;
};
CommandLine ParseCommandLine(int argc, const char* const* argv, const GetEnv& getenv);

// "4096", "64KiB", "512MiB", "10GiB", "1TiB"; "64K" and "64KB" mean KiB too.
Result<uint64_t> ParseSize(const std::string& text);
// "500ms", "30s", "5m", "1h"; a bare number counts `bare_unit`.
Result<std::chrono::milliseconds> ParseDuration(const std::string& text,
                                                std::chrono::milliseconds bare_unit);
std::string FormatSize(uint64_t bytes);

}  // namespace airstore::broker
