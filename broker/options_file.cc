// SPDX-License-Identifier: Apache-2.0
//
// The only file that includes toml++.
#include <string>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "broker/options_keys.h"

namespace airstore::broker {
namespace {

// A value as the text that a flag would give; an error for a type the key cannot have.
Result<std::string> TextOf(const toml::node& node, const OptionKey& key) {
  const bool is_flag = std::holds_alternative<OptionKey::Flag>(key.target);
  // These are numbers and words as one likes, as in the environment.
  const bool is_trace = std::string_view(key.name).starts_with("fuse_trace");
  const bool is_text = std::holds_alternative<OptionKey::Text>(key.target) && !is_trace;
  if (const auto* text = node.as_string(); text != nullptr && !is_flag) return text->get();
  if (const auto* flag = node.as_boolean(); flag != nullptr && (is_flag || is_trace)) {
    return std::string(flag->get() ? "true" : "false");
  }
  if (const auto* number = node.as_integer(); number != nullptr && !is_flag && !is_text) {
    return std::to_string(number->get());
  }
  return Error{EINVAL, "expected " + Expected(key)};
}

}  // namespace

Result<void> ReadOptionsFile(const std::string& path, Options& options) {
  const toml::parse_result parsed = toml::parse_file(path);
  if (!parsed) {
    const auto& error = parsed.error();
    const auto line = error.source().begin.line;
    return Error{EINVAL, path + (line != 0 ? ":" + std::to_string(line) : std::string()) + ": " +
                             std::string(error.description())};
  }
  for (const auto& [name, node] : parsed.table()) {
    const std::string where = path + ":" + std::to_string(node.source().begin.line) + ": " +
                              std::string(name.str()) + ": ";
    const OptionKey* key = nullptr;
    for (const OptionKey& candidate : OptionKeys()) {
      if (name.str() == candidate.name) key = &candidate;
    }
    if (key == nullptr) {
      return Error{EINVAL, where + "there is no such key ('airstored --help' lists them)"};
    }
    const auto text = TextOf(node, *key);
    if (!text) return Error{EINVAL, where + text.error().message};
    const auto set = SetOption(options, *key, *text);
    if (!set) return Error{EINVAL, where + set.error().message};
  }
  return {};
}

}  // namespace airstore::broker
