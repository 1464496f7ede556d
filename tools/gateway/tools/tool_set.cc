// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tools/tool_set.h"

#include <algorithm>

#include "tools/gateway/tools/local_tool.h"
#include "tools/gateway/tools/mcp_tool.h"

namespace airstore::gateway {

ToolSet::ToolSet(const Config& config) {
  for (const auto& tool : config.tools) {
    tools_.push_back({std::make_unique<LocalTool>(tool.what), tool.workspaces});
  }
  for (const auto& server : config.mcp) {
    tools_.push_back({std::make_unique<McpToolBox>(server.what), server.workspaces});
  }
  std::sort(tools_.begin(), tools_.end(),
            [](const auto& a, const auto& b) { return a.what->name() < b.what->name(); });
}

Tool* ToolSet::Find(const std::string& name, const std::string& workspace) const {
  for (const auto& tool : tools_) {
    if (tool.what->name() == name && tool.IsFor(workspace)) return tool.what.get();
  }
  return nullptr;
}

std::vector<Tool*> ToolSet::List(const std::string& workspace) const {
  std::vector<Tool*> all;
  for (const auto& tool : tools_) {
    if (tool.IsFor(workspace)) all.push_back(tool.what.get());
  }
  return all;
}

}  // namespace airstore::gateway
