// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/sources/strip.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

namespace airstore::gateway {
namespace {

constexpr size_t kLinksKept = 3;
constexpr size_t kEncodedLine = 56;   // shorter lines are not taken for encoded bytes
constexpr size_t kEncodedLines = 4;   // nor are fewer of them
constexpr size_t kLongestTag = 4096;  // what goes on for longer is no tag
constexpr size_t kLookedAt = 8192;    // for NULs

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool IsLetter(char c) { return Lower(c) >= 'a' && Lower(c) <= 'z'; }

bool StartsAs(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), text.begin(),
                                                    [](char a, char b) { return a == Lower(b); });
}

size_t FindAs(std::string_view text, std::string_view what, size_t from = 0) {
  const auto found = std::search(
      text.begin() + static_cast<std::ptrdiff_t>(std::min(from, text.size())), text.end(),
      what.begin(), what.end(), [](char a, char b) { return Lower(a) == b; });
  return found == text.end() ? std::string_view::npos : static_cast<size_t>(found - text.begin());
}

std::string_view Trimmed(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

// "Name: value", as in the first lines of a message.
bool IsHeader(std::string_view line) {
  const size_t colon = line.find(':');
  return colon != std::string_view::npos && colon != 0 &&
         std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon),
                     [](char c) { return IsLetter(c) || c == '-' || (c >= '0' && c <= '9'); });
}

bool IsKeptHeader(std::string_view line) {
  static constexpr std::array kKept = {"from:", "to:", "cc:", "subject:", "date:"};
  return std::any_of(kKept.begin(), kKept.end(),
                     [line](const char* name) { return StartsAs(line, name); });
}

// Those that say something, and where the body begins.
std::string Headers(std::string_view text, size_t* body) {
  std::string kept;
  bool keeping = false;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = std::min(end + 1, text.size());
    if (Trimmed(line).empty()) break;
    const bool goes_on = line.front() == ' ' || line.front() == '\t';
    if (!goes_on) keeping = IsKeptHeader(line);
    if (keeping) kept += std::string(line) + "\n";
  }
  *body = at;
  return kept;
}

// At text[at], which is '&'. How many bytes it is; 0: it is none.
size_t Entity(std::string_view text, size_t at, std::string* out) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kNamed = {
      {{"&amp;", "&"},
       {"&lt;", "<"},
       {"&gt;", ">"},
       {"&quot;", "\""},
       {"&apos;", "'"},
       {"&#39;", "'"},
       {"&nbsp;", " "}}};
  for (const auto& [name, means] : kNamed) {
    if (!text.substr(at).starts_with(name)) continue;
    *out += means;
    return name.size();
  }
  // Others are mostly there to fill space.
  const size_t end = text.find(';', at);
  if (end == std::string_view::npos || end - at > 10 || end - at < 3) return 0;
  const std::string_view inside = text.substr(at + 1, end - at - 1);
  const bool plausible = std::all_of(inside.begin(), inside.end(), [](char c) {
    return IsLetter(c) || c == '#' || (c >= '0' && c <= '9');
  });
  return plausible ? end - at + 1 : 0;
}

bool IsMarkup(std::string_view text) {
  return FindAs(text, "<html") != std::string_view::npos ||
         FindAs(text, "<body") != std::string_view::npos ||
         FindAs(text, "</div>") != std::string_view::npos ||
         FindAs(text, "</p>") != std::string_view::npos;
}

// Behind the tag at text[at], which is '<'; `at` itself: it is none.
size_t BehindTag(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at);
  if (rest.starts_with("<!--")) {
    const size_t end = text.find("-->", at);
    return end == std::string_view::npos ? text.size() : end + 3;
  }
  for (const std::string_view block : {"script", "style"}) {
    if (!StartsAs(rest.substr(1), block)) continue;
    const size_t end = FindAs(text, "</" + std::string(block), at);
    const size_t close = end == std::string_view::npos ? end : text.find('>', end);
    return close == std::string_view::npos ? text.size() : close + 1;
  }
  if (rest.size() < 3 || !(IsLetter(rest[1]) || rest[1] == '/' || rest[1] == '!')) return at;
  const size_t name_end =
      rest.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-", 2);
  // An address, not a tag.
  if (name_end == std::string_view::npos ||
      std::string_view(" \t\r\n/>").find(rest[name_end]) == std::string_view::npos) {
    return at;
  }
  const size_t end = rest.substr(0, kLongestTag).find('>');
  return end == std::string_view::npos ? at : at + end + 1;
}

