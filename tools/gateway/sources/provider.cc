// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/sources/provider.h"

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace airstore::gateway {

using nlohmann::json;

std::string MakeUtf8(std::string_view text) {
  // The library that writes our JSON knows how to.
  const std::string quoted =
      json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace);
  return json::parse(quoted).get<std::string>();
}

std::string NamePart(std::string_view text, size_t most) {
  std::string part;
  for (const char c : MakeUtf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool harmless = byte >= 0x80 || (byte >= '0' && byte <= '9') ||
                          (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                          std::string_view("-+=@.,()[]#").find(c) != std::string_view::npos;
    if (harmless) {
      part += c;
    } else if (part.empty() || part.back() != '_') {
      part += '_';
    }
  }
  if (part.size() > most) {
    while (most > 0 && (static_cast<unsigned char>(part[most]) & 0xc0) == 0x80) --most;
    part.resize(most);
  }
  while (!part.empty() && (part.back() == '_' || part.back() == '.')) part.pop_back();
  while (!part.empty() && (part.front() == '_' || part.front() == '.')) part.erase(0, 1);
  return part;
}

Result<void> CheckKeys(const json& filter, const std::vector<FilterKey>& keys) {
  if (!filter.is_object()) return Error{EINVAL, "filter: expected a JSON object"};
  for (const auto& [name, value] : filter.items()) {
    const auto key =
        std::find_if(keys.begin(), keys.end(),
                     [&, &wanted = name](const FilterKey& k) { return wanted == k.name; });
    if (key == keys.end()) return Error{EINVAL, "filter: there is no key '" + name + "'"};
    if (std::string_view(value.type_name()) != key->type) {
      return Error{EINVAL, "filter: " + name + ": expected a " + key->type};
    }
  }
  return {};
}

std::optional<int64_t> ParseDay(const std::string& text) {
  int year = 0, month = 0, day = 0, used = 0;
  if (sscanf(text.c_str(), "%4d-%2d-%2d%n", &year, &month, &day, &used) != 3 ||
      static_cast<size_t>(used) != text.size() || month < 1 || month > 12 || day < 1 || day > 31) {
    return std::nullopt;
  }
  tm utc{};
  utc.tm_year = year - 1900;
  utc.tm_mon = month - 1;
  utc.tm_mday = day;
  return timegm(&utc);
}

}  // namespace airstore::gateway
