// SPDX-License-Identifier: Apache-2.0
#include "broker/options.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <climits>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "broker/gateway_address.h"
#include "broker/metrics_address.h"
#include "broker/options_keys.h"
#include "broker/trace_settings.h"

namespace airstore::broker {
namespace {

using std::chrono::milliseconds;

constexpr std::array<const char*, 6> kLogLevels = {"trace", "debug", "info",
                                                   "warn",  "error", "off"};

std::string EnvOr(const GetEnv& getenv, const char* name, const std::string& fallback) {
  const char* value = getenv(name);
  return value != nullptr && *value != '\0' ? value : fallback;
}

std::string ProgramDirectory() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) return ".";
  const std::string text(path, static_cast<size_t>(length));
  return text.substr(0, text.find_last_of('/'));
}

// Beside this program, as in a build directory, or where an installation has it.
std::string FrontendDirectory() {
  const std::string beside = ProgramDirectory();
  const std::string installed = beside.substr(0, beside.find_last_of('/')) + "/libexec/airstore";
  const auto has_it = [](const std::string& directory) {
    return access((directory + "/airstore-fuse").c_str(), X_OK) == 0;
  };
  return !has_it(beside) && has_it(installed) ? installed : beside;
}

// What a key may say, if that is one of a few words.
const std::vector<const char*>* WordsOf(const OptionKey& key) {
  static const std::vector<std::pair<std::string_view, std::vector<const char*>>> kWords = {
      {"gateway_protocol", {"auto", "v1", "v2"}},
      {"on_stop", {"auto", "unmount", "leave"}},
      {"log_format", {"text", "json"}},
      {"virtual", {"auto", "on", "off"}},
      {"compression", {"off", "strip", "distill", "chain"}},
  };
  for (const auto& [name, words] : kWords) {
    if (name == key.name) return &words;
  }
  return nullptr;
}

constexpr uint32_t kLeastInodes = 1000;
constexpr uint32_t kMostInodes = 100'000'000;

// The number before the unit; the unit goes to `unit`.
bool SplitNumber(const std::string& text, uint64_t& number, std::string& unit) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return false;
  unit.assign(end, text.data() + text.size());
  return true;
}

// Those that switch it on, in any case, and those that people write when they mean the opposite.
bool IsTraceWord(const std::string& text) {
  const size_t from = text.find_first_not_of(" \t");
  if (from == std::string::npos) return true;
  std::string word = text.substr(from, text.find_last_not_of(" \t") + 1 - from);
  for (char& c : word) c = static_cast<char>(tolower(static_cast<unsigned char>(c)));
  constexpr std::array<const char*, 10> kWords = {"1", "true",  "yes", "y", "on",
                                                  "0", "false", "no",  "n", "off"};
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](const char* known) { return word == known; });
}

struct TraceKey {
  std::string_view name;
  const char* expected;
  bool (*makes_sense)(const std::string&);
};
const TraceKey* TraceKeyOf(const OptionKey& key) {
  static const std::array<TraceKey, 3> kKeys = {
      {{"fuse_trace", "1, true, yes, y, on or off", IsTraceWord},
       {"fuse_trace_interval", "a time such as \"2s\" or \"1m30s\"", IsTraceInterval},
       {"fuse_trace_slow_ms", "milliseconds, such as 50", IsTraceLimit}}};
  const auto* found = std::find_if(kKeys.begin(), kKeys.end(),
                                   [&](const TraceKey& one) { return one.name == key.name; });
  return found == kKeys.end() ? nullptr : found;
}

// Whether a directory is there, or can be made.
Result<void> CheckDirectory(const std::string& path) {
  std::string at = path;
  while (access(at.c_str(), F_OK) != 0 && errno == ENOENT && at.size() > 1) {
    at = at.substr(0, std::max<size_t>(at.rfind('/'), 1));
  }
  struct stat info {};
  if (stat(at.c_str(), &info) != 0) return SysError(at);
  if (!S_ISDIR(info.st_mode)) return Error{ENOTDIR, at};
  if (access(at.c_str(), W_OK | X_OK) != 0) return SysError("write to " + at);
  return {};
}

bool ParseBool(const std::string& text, bool& out) {
  if (text == "true" || text == "1" || text == "yes" || text == "on") return out = true, true;
  if (text == "false" || text == "0" || text == "no" || text == "off") return out = false, true;
  return false;
}

}  // namespace

