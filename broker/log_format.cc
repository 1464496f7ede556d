// SPDX-License-Identifier: Apache-2.0
#include "broker/log_format.h"

#include <spdlog/pattern_formatter.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "broker/log_event.h"

namespace airstore::broker {
namespace {

struct Line {
  std::string text;
  std::vector<std::pair<std::string, std::string>> fields;
};

Line Split(std::string_view payload) {
  Line line;
  size_t at = std::min(payload.find(kFieldMark), payload.size());
  line.text = payload.substr(0, at);
  while (at < payload.size()) {
    const size_t end = std::min(payload.find(kFieldMark, at + 1), payload.size());
    const std::string_view field = payload.substr(at + 1, end - at - 1);
    const size_t mark = std::min(field.find(kValueMark), field.size());
    line.fields.emplace_back(field.substr(0, mark),
                             mark == field.size() ? "" : field.substr(mark + 1));
    at = end;
  }
  return line;
}

// What would end the line, or change the colours of a terminal.
void AppendPrintable(const std::string& from, bool quoted, std::string* to) {
  for (const char c : from) {
    if (c == '\n') {
      *to += "\\n";
    } else if (static_cast<unsigned char>(c) < ' ' || c == 127) {
      *to += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      if (quoted && (c == '"' || c == '\\')) *to += '\\';
      *to += c;
    }
  }
}

std::string OneLine(const Line& line) {
  std::string out;
  AppendPrintable(line.text, false, &out);
  for (const auto& [key, value] : line.fields) {
    const bool quoted = value.find_first_of(" \"\\=\t\n") != value.npos;
    out += " " + key + (quoted ? "=\"" : "=");
    AppendPrintable(value, quoted, &out);
    if (quoted) out += '"';
  }
  return out;
}

const char* PriorityOf(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return "<7>";
  if (level == spdlog::level::info) return "<6>";
  return level == spdlog::level::warn ? "<4>" : "<3>";
}

std::string JsonOf(const spdlog::details::log_msg& message, const Line& line) {
  const auto since = message.time.time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
  const std::time_t seconds = ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char time[32];
  strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
  const auto level = spdlog::level::to_string_view(message.level);
  nlohmann::ordered_json json = {
      {"time", fmt::format("{}.{:03d}Z", time, ms % 1000)},
      {"level", std::string(level.data(), level.size())},
      {"program", std::string(message.logger_name.data(), message.logger_name.size())},
      {"pid", getpid()},
      {"message", line.text}};
  for (const auto& [key, value] : line.fields) json[key] = value;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class Formatter final : public spdlog::formatter {
 public:
  explicit Formatter(LogFormat format) : format_(format) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const Line line = Split({message.payload.data(), message.payload.size()});
    if (format_ == LogFormat::kText) {
      const std::string text = OneLine(line);
      spdlog::details::log_msg shown = message;
      shown.payload = text;
      pattern_.format(shown, out);
      message.color_range_start = shown.color_range_start;  // of a terminal's sink
      message.color_range_end = shown.color_range_end;
      return;
    }
    std::string text = format_ == LogFormat::kJson ? JsonOf(message, line)
                                                   : PriorityOf(message.level) + OneLine(line);
    text += '\n';
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<Formatter>(format_);
  }

 private:
  const LogFormat format_;
  spdlog::pattern_formatter pattern_;
};

}  // namespace

std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format) {
  return std::make_unique<Formatter>(format);
}

}  // namespace airstore::broker
