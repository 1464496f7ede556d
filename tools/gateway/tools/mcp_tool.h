// SPDX-License-Identifier: Apache-2.0
//
// An MCP server as one tool: its tools are subcommands, their arguments flags by their schemas.
#pragma once

#include "tools/gateway/tools/mcp_server.h"
#include "tools/gateway/tools/tool.h"

namespace airstore::gateway {

class McpToolBox final : public Tool {
 public:
  explicit McpToolBox(CommandConfig config) : server_(std::move(config)) {}
  const std::string& name() const override { return server_.config().name; }
  std::string summary() const override;
  Result<std::string> Help(const Cancel& cancel) override;
  bool for_read_only() const override { return server_.config().for_read_only; }
  ToolEnd Run(const ToolRun& run) override;

 private:
  std::string HelpOf(const std::vector<McpTool>& tools) const;
  std::string HelpOf(const McpTool& tool) const;

  McpServer server_;
};

}  // namespace airstore::gateway
