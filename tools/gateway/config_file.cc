// SPDX-License-Identifier: Apache-2.0
//
// The only file of the gateway that includes toml++.
#include <functional>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "tools/gateway/config.h"
#include "tools/gateway/tools/tool.h"

namespace airstore::gateway {
namespace {

using Setter = std::function<Result<void>(const toml::node& node)>;
using Keys = std::map<std::string_view, Setter>;

Error Expected(const char* what) { return Error{EINVAL, std::string("expected ") + what}; }

Setter Text(std::string& target) {
  return [&target](const toml::node& node) -> Result<void> {
    const auto* text = node.as_string();
    if (text == nullptr) return Expected("a text");
    target = text->get();
    return {};
  };
}

Setter Flag(bool& target) {
  return [&target](const toml::node& node) -> Result<void> {
    const auto* flag = node.as_boolean();
    if (flag == nullptr) return Expected("true or false");
    target = flag->get();
    return {};
  };
}

template <typename Number>
Setter Count(Number& target, int64_t most) {
  return [&target, most](const toml::node& node) -> Result<void> {
    const auto* number = node.as_integer();
    if (number == nullptr || number->get() < 1 || number->get() > most) {
      return Error{EINVAL, "expected a number from 1 to " + std::to_string(most)};
    }
    target = static_cast<Number>(number->get());
    return {};
  };
}

template <typename Add>
Setter Texts(Add add) {
  return [add](const toml::node& node) -> Result<void> {
    const auto* array = node.as_array();
    if (array == nullptr) return Expected("an array of texts");
    for (const toml::node& one : *array) {
      if (one.as_string() == nullptr) return Expected("an array of texts");
      add(one.as_string()->get());
    }
    return {};
  };
}

Setter List(std::vector<std::string>& target) {
  return Texts([&target](const std::string& text) { target.push_back(text); });
}

Setter Set(WorkspaceNames& target) {
  return Texts([&target](const std::string& text) { target.insert(text); });
}

Setter Map(std::map<std::string, std::string>& target) {
  return [&target](const toml::node& node) -> Result<void> {
    const auto* table = node.as_table();
    if (table == nullptr) return Expected("a table of texts");
    for (const auto& [key, value] : *table) {
      if (value.as_string() == nullptr) return Expected("a table of texts");
      target[std::string(key.str())] = value.as_string()->get();
    }
    return {};
  };
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  Error At(const toml::node& node, const std::string& what) const {
    const auto line = node.source().begin.line;
    return Error{EINVAL, path_ + (line != 0 ? ":" + std::to_string(line) : "") + ": " + what};
  }

  Result<void> Fill(const toml::table& table, const Keys& keys) const {
    for (const auto& [name, node] : table) {
      const auto key = keys.find(name.str());
      if (key == keys.end()) {
        return At(node, std::string(name.str()) + ": there is no such key here");
      }
      if (auto set = key->second(node); !set) {
        return At(node, std::string(name.str()) + ": " + set.error().message);
      }
    }
    return {};
  }

  // Each table of [[name]].
  Result<void> Each(const toml::table& table, const char* name,
                    const std::function<Result<void>(const toml::table&)>& visit) const {
    const toml::node* node = table.get(name);
    if (node == nullptr) return {};
    const auto* array = node->as_array();
    if (array == nullptr) return At(*node, std::string("expected [[") + name + "]]");
    for (const toml::node& one : *array) {
      if (one.as_table() == nullptr) return At(one, std::string("expected [[") + name + "]]");
      AIRSTORE_TRY(visit(*one.as_table()));
    }
    return {};
  }

 private:
  const std::string path_;
};

Keys FileKeys(Config& config) {
  const Setter later = [](const toml::node&) -> Result<void> { return {}; };
  return {{"v1_offset_zero_replaces", Flag(config.offset_zero_replaces)},
          {"access_log", Flag(config.access_log)},
          {"distill", List(config.distill)},
          {"tools", later},
          {"mcp", later},
          {"sources", later},
          {"tasks", later}};
}

Keys ToolKeys(Offered<CommandConfig>& tool) {
  return {{"name", Text(tool.what.name)},
          {"command", List(tool.what.command)},
          {"help", Text(tool.what.help)},
          {"directory", Text(tool.what.directory)},
          {"environment", Map(tool.what.environment)},
          {"read_only", Flag(tool.what.for_read_only)},
          {"workspaces", Set(tool.workspaces)}};
}

Keys SourceKeys(Offered<SourceConfig>& source) {
  return {{"name", Text(source.what.name)},
          {"kind", Text(source.what.kind)},
          {"path", Text(source.what.path)},
          {"title", Text(source.what.title)},
          {"workspaces", Set(source.workspaces)}};
}

Keys TaskKeys(TaskConfig& tasks) {
  return {{"enabled", Flag(tasks.enabled)},
          {"directory", Text(tasks.directory)},
          {"shell", List(tasks.shell)},
          {"most_running", Count(tasks.most_running, 10'000)},
          {"log_bytes", Count(tasks.log_bytes, 7 << 20)}};
}

Result<void> CheckName(const Reader& reader, const toml::table& table, const std::string& name,
                       std::set<std::string>* taken) {
  if (!IsToolName(name)) {
    return reader.At(table, "name: expected a file name that begins with neither '.' nor '-'");
  }
  if (!taken->insert(name).second) return reader.At(table, "name: '" + name + "' is taken");
  return {};
}

Result<void> ReadTool(const Reader& reader, const toml::table& table, std::set<std::string>* taken,
                      std::vector<Offered<CommandConfig>>* out) {
  Offered<CommandConfig>& tool = out->emplace_back();
  AIRSTORE_TRY(reader.Fill(table, ToolKeys(tool)));
  AIRSTORE_TRY(CheckName(reader, table, tool.what.name, taken));
  if (tool.what.command.empty()) return reader.At(table, "command: it needs one");
  return {};
}

}  // namespace

Result<Config> ReadConfigFile(const std::string& path) {
  const toml::parse_result parsed = toml::parse_file(path);
  if (!parsed) {
    const auto& error = parsed.error();
    const auto line = error.source().begin.line;
    return Error{EINVAL, path + (line != 0 ? ":" + std::to_string(line) : std::string()) + ": " +
                             std::string(error.description())};
  }
  Config config;
  const Reader reader(path);
  const toml::table& root = parsed.table();
  AIRSTORE_TRY(reader.Fill(root, FileKeys(config)));
  std::set<std::string> tools, sources;
  AIRSTORE_TRY(reader.Each(root, "tools", [&](const toml::table& table) {
    return ReadTool(reader, table, &tools, &config.tools);
  }));
  AIRSTORE_TRY(reader.Each(root, "mcp", [&](const toml::table& table) {
    return ReadTool(reader, table, &tools, &config.mcp);
  }));
  const auto read = reader.Each(root, "sources", [&](const toml::table& table) -> Result<void> {
    Offered<SourceConfig>& source = config.sources.emplace_back();
    AIRSTORE_TRY(reader.Fill(table, SourceKeys(source)));
    AIRSTORE_TRY(CheckName(reader, table, source.what.name, &sources));
    if (source.what.kind != "maildir" && source.what.kind != "git") {
      return reader.At(table, "kind: expected \"maildir\" or \"git\"");
    }
    if (!source.what.path.starts_with("/")) return reader.At(table, "path: must begin with '/'");
    return {};
  });
  if (!read) return read.error();
  if (const toml::node* node = root.get("tasks"); node != nullptr) {
    if (node->as_table() == nullptr) return reader.At(*node, "expected [tasks]");
    config.tasks.shell.clear();
    AIRSTORE_TRY(reader.Fill(*node->as_table(), TaskKeys(config.tasks)));
    if (config.tasks.shell.empty()) config.tasks.shell = TaskConfig().shell;
  }
  return config;
}

std::map<std::string, std::set<std::string>> ConfigKeys() {
  Config config;
  Offered<CommandConfig> tool;
  Offered<SourceConfig> source;
  const std::map<std::string, Keys> tables = {{"", FileKeys(config)},
                                              {"[[tools]]", ToolKeys(tool)},
                                              {"[[mcp]]", ToolKeys(tool)},
                                              {"[[sources]]", SourceKeys(source)},
                                              {"[tasks]", TaskKeys(config.tasks)}};
  std::map<std::string, std::set<std::string>> names;
  for (const auto& [table, keys] : tables) {
    for (const auto& [name, set] : keys) {
      const std::string key(name);
      const bool is_table = tables.contains("[" + key + "]") || tables.contains("[[" + key + "]]");
      if (!table.empty() || !is_table) names[table].insert(key);
    }
  }
  return names;
}

}  // namespace airstore::gateway