std::string WithoutMarkup(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '<') {
      if (const size_t behind = BehindTag(text, at); behind != at) {
        at = behind;
        continue;
      }
    } else if (text[at] == '&') {
      if (const size_t bytes = Entity(text, at, &out); bytes != 0) {
        at += bytes;
        continue;
      }
    }
    out += text[at++];
  }
  return out;
}

bool IsEncoded(std::string_view line) {
  return line.size() >= kEncodedLine && std::all_of(line.begin(), line.end(), [](char c) {
           return IsLetter(c) || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
         });
}

bool IsLink(std::string_view line) {
  return (StartsAs(line, "http://") || StartsAs(line, "https://") || StartsAs(line, "mailto:")) &&
         line.find_first_of(" \t") == std::string_view::npos;
}

bool IsQuotation(std::string_view line, bool message) {
  return message && (line.starts_with(">") || (StartsAs(line, "on ") && line.ends_with("wrote:")));
}

// Of a patch: what only programs want to know.
bool IsPatchNoise(std::string_view line) {
  static constexpr std::array kNoise = {"index ", "similarity index ", "old mode ", "new mode "};
  return std::any_of(kNoise.begin(), kNoise.end(),
                     [line](const char* start) { return line.starts_with(start); });
}

std::string Body(std::string_view text, bool message) {
  const bool patch = text.find("diff --git ") != std::string_view::npos;
  const std::vector<std::string_view> lines = Lines(text);
  std::set<std::string_view> links;
  std::string out;
  std::string_view before;
  bool blank = true;  // what begins with empty lines begins without
  for (size_t i = 0; i < lines.size(); ++i) {
    if (message && (lines[i] == "-- " || lines[i] == "-- \r")) break;  // a signature
    const std::string_view line = Trimmed(lines[i]);
    size_t encoded = i;
    while (encoded < lines.size() && IsEncoded(Trimmed(lines[encoded]))) ++encoded;
    if (encoded - i >= kEncodedLines) {
      out += "[" + std::to_string(encoded - i) + " lines of encoded bytes]\n";
      i = encoded - 1;
      before = {};
      blank = false;
      continue;
    }
    if (line.empty()) {
      if (!blank) out += "\n";
      blank = true;
      continue;
    }
    if (IsQuotation(line, message) || (patch && IsPatchNoise(lines[i]))) continue;
    if (IsLink(line) &&
        (StartsAs(line, "mailto:") || links.size() >= kLinksKept || !links.insert(line).second)) {
      continue;
    }
    if (line == before) continue;
    before = line;
    blank = false;
    // Its end only: how far a line is indented may mean something.
    const size_t end = lines[i].find_last_not_of(" \t\r");
    out += std::string(lines[i].substr(0, end + 1)) + "\n";
  }
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

}  // namespace

std::string Strip(std::string_view text) {
  if (text.substr(0, kLookedAt).find('\0') != std::string_view::npos) return std::string(text);
  bool message = IsHeader(text.substr(0, text.find('\n')));
  size_t body = 0;
  std::string out = message ? Headers(text, &body) : std::string();
  if (out.empty()) {  // it only began like one
    message = false;
    body = 0;
  }
  std::string_view rest = text.substr(body);
  std::string plain;
  if (IsMarkup(rest)) {
    plain = WithoutMarkup(rest);
    rest = plain;
  }
  const std::string said = Body(rest, message);
  if (!out.empty() && !said.empty()) out += "\n";
  out += said;
  return out;
}

}  // namespace airstore::gateway