Result<uint64_t> ParseSize(const std::string& text) {
  uint64_t number = 0;
  std::string unit;
  if (!SplitNumber(text, number, unit)) return Error{EINVAL, "not a size: " + text};
  constexpr std::string_view kUnits = "KMGT";
  unsigned shift = 0;
  if (!unit.empty() && unit != "B") {
    const size_t at = kUnits.find(unit[0]);
    const std::string rest = unit.substr(1);
    if (at == std::string_view::npos || (rest != "" && rest != "B" && rest != "iB")) {
      return Error{EINVAL, "not a size: " + text};
    }
    shift = static_cast<unsigned>(10 * (at + 1));
  }
  if (number > (UINT64_MAX >> shift)) return Error{ERANGE, "too large: " + text};
  return number << shift;
}

Result<milliseconds> ParseDuration(const std::string& text, milliseconds bare_unit) {
  uint64_t number = 0;
  std::string unit;
  if (!SplitNumber(text, number, unit)) return Error{EINVAL, "not a duration: " + text};
  milliseconds one = bare_unit;
  if (unit == "ms") {
    one = milliseconds(1);
  } else if (unit == "s") {
    one = std::chrono::seconds(1);
  } else if (unit == "m" || unit == "min") {
    one = std::chrono::minutes(1);
  } else if (unit == "h") {
    one = std::chrono::hours(1);
  } else if (!unit.empty()) {
    return Error{EINVAL, "not a duration: " + text};
  }
  constexpr uint64_t kLongest = 365ull * 24 * 3600 * 1000;
  if (number > kLongest / static_cast<uint64_t>(one.count())) {
    return Error{ERANGE, "too long: " + text};
  }
  return one * static_cast<int64_t>(number);
}

std::string FormatSize(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + kUnits[unit];
}

const std::vector<OptionKey>& OptionKeys() {
  using Duration = OptionKey::Duration;
  static const std::vector<OptionKey> keys = {
      {"state_dir", &Options::state_dir, "DIR", "Directory for the spool and the lock"},
      {"socket", &Options::socket, "PATH", "Control socket that airctl talks to"},
      {"gateway", &Options::gateway, "ADDRESS",
       "Gateway of mounts that name none: host:port or unix:/path (default: localhost:1993)"},
      {"gateway_ca_file", &Options::gateway_ca_file, "FILE",
       "Certificate authorities to trust instead of the system's (PEM)"},
      {"gateway_cert_file", &Options::gateway_cert_file, "FILE",
       "Own certificate for gateways that ask for one (PEM)"},
      {"gateway_key_file", &Options::gateway_key_file, "FILE", "Key of the certificate (PEM)"},
      {"gateway_insecure", &Options::gateway_insecure, "",
       "Permit gateways on other hosts without TLS: tokens and data travel in the clear"},
      {"gateway_protocol", &Options::gateway_protocol, "PROTOCOL",
       "auto, v2, or v1: what original gateways speak"},
      {"v1_freshness", Duration{&Options::v1_freshness, std::chrono::seconds(1)}, "TIME",
       "How long what a v1 gateway said is believed"},
      {"v1_first_era", &Options::v1_first_era, "",
       "v1 gateways are of the first ones: no modes are kept, links look like files in listings"},
      {"frontend_dir", &Options::frontend_dir, "DIR", "Where airstore-fuse and airstore-nfs are"},
      {"log_level", &Options::log_level, "LEVEL", "trace, debug, info, warn, error or off"},
      {"log_format", &Options::log_format, "HOW", "text, or json: an object a line"},
      {"log_file", &Options::log_file, "FILE",
       "Where to log instead of stderr; rotated at 16 MiB, five older ones are kept"},
      {"metrics", &Options::metrics, "ADDRESS",
       "Serve metrics for Prometheus: unix:/path, or a port of this host (127.0.0.1:9464)"},
      {"inode_limit", &Options::inode_limit, "COUNT",
       "Files and directories that are known at once, for each session"},
      {"slab_limit", &Options::slab_limit, "SIZE", "Memory for cached small files"},
      {"content_limit", &Options::content_limit, "SIZE", "Disk space for cached larger files"},
      {"spool_limit", &Options::spool_limit, "SIZE",
       "Disk space for changes that no gateway has yet (0: half of the disk)"},
      {"io_timeout", Duration{&Options::io_timeout, std::chrono::seconds(1)}, "TIME",
       "How long a file operation waits for an unreachable gateway, or for airstored"},
      {"write_stall_timeout", Duration{&Options::write_stall_timeout, std::chrono::seconds(1)},
       "TIME", "How long writes wait for room in the spool before they fail with ENOSPC"},
      {"write_debounce_ms", Duration{&Options::write_debounce, milliseconds(1)}, "MS",
       "Upload this long after the last write"},
      {"write_debounce_max_ms", Duration{&Options::write_debounce_max, milliseconds(1)}, "MS",
       "... but at most this long after the first"},
      {"fuse_passthrough", &Options::fuse_passthrough, "",
       "Let the kernel read and write cached files directly, where it can"},
      {"fuse_allow_other", &Options::fuse_allow_other, "",
       "Others than who mounts may use the mount, where the system lets them"},
      {"store_dir", &Options::store_dir, "DIR",
       "Where larger files are cached, instead of the state directory"},
      {"on_stop", &Options::on_stop, "WHAT",
       "What SIGTERM does to mounts: unmount; leave them to the next broker; auto"},
      {"virtual", &Options::virtual_nodes, "WHEN",
       "Tools/, Sources/, Tasks/ of mounts that do not say: auto, on or off"},
      {"compression", &Options::compression, "HOW",
       "What sources say is made shorter by the gateway: off, strip, distill or chain"},
      {"session", &Options::access_session, "ID",
       "Session under which the gateway records what is read (default: the workspace's)"},
      {"access_log", &Options::access_log, "", "Tell gateways that want to know what is read"},
      {"fuse_trace", &Options::fuse_trace, "WHETHER",
       "Log what mounts are asked: 1, true, yes, y or on"},
      {"fuse_trace_interval", &Options::fuse_trace_interval, "TIME",
       "... how often, such as 2s, 500ms or 1m30s (default: 2s)"},
      {"fuse_trace_slow_ms", &Options::fuse_trace_slow_ms, "MS",
       "... and each call that takes as long (default: 50; 0: none)"},
  };
  return keys;
}

