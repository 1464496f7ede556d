// SPDX-License-Identifier: Apache-2.0
//
// LogEvent: a line of the log with fields, for what programs look for: which mount, workspace,
// gateway, user it is about. log_format.h says how they are written.
//
//   LogEvent(spdlog::level::info, {{"mount", path}, {"workspace", name}}, "mounted {}", path);
//
// Threads: any.
#pragma once

#include <spdlog/spdlog.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace airstore::broker {

struct LogField {
  std::string_view key;
  std::string value;
};

// Between a line's text, its fields, and a key and its value: no text has them.
inline constexpr char kFieldMark = '\x1e';
inline constexpr char kValueMark = '\x1f';

template <typename... Args>
void LogEvent(spdlog::level::level_enum level, std::initializer_list<LogField> fields,
              spdlog::format_string_t<Args...> text, Args&&... args) {
  if (!spdlog::should_log(level)) return;
  const auto clean = [](std::string from) {
    std::replace_if(
        from.begin(), from.end(), [](char c) { return c == kFieldMark || c == kValueMark; }, '?');
    return from;
  };
  std::string line = clean(fmt::format(text, std::forward<Args>(args)...));
  for (const LogField& field : fields) {
    if (field.value.empty()) continue;
    line += kFieldMark;
    line += field.key;
    line += kValueMark;
    line += clean(field.value);
  }
  spdlog::log(level, "{}", line);
}

}  // namespace airstore::broker
