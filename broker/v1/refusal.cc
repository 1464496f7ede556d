// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/refusal.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace airstore::broker::v1 {
namespace {

// The first that is part of the text counts, so the longer ones come first.
constexpr std::array<std::pair<std::string_view, int>, 22> kMeanings{{
    {"not a directory", ENOTDIR}, {"is a directory", EISDIR},  {"directory not empty", ENOTEMPTY},
    {"not empty", ENOTEMPTY},     {"already exists", EEXIST},  {"file exists", EEXIST},
    {"not a symlink", EINVAL},    {"reserved folder", EPERM},  {"data too large", EFBIG},
    {"size too large", EFBIG},    {"exceeds maximum", EFBIG},  {"name too long", ENAMETOOLONG},
    {"keytoolong", ENAMETOOLONG}, {"quota", EDQUOT},           {"no space", ENOSPC},
    {"read-only", EROFS},         {"no auth context", EACCES}, {"no workspace", EACCES},
    {"unauthorized", EACCES},     {"permission", EACCES},      {"nosuchkey", ENOENT},
    {"not found", ENOENT},
}};

std::string Lower(std::string_view text) {
  constexpr size_t kLongest = 1000;
  std::string out(text.substr(0, kLongest));
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

}  // namespace

int ErrnoOf(std::string_view text) {
  const std::string lower = Lower(text);
  for (const auto& [part, code] : kMeanings) {
    if (lower.find(part) != std::string::npos) return code;
  }
  return EIO;
}

Error Refusal(const char* call, const std::string& text, int stated) {
  constexpr size_t kLongest = 300;
  std::string said = std::string(call) + ": ";
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    said += byte < ' ' || byte == 0x7f ? ' ' : c;
  }
  constexpr int kGreatest = 133;
  return Error{stated > 0 && stated <= kGreatest ? stated : ErrnoOf(text), std::move(said)};
}

}  // namespace airstore::broker::v1
