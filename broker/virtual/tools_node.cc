// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/tools_node.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <cerrno>
#include <map>

#include "broker/clock.h"
#include "broker/names.h"

namespace airstore::broker {
namespace {

constexpr std::chrono::seconds kLifetime{5};

class ToolsNode final : public VirtualNode {
 public:
  ToolsNode(std::shared_ptr<GatewayServices> services, const ToolAccess& access)
      : services_(std::move(services)), access_(access) {}

  Kind kind() const override { return Kind::kReadOnly; }

  bool IsOffered(const OfferedServices& offered) const override { return offered.tools; }
  Task<Result<bool>> HasSomething() override {
    auto tools = co_await services_->ListTools();
    if (!tools) co_return tools.error();
    co_return !tools->empty();
  }

  Task<Result<std::vector<VirtualEntry>>> List(std::string path) override {
    if (!path.empty()) co_return Error{ENOTDIR, path};
    auto tools = co_await services_->ListTools();
    if (!tools) co_return tools.error();
    std::vector<VirtualEntry> entries;
    std::map<std::string, std::pair<uint64_t, int64_t>> now;
    for (const ToolInfo& tool : *tools) {
      if (!ValidName(tool.name)) continue;
      VirtualEntry entry;
      entry.name = tool.name;
      entry.mode = S_IFREG | 0755;
      entry.content = ToolScript(tool, access_);
      entry.size = entry.content->size();
      entry.version = XXH3_64bits(entry.content->data(), entry.content->size());
      const auto before = changed_.find(tool.name);
      const bool same = before != changed_.end() && before->second.first == entry.version;
      entry.mtime_ns = same ? before->second.second : RealtimeNs();
      now[tool.name] = {entry.version, entry.mtime_ns};
      entries.push_back(std::move(entry));
    }
    changed_ = std::move(now);
    co_return entries;
  }

  Task<Result<VirtualEntry>> Stat(std::string path) override { co_return Error{ENOENT, path}; }
  Task<Result<std::string>> Read(std::string path, uint64_t, uint64_t) override {
    co_return Error{ENOENT, path};
  }
  std::chrono::milliseconds Lifetime(const std::string& path, const VirtualEntry&) override {
    return path.empty() ? kLifetime : std::chrono::seconds(0);
  }

 private:
  const std::shared_ptr<GatewayServices> services_;
  const ToolAccess access_;
  // Of each script: its version, and when it became that.
  std::map<std::string, std::pair<uint64_t, int64_t>> changed_;
};

// A comment must not become a second line.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text;
}

}  // namespace

std::string ShellQuoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string ToolScript(const ToolInfo& tool, const ToolAccess& access) {
  std::string script = "#!/bin/sh\n";
  if (!tool.local_command.empty()) {
    return script + "# " + OneLine(tool.name) + ": a program of this host.\nexec " +
           tool.local_command + " \"$@\"\n";
  }
  script += "# Runs " + OneLine(tool.name) + " at the gateway of this workspace.\n";
  script += "export AIRSTORE_TOOL_SOCKET=" + ShellQuoted(access.socket) + "\n";
  script += "export AIRSTORE_TOOL_TICKET=" + ShellQuoted(access.ticket) + "\n";
  script += "shim=" + ShellQuoted(access.shim) + "\n";
  // In a container that has the mount and not our programs.
  script += "[ -x \"$shim\" ] || shim=\"${0%/*}/../.airstore/tool-shim\"\n";
  return script + "exec \"$shim\" -- " + ShellQuoted(tool.name) + " \"$@\"\n";
}

std::shared_ptr<VirtualNode> MakeToolsNode(std::shared_ptr<GatewayServices> services,
                                           const ToolAccess& access) {
  return std::make_shared<ToolsNode>(std::move(services), access);
}

}  // namespace airstore::broker
