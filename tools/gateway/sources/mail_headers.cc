// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/sources/mail_headers.h"

#include <strings.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ctime>
#include <iterator>
#include <optional>

#include "tools/gateway/sources/provider.h"

namespace airstore::gateway {
namespace {

bool Same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string DecodeQ(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      bytes += ' ';
    } else if (text[i] == '=' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 &&
               HexDigit(text[i + 2]) >= 0) {
      bytes += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      bytes += text[i];
    }
  }
  return bytes;
}

std::string DecodeB(std::string_view text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) continue;
    group = (group << 6 | static_cast<uint32_t>(value)) & 0xffffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(group >> bits & 0xff);
  }
  return bytes;
}

std::string FromLatin1(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

// One "=?charset?encoding?text?=" at the beginning of `text`, and how long it is.
std::optional<std::string> DecodeWord(std::string_view text, size_t* length) {
  if (!text.starts_with("=?")) return std::nullopt;
  const size_t charset_end = text.find('?', 2);
  if (charset_end == std::string_view::npos || charset_end + 2 >= text.size() ||
      text[charset_end + 2] != '?') {
    return std::nullopt;
  }
  const size_t end = text.find("?=", charset_end + 3);
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view charset = text.substr(2, charset_end - 2);
  charset = charset.substr(0, charset.find('*'));  // RFC 2231: a language behind it
  const char encoding = text[charset_end + 1];
  const std::string_view encoded = text.substr(charset_end + 3, end - charset_end - 3);
  std::string bytes;
  if (encoding == 'q' || encoding == 'Q') {
    bytes = DecodeQ(encoded);
  } else if (encoding == 'b' || encoding == 'B') {
    bytes = DecodeB(encoded);
  } else {
    return std::nullopt;
  }
  *length = end + 2;
  if (Same(charset, "utf-8") || Same(charset, "us-ascii")) return bytes;
  if (Same(charset, "iso-8859-1") || Same(charset, "latin1")) return FromLatin1(bytes);
  return std::nullopt;
}

}  // namespace

std::string DecodeWords(std::string_view text) {
  std::string decoded;
  bool after_word = false;
  for (size_t i = 0; i < text.size();) {
    size_t length = 0;
    if (auto word = DecodeWord(text.substr(i), &length)) {
      decoded += *word;
      i += length;
      after_word = true;
      continue;
    }
    if (after_word) {
      // Blanks between two encoded words only separate them.
      size_t next = i;
      while (next < text.size() && isspace(static_cast<unsigned char>(text[next]))) ++next;
      if (next > i && DecodeWord(text.substr(next), &length)) {
        i = next;
        continue;
      }
    }
    after_word = false;
    decoded += text[i++];
  }
  return MakeUtf8(decoded);
}

int64_t ParseMailDate(std::string_view text) {
  constexpr std::string_view kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (const size_t comma = text.find(','); comma != std::string_view::npos) {
    text.remove_prefix(comma + 1);
  }
  const std::string line(Trim(text.substr(0, 100)));
  int day = 0, year = 0, hour = 0, minute = 0, second = 0;
  char month[4] = {}, zone[6] = {};
  const int fields = sscanf(line.c_str(), "%2d %3s %4d %2d:%2d:%2d %5s", &day, month, &year, &hour,
                            &minute, &second, zone);
  if (fields < 6) {
    second = 0;
    if (sscanf(line.c_str(), "%2d %3s %4d %2d:%2d %5s", &day, month, &year, &hour, &minute, zone) <
        5) {
      return 0;
    }
  }
  const auto found = std::find_if(std::begin(kMonths), std::end(kMonths),
                                  [&](std::string_view name) { return Same(name, month); });
  if (found == std::end(kMonths) || day < 1 || day > 31 || hour < 0 || hour > 24 || minute < 0 ||
      minute > 59 || second < 0 || second > 60) {
    return 0;
  }
  if (year >= 0 && year < 50) year += 2000;
  if (year >= 50 && year < 100) year += 1900;
  tm utc{};
  utc.tm_year = year - 1900;
  utc.tm_mon = static_cast<int>(found - std::begin(kMonths));
  utc.tm_mday = day;
  utc.tm_hour = hour;
  utc.tm_min = minute;
  utc.tm_sec = second;
  int offset = 0;
  if ((zone[0] == '+' || zone[0] == '-') && sscanf(zone + 1, "%4d", &offset) == 1) {
    offset = (offset / 100 * 60 + offset % 100) * 60 * (zone[0] == '-' ? -1 : 1);
  }
  return static_cast<int64_t>(timegm(&utc)) - offset;
}

MailHeaders ParseMailHeaders(std::string_view text) {
  MailHeaders headers;
  bool has_from = false, has_subject = false, has_date = false;
  while (!text.empty()) {
    // A header goes on in lines that begin with a blank.
    std::string line;
    do {
      const size_t end = std::min(text.find('\n'), text.size());
      std::string_view part = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (!part.empty() && part.back() == '\r') part.remove_suffix(1);
      line += part;
    } while (!line.empty() && !text.empty() && (text.front() == ' ' || text.front() == '\t'));
    if (line.empty()) break;  // the body
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string_view name = Trim(std::string_view(line).substr(0, colon));
    const std::string_view value = Trim(std::string_view(line).substr(colon + 1));
    if (!has_from && Same(name, "From")) {
      headers.from = DecodeWords(value);
      has_from = true;
    } else if (!has_subject && Same(name, "Subject")) {
      headers.subject = DecodeWords(value);
      has_subject = true;
    } else if (!has_date && Same(name, "Date")) {
      headers.date = ParseMailDate(value);
      has_date = true;
    }
  }
  return headers;
}

}  // namespace airstore::gateway
