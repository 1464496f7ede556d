// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/format.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace airstore::airctl {
namespace {

std::string OneDecimal(double value, const char* unit) {
  char text[64];
  snprintf(text, sizeof text, "%.1f %s", value, unit);
  return text;
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be shown as 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return OneDecimal(value, kUnits[unit]);
}

std::string HumanDuration(uint64_t ms) {
  if (ms < 1000) return std::to_string(ms) + " ms";
  const uint64_t s = ms / 1000;
  const auto two = [](uint64_t large, const char* large_unit, uint64_t small,
                      const char* small_unit) {
    std::string text = std::to_string(large) + " " + large_unit;
    if (small != 0) text += " " + std::to_string(small) + " " + small_unit;
    return text;
  };
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return two(s / 60, "m", s % 60, "s");
  if (s < 86400) return two(s / 3600, "h", s % 3600 / 60, "m");
  return two(s / 86400, "d", s % 86400 / 3600, "h");
}

std::string HumanLatency(uint64_t ns) {
  const auto value = static_cast<double>(ns);
  if (ns < 1000) return std::to_string(ns) + " ns";
  if (ns < 1'000'000) return OneDecimal(value / 1e3, "us");
  if (ns < 1'000'000'000) return OneDecimal(value / 1e6, "ms");
  return OneDecimal(value / 1e9, "s");
}

std::string HumanTime(int64_t ns) {
  if (ns == 0) return "-";
  const time_t seconds = static_cast<time_t>(ns / 1'000'000'000);
  tm local{};
  char text[32];
  if (localtime_r(&seconds, &local) == nullptr ||
      strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local) == 0) {
    return "-";
  }
  return text;
}

std::string UtcTime(int64_t ms) {
  const time_t seconds = static_cast<time_t>(ms / 1000);
  tm utc{};
  char text[32];
  if (gmtime_r(&seconds, &utc) == nullptr ||
      strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
    return "-";
  }
  return text;
}

namespace {

// Of the character that begins there: 0: it is none in UTF-8.
size_t CharacterAt(const std::string& text, size_t at, uint32_t* code) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  const size_t length = first < 0x80   ? 1
                        : first < 0xC2 ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
  if (length == 0 || at + length > text.size()) return 0;
  *code = length == 1 ? first : first & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
    *code = *code << 6 | (byte(at + i) & 0x3Fu);
  }
  return length;
}

// Terminals act upon controls, and marks of direction make a text look like another one.
bool Misleads(uint32_t code) {
  return code < ' ' || (code >= 0x7F && code <= 0x9F) || code == 0x061C ||
         (code >= 0x200E && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string Printable(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    uint32_t code = 0;
    const size_t length = CharacterAt(text, at, &code);
    if (length == 0 || Misleads(code)) {
      out += '?';
    } else {
      out.append(text, at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return out;
}

}  // namespace airstore::airctl
