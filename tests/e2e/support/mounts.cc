// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/mounts.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace airstore::e2e {
namespace {

// Octal escapes of /proc/mounts.
std::string Unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

bool IsBelow(const std::string& path, const std::string& directory) {
  return path == directory || path.rfind(directory + "/", 0) == 0;
}

std::vector<std::string> MountsBelow(const std::string& path) {
  std::vector<std::string> mounted;
  std::ifstream file("/proc/self/mounts");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string source, where;
    words >> source >> where;
    where = Unescape(where);
    if (IsBelow(where, path)) mounted.push_back(where);
  }
  std::reverse(mounted.begin(), mounted.end());
  return mounted;
}

}  // namespace airstore::e2e
