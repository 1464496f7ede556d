// SPDX-License-Identifier: Apache-2.0
#include "broker/trace_settings.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <optional>

namespace airstore::broker {
namespace {

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

double UnitNs(const std::string& unit) {
  if (unit == "ns") return 1;
  if (unit == "us" || unit == "\xc2\xb5s") return 1e3;
  if (unit == "ms") return 1e6;
  if (unit == "s") return 1e9;
  if (unit == "m") return 60e9;
  if (unit == "h") return 3600e9;
  return 0;
}

// 0: it makes no sense.
int64_t GoDuration(const std::string& text) {
  double total = 0;
  size_t at = 0;
  if (text.empty()) return 0;
  while (at < text.size()) {
    const size_t number_end = text.find_first_not_of("0123456789.", at);
    if (number_end == at || number_end == std::string::npos) return 0;
    const size_t unit_end = std::min(text.find_first_of("0123456789.", number_end), text.size());
    const double unit = UnitNs(text.substr(number_end, unit_end - number_end));
    if (unit == 0) return 0;
    total += std::strtod(text.substr(at, number_end - at).c_str(), nullptr) * unit;
    at = unit_end;
  }
  return total >= 1 && total < 1e17 ? static_cast<int64_t>(total) : 0;
}

std::optional<long long> WholeNumber(const std::string& text) {
  const std::string digits = Trimmed(text);
  char* end = nullptr;
  const long long number = std::strtoll(digits.c_str(), &end, 10);
  if (digits.empty() || *end != '\0') return std::nullopt;
  return number;
}

}  // namespace

TraceSettings ParseTraceSettings(const std::string& on, const std::string& interval,
                                 const std::string& slow_ms) {
  TraceSettings settings;
  std::string word = Trimmed(on);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* yes : {"1", "true", "yes", "y", "on"}) settings.on = settings.on || word == yes;
  if (const int64_t ns = GoDuration(Trimmed(interval)); ns > 0) {
    settings.interval = std::chrono::nanoseconds(ns);
  }
  if (const auto ms = WholeNumber(slow_ms)) {
    settings.slow = std::chrono::milliseconds(std::clamp<long long>(*ms, 0, 1'000'000'000));
  }
  return settings;
}

bool IsTraceInterval(const std::string& text) { return GoDuration(Trimmed(text)) > 0; }
bool IsTraceLimit(const std::string& text) { return WholeNumber(text).has_value(); }

}  // namespace airstore::broker
