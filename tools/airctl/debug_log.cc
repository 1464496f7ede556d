// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <regex>

#include "tools/airctl/debug.h"

namespace airstore::airctl {
namespace {

// What has come last, in whole lines.
std::string EndOf(const std::string& path) {
  constexpr std::streamoff kMost = 1 << 20;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const std::streamoff from = std::max<std::streamoff>(file.tellg() - kMost, 0);
  file.seekg(from);
  std::string cut;
  if (from != 0) std::getline(file, cut);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Of a configuration; empty: it does not log to a file.
std::string LogFileIn(const std::string& configuration) {
  static const std::regex line(R"((^|\n)[ \t]*log_file[ \t]*=[ \t]*["']([^"'\n]+)["'])");
  std::smatch found;
  return std::regex_search(configuration, found, line) ? found[2].str() : "";
}

// What a program prints; nothing: it failed.
std::optional<std::string> OutputOf(const char* command) {
  FILE* pipe = popen(command, "re");
  if (pipe == nullptr) return std::nullopt;
  std::string out;
  std::array<char, 4096> piece{};
  for (size_t got = 0; (got = fread(piece.data(), 1, piece.size(), pipe)) > 0;) {
    out.append(piece.data(), got);
  }
  if (pclose(pipe) != 0) return std::nullopt;
  return out;
}

// Of a user's own broker, if there is one.
std::string Journal() {
  const std::string lines = " -u airstored -n 5000 --no-pager -q 2>/dev/null";
  std::string log;
  if (geteuid() != 0) log = OutputOf(("journalctl --user" + lines).c_str()).value_or("");
  return log.empty() ? OutputOf(("journalctl" + lines).c_str()).value_or("") : log;
}

}  // namespace

LogEnd EndOfLog(const std::string& configuration) {
  const std::string file = LogFileIn(configuration);
  if (file.empty()) return {"the journal", Journal()};
  return {file, EndOf(file)};
}

}  // namespace airstore::airctl
