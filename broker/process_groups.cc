// SPDX-License-Identifier: Apache-2.0
#include "broker/process_groups.h"

#include <fstream>
#include <sstream>
#include <string>

namespace airstore::broker {

bool IsInGroup(uint32_t pid, uint32_t gid) {
  const std::string label = "Groups:";
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(label, 0) != 0) continue;
    std::istringstream groups(line.substr(label.size()));
    for (uint32_t group = 0; groups >> group;) {
      if (group == gid) return true;
    }
    return false;
  }
  return false;
}

}  // namespace airstore::broker
