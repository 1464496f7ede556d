// SPDX-License-Identifier: Apache-2.0
//
// Flags of airstored and the order of precedence. The only file of the broker that includes CLI11.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <map>

#include "broker/options_keys.h"

namespace airstore::broker {
namespace {

std::string FlagName(const OptionKey& key) {
  std::string name = std::string("--") + key.name;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string VariableName(const OptionKey& key) {
  std::string name = std::string("AIRSTORE_") + key.name;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::string DefaultConfigFile(const GetEnv& getenv) {
  if (geteuid() == 0) return "/etc/airstore/airstored.toml";
  const char* config = getenv("XDG_CONFIG_HOME");
  if (config != nullptr && *config != '\0') return std::string(config) + "/airstore/airstored.toml";
  const char* home = getenv("HOME");
  return std::string(home != nullptr ? home : "") + "/.config/airstore/airstored.toml";
}

std::string Describe(const Options& options) {
  std::string text;
  for (const OptionKey& key : OptionKeys()) {
    text += std::string(key.name) + " = " + GetOption(options, key) + "\n";
  }
  text += options.config_file.empty() ? "no configuration file\n"
                                      : "read " + options.config_file + "\n";
  return text + "configuration is valid\n";
}

// Shows a flag's negation without the value that CLI11 gives it.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() = default;
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    std::string name = CLI::Formatter::make_option_name(option, positional);
    const size_t value = name.find("{false}");
    return value == std::string::npos ? name : name.erase(value, sizeof "{false}" - 1);
  }
};

struct Flags {
  std::string config;
  bool check = false;
  std::map<const OptionKey*, std::string> values;
};

// Defaults, file, environment, flags: each over the one before.
Result<Options> Merge(const Flags& flags, const GetEnv& getenv) {
  Options options = DefaultOptions(getenv);
  const std::string default_state_dir = options.state_dir;
  const std::string default_socket = std::exchange(options.socket, "");

  std::string file = flags.config;
  if (const char* variable = getenv("AIRSTORE_CONFIG"); file.empty() && variable != nullptr) {
    file = variable;
  }
  if (file.empty() && access(DefaultConfigFile(getenv).c_str(), F_OK) == 0) {
    file = DefaultConfigFile(getenv);
  }
  if (!file.empty()) {
    AIRSTORE_TRY(ReadOptionsFile(file, options));
    options.config_file = file;
  }
  for (const OptionKey& key : OptionKeys()) {
    const std::string name = VariableName(key);
    const char* value = getenv(name.c_str());
    if (value == nullptr) continue;
    const auto set = SetOption(options, key, value);
    // As these variables always were: what makes no sense is left out.
    if (!set && std::string_view(key.name).starts_with("fuse_trace_")) continue;
    if (!set) return Error{EINVAL, name + ": " + set.error().message};
  }
  for (const auto& [key, value] : flags.values) {
    const auto set = SetOption(options, *key, value);
    if (!set) return Error{EINVAL, FlagName(*key) + ": " + set.error().message};
  }
  // A second broker with a directory of its own gets a socket of its own.
  if (options.socket.empty()) {
    options.socket = options.state_dir == default_state_dir ? default_socket
                                                            : options.state_dir + "/control.sock";
  }
  AIRSTORE_TRY(CheckOptions(options));
  return options;
}

}  // namespace

CommandLine ParseCommandLine(int argc, const char* const* argv, const GetEnv& getenv) {
  CLI::App app(
      "airstored: the broker of airstore, one per host or user. It keeps the caches, the unsent\n"
      "changes and the connections to gateways; airctl tells it what to mount.",
      "airstored");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", "airstored " AIRSTORE_VERSION);
  Flags flags;
  app.add_option("--config", flags.config,
                 "Configuration file (TOML; default /etc/airstore/airstored.toml, or\n"
                 "~/.config/airstore/airstored.toml for an ordinary user)")
      ->option_text("FILE");
  app.add_flag("--check-config", flags.check, "Check the configuration, print it, and leave");
  for (const OptionKey& key : OptionKeys()) {
    const std::string name = FlagName(key);
    if (std::holds_alternative<OptionKey::Flag>(key.target)) {
      app.add_flag_function(
          name + ",!--no-" + name.substr(2),
          [&flags, &key](int64_t count) { flags.values[&key] = count > 0 ? "true" : "false"; },
          key.help);
    } else {
      app.add_option_function<std::string>(
             name, [&flags, &key](const std::string& value) { flags.values[&key] = value; },
             key.help)
          ->option_text(key.placeholder);
    }
  }
  app.footer(
      "Each key can stand in the file (gateway = \"host:port\"), in the environment\n"
      "(AIRSTORE_GATEWAY) and as a flag (--gateway); the later one wins.");

  CommandLine line;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    const int code = app.exit(error, out, err);
    line.exit_code = code == 0 ? 0 : 2;
    line.text = code == 0 ? out.str() : err.str();
    return line;
  }
  auto options = Merge(flags, getenv);
  if (!options) {
    line.exit_code = 2;
    line.text =
        "airstored: " + options.error().message +
        (options.error().code == EINVAL ? "" : ": " + std::string(strerror(options.error().code))) +
        "\n";
    return line;
  }
  line.options = std::move(*options);
  if (flags.check) {
    if (const auto there = CheckDirectories(line.options); !there) {
      line.exit_code = 2;
      line.text = "airstored: " + there.error().ToString() + "\n";
      return line;
    }
    line.text = Describe(line.options);
    return line;
  }
  line.action = CommandLine::Action::kRun;
  return line;
}

}  // namespace airstore::broker
