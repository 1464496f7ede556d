// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tools/arguments.h"

#include <charconv>
#include <cmath>
#include <optional>

#include "tools/gateway/json_depth.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

const json& Member(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

// The first type that is not null; empty: anything.
std::string TypeOf(const json& schema) {
  const json& type = Member(schema, "type");
  if (type.is_string()) return type.get<std::string>();
  if (type.is_array()) {
    for (const json& one : type) {
      if (one.is_string() && one != "null") return one.get<std::string>();
    }
  }
  for (const char* key : {"anyOf", "oneOf"}) {
    for (const json& one : Member(schema, key)) {
      const std::string found = TypeOf(one);
      if (!found.empty() && found != "null") return found;
    }
  }
  return {};
}

std::string Text(const json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string Choices(const json& schema) {
  std::string text;
  for (const json& one : Member(schema, "enum")) text += (text.empty() ? "" : ", ") + Text(one);
  return text;
}

Error Wrong(const std::string& flag, const std::string& what) {
  return Error{EINVAL, "--" + flag + ": " + what};
}

Result<void> CheckLimits(const std::string& flag, const json& schema, const json& value) {
  const json& choices = Member(schema, "enum");
  if (choices.is_array() && !choices.empty()) {
    bool found = false;
    for (const json& one : choices) found = found || one == value;
    if (!found) return Wrong(flag, "must be one of " + Choices(schema));
  }
  if (value.is_number()) {
    const json& least = Member(schema, "minimum");
    const json& most = Member(schema, "maximum");
    if (least.is_number() && value.get<double>() < least.get<double>()) {
      return Wrong(flag, "must be at least " + Text(least));
    }
    if (most.is_number() && value.get<double>() > most.get<double>()) {
      return Wrong(flag, "must be at most " + Text(most));
    }
  }
  return {};
}

template <typename Number>
std::optional<Number> NumberOf(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<json> ValueOf(const std::string& flag, const json& schema, const std::string& text) {
  const std::string type = TypeOf(schema);
  json value;
  if (type == "string") {
    value = text;
  } else if (type == "integer") {
    const auto number = NumberOf<int64_t>(text);
    if (!number) return Wrong(flag, "'" + text + "' is not a whole number");
    value = *number;
  } else if (type == "number") {
    if (const auto whole = NumberOf<int64_t>(text)) {
      value = *whole;
    } else {
      const auto number = NumberOf<double>(text);
      if (!number || !std::isfinite(*number)) return Wrong(flag, "'" + text + "' is not a number");
      value = *number;
    }
  } else if (type == "boolean") {
    if (text != "true" && text != "false") return Wrong(flag, "must be true or false");
    value = text == "true";
  } else {
    if (NestsTooDeep(text)) return Wrong(flag, "nests too deep");
    value = json::parse(text, nullptr, false);
    if (value.is_discarded()) {
      if (!type.empty()) return Wrong(flag, "'" + text + "' is not JSON");
      value = text;
    }
    if (type == "object" && !value.is_object()) return Wrong(flag, "must be a JSON object");
  }
  AIRSTORE_TRY(CheckLimits(flag, schema, value));
  return Result<json>(std::move(value));
}

// One more of an array; or a whole one, as JSON.
Result<void> AddElement(const std::string& flag, const json& schema, const std::string& text,
                        json* array) {
  if (array->is_null()) *array = json::array();
  if (text.starts_with("[")) {
    if (NestsTooDeep(text)) return Wrong(flag, "nests too deep");
    json all = json::parse(text, nullptr, false);
    if (all.is_array()) {
      for (json& one : all) {
        AIRSTORE_TRY(CheckLimits(flag, Member(schema, "items"), one));
        array->push_back(std::move(one));
      }
      return {};
    }
  }
  auto value = ValueOf(flag, Member(schema, "items"), text);
  if (!value) return value.error();
  array->push_back(std::move(*value));
  return {};
}

bool IsRequired(const json& schema, const std::string& name) {
  for (const json& one : Member(schema, "required")) {
    if (one == name) return true;
  }
  return false;
}

}  // namespace

Result<json> ParseArguments(const json& schema, const std::vector<std::string>& arguments) {
  const json& properties = Member(schema, "properties");
  const json& additional = Member(schema, "additionalProperties");
  json parsed = json::object();
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!argument.starts_with("--") || argument.size() == 2) {
      return Error{EINVAL, "'" + argument + "': arguments are flags (--name value); see --help"};
    }
    const size_t equals = argument.find('=');
    std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::optional<std::string> text;
    if (equals != std::string::npos) text = argument.substr(equals + 1);
    const json* property = &Member(properties, name.c_str());
    if (property->is_null() && name.starts_with("no-") && !text) {
      const json& positive = Member(properties, name.c_str() + 3);
      if (TypeOf(positive) == "boolean") {
        name.erase(0, 3);
        property = &positive;
        text = "false";
      }
    }
    const bool known = properties.is_object() && properties.contains(name);
    if (!known && !(additional.is_object() || (additional.is_boolean() && additional == true))) {
      return Wrong(name, "there is no such argument; see --help");
    }
    if (!text && TypeOf(*property) == "boolean") {
      const bool given =
          i + 1 < arguments.size() && (arguments[i + 1] == "true" || arguments[i + 1] == "false");
      text = given ? arguments[++i] : "true";
    }
    if (!text) {
      if (i + 1 == arguments.size()) return Wrong(name, "needs a value");
      text = arguments[++i];
    }
    if (TypeOf(*property) == "array") {
      AIRSTORE_TRY(AddElement(name, *property, *text, &parsed[name]));
      continue;
    }
    if (parsed.contains(name)) return Wrong(name, "is given twice");
    auto value = ValueOf(name, *property, *text);
    if (!value) return value.error();
    parsed[name] = std::move(*value);
  }
  for (const json& required : Member(schema, "required")) {
    if (required.is_string() && !parsed.contains(required.get<std::string>())) {
      return Wrong(required.get<std::string>(), "is required");
    }
  }
  return Result<json>(std::move(parsed));
}

std::string DescribeArguments(const json& schema) {
  std::string text;
  for (const auto& [name, property] : Member(schema, "properties").items()) {
    std::string type = TypeOf(property);
    if (type == "array") {
      const std::string of = TypeOf(Member(property, "items"));
      type = (of.empty() ? "value" : of) + ", may be repeated";
    }
    text += "  --" + name + "  " + (type.empty() ? "JSON" : type);
    if (IsRequired(schema, name)) text += ", required";
    if (const std::string choices = Choices(property); !choices.empty()) {
      text += ", one of " + choices;
    }
    if (const json& preset = Member(property, "default"); !preset.is_null()) {
      text += ", default " + Text(preset);
    }
    text += "\n";
    if (const json& about = Member(property, "description"); about.is_string()) {
      text += "      " + about.get<std::string>() + "\n";
    }
  }
  return text;
}

}  // namespace airstore::gateway
