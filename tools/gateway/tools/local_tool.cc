// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tools/local_tool.h"

#include "tools/gateway/validate.h"

namespace airstore::gateway {

bool IsToolName(std::string_view name) {
  return CheckName(name) == 0 && name.front() != '.' && name.front() != '-';
}

std::string LocalTool::summary() const {
  if (config_.help.empty()) return config_.command.front();
  return config_.help.substr(0, config_.help.find('\n'));
}

ProcessSpec LocalTool::Spec(const std::vector<std::string>& arguments,
                            const std::string& workspace) const {
  ProcessSpec spec;
  spec.command = config_.command;
  spec.command.insert(spec.command.end(), arguments.begin(), arguments.end());
  spec.directory = config_.directory;
  spec.environment = config_.environment;
  if (!workspace.empty()) spec.environment.try_emplace("AIRSTORE_WORKSPACE", workspace);
  return spec;
}

Result<std::string> LocalTool::Help(const Cancel& cancel) {
  if (!config_.help.empty()) return config_.help;
  constexpr size_t kMostHelp = 256 << 10;
  constexpr std::chrono::seconds kHelpPatience{10};
  std::string text;
  auto code = RunProcess(
      Spec({"--help"}, {}),
      [&](Stream, std::string_view data) {
        text.append(data);
        return text.size() < kMostHelp;
      },
      cancel, {}, kHelpPatience);
  // Ended because it said too much, that is the help.
  if (!code && (code.error().code != ECANCELED || cancel.raised())) return code.error();
  return text;
}

ToolEnd LocalTool::Run(const ToolRun& run) {
  auto code = RunProcess(Spec(run.arguments, run.workspace), run.output, *run.cancel);
  if (code) return {*code, {}};
  // As shells say it.
  const int error = code.error().code;
  if (error == ECANCELED) return {130, "cancelled"};
  return {error == ENOENT ? 127 : 126, code.error().ToString()};
}

}  // namespace airstore::gateway