std::string Expected(const OptionKey& key) {
  if (std::holds_alternative<OptionKey::Size>(key.target)) return "a size such as \"512MiB\"";
  if (std::holds_alternative<OptionKey::Count>(key.target)) return "a number such as 1000000";
  if (std::holds_alternative<OptionKey::Flag>(key.target)) return "true or false";
  if (const auto* duration = std::get_if<OptionKey::Duration>(&key.target)) {
    return duration->bare_unit == milliseconds(1) ? "milliseconds, such as 500"
                                                  : "a time such as \"30s\"";
  }
  if (key.name == std::string_view("log_level")) {
    return "one of trace, debug, info, warn, error, off";
  }
  if (const auto* trace = TraceKeyOf(key)) return trace->expected;
  if (const auto* words = WordsOf(key)) {
    std::string text = "one of ";
    for (const char* word : *words)
      text += (word == words->front() ? "" : ", ") + std::string(word);
    return text;
  }
  return "a string";
}

Result<void> SetOption(Options& options, const OptionKey& key, const std::string& text) {
  const auto wrong = [&] {
    return Error{EINVAL, "expected " + Expected(key) + ", found \"" + text + "\""};
  };
  if (const auto* size = std::get_if<OptionKey::Size>(&key.target)) {
    const auto parsed = ParseSize(text);
    if (!parsed) return wrong();
    options.** size = *parsed;
  } else if (const auto* count = std::get_if<OptionKey::Count>(&key.target)) {
    uint64_t number = 0;
    std::string unit;
    if (!SplitNumber(text, number, unit) || !unit.empty() || number > UINT32_MAX) return wrong();
    options.** count = static_cast<uint32_t>(number);
  } else if (const auto* flag = std::get_if<OptionKey::Flag>(&key.target)) {
    if (!ParseBool(text, options.**flag)) return wrong();
  } else if (const auto* duration = std::get_if<OptionKey::Duration>(&key.target)) {
    const auto parsed = ParseDuration(text, duration->bare_unit);
    if (!parsed) return wrong();
    options.*(duration->member) = *parsed;
  } else {
    const auto known = [&](const char* level) { return text == level; };
    if (key.name == std::string_view("log_level") &&
        std::none_of(kLogLevels.begin(), kLogLevels.end(), known)) {
      return wrong();
    }
    const auto* words = WordsOf(key);
    if (words != nullptr && std::none_of(words->begin(), words->end(), known)) return wrong();
    const auto* trace = TraceKeyOf(key);
    if (trace != nullptr && !trace->makes_sense(text)) return wrong();
    options.*std::get<OptionKey::Text>(key.target) = text;
  }
  return {};
}

