// SPDX-License-Identifier: Apache-2.0
//
// A command of the gateway's host that is offered as a tool: one that runs for each call, or an MCP
// server.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace airstore::gateway {

struct CommandConfig {
  std::string name;
  std::vector<std::string> command;
  std::string help;  // empty: the command is asked
  std::string directory;
  std::map<std::string, std::string> environment;
  bool for_read_only = false;  // also for tokens that may not change anything: it changes nothing
};

}  // namespace airstore::gateway
