// SPDX-License-Identifier: Apache-2.0
//
// A tool that is a command of the gateway's host.
#pragma once

#include "tools/gateway/tools/command_config.h"
#include "tools/gateway/tools/tool.h"

namespace airstore::gateway {

class LocalTool final : public Tool {
 public:
  explicit LocalTool(CommandConfig config) : config_(std::move(config)) {}
  const std::string& name() const override { return config_.name; }
  std::string summary() const override;
  // What the configuration says, or what `command --help` prints.
  Result<std::string> Help(const Cancel& cancel) override;
  bool for_read_only() const override { return config_.for_read_only; }
  ToolEnd Run(const ToolRun& run) override;

 private:
  ProcessSpec Spec(const std::vector<std::string>& arguments, const std::string& workspace) const;
  const CommandConfig config_;
};

}  // namespace airstore::gateway