std::string GetOption(const Options& options, const OptionKey& key) {
  if (const auto* size = std::get_if<OptionKey::Size>(&key.target)) {
    return FormatSize(options.**size);
  }
  if (const auto* count = std::get_if<OptionKey::Count>(&key.target)) {
    return std::to_string(options.**count);
  }
  if (const auto* flag = std::get_if<OptionKey::Flag>(&key.target)) {
    return options.**flag ? "true" : "false";
  }
  if (const auto* duration = std::get_if<OptionKey::Duration>(&key.target)) {
    const auto value = (options.*(duration->member)).count();
    return duration->bare_unit == milliseconds(1) ? std::to_string(value)
                                                  : std::to_string(value) + "ms";
  }
  return options.*std::get<OptionKey::Text>(key.target);
}

Options DefaultOptions(const GetEnv& getenv) {
  Options options;
  options.frontend_dir = FrontendDirectory();
  if (geteuid() == 0) {
    options.state_dir = "/var/lib/airstore";
    options.socket = "/run/airstore/control.sock";
    return options;
  }
  const std::string home = EnvOr(getenv, "HOME", "/");
  options.state_dir = EnvOr(getenv, "XDG_STATE_HOME", home + "/.local/state") + "/airstore";
  const std::string runtime = EnvOr(getenv, "XDG_RUNTIME_DIR", "");
  options.socket = (runtime.empty() ? options.state_dir : runtime + "/airstore") + "/control.sock";
  return options;
}

Result<void> CheckDirectories(const Options& options) {
  AIRSTORE_TRY(CheckDirectory(options.state_dir));
  if (!options.store_dir.empty()) AIRSTORE_TRY(CheckDirectory(options.store_dir));
  const std::string& log = options.log_file;
  if (log.empty()) return {};
  const std::string in = log.substr(0, std::max<size_t>(log.rfind('/'), 1));
  if (access(in.c_str(), W_OK | X_OK) != 0) return SysError("log_file: write to " + in);
  return {};
}

Result<void> CheckOptions(const Options& options) {
  if (options.gateway_cert_file.empty() != options.gateway_key_file.empty()) {
    return Error{EINVAL, "gateway_cert_file and gateway_key_file need each other"};
  }
  for (const auto* file :
       {&options.gateway_ca_file, &options.gateway_cert_file, &options.gateway_key_file}) {
    if (!file->empty() && access(file->c_str(), R_OK) != 0) return SysError("read " + *file);
  }
  for (const auto* path :
       {&options.state_dir, &options.socket, &options.store_dir, &options.log_file}) {
    if (!path->empty() && path->front() != '/') {
      return Error{EINVAL, "not an absolute path: " + *path};
    }
  }
  if (!options.frontend_dir.empty() && options.frontend_dir.front() != '/' &&
      options.frontend_dir != ".") {
    return Error{EINVAL, "not an absolute path: " + options.frontend_dir};
  }
  if (!options.gateway.empty()) {
    if (auto parsed = ParseGatewayAddresses(options.gateway); !parsed) return parsed.error();
  }
  if (options.socket.size() >= sizeof(sockaddr_un::sun_path)) {
    return Error{EINVAL, "the socket's path is longer than 107 bytes: " + options.socket};
  }
  if (options.io_timeout.count() == 0) return Error{EINVAL, "io_timeout is 0"};
  if (!options.metrics.empty()) {
    if (auto address = ParseMetricsAddress(options.metrics); !address) return address.error();
  }
  if (options.write_debounce > options.write_debounce_max) {
    return Error{EINVAL, "write_debounce_ms is greater than write_debounce_max_ms"};
  }
  if (options.inode_limit < kLeastInodes || options.inode_limit > kMostInodes) {
    return Error{EINVAL, "inode_limit is not between 1000 and 100000000"};
  }
  if (options.spool_limit != 0 && options.spool_limit < (256u << 20)) {
    return Error{EINVAL, "spool_limit is less than 256MiB"};
  }
  if (options.slab_limit < (16u << 20)) {
    return Error{EINVAL, "slab_limit is less than 16MiB"};
  }
  return {};
}

}  // namespace airstore::broker
