// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tools/mcp_tool.h"

#include <algorithm>

#include "tools/gateway/tools/arguments.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

constexpr int kUsage = 2;

std::string WithNewline(std::string text) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

std::string Dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

// Text as it is; what is no text as JSON, a line each.
std::string TextOf(const json& result) {
  std::string text;
  const auto content = result.find("content");
  if (content == result.end() || !content->is_array()) return Dump(result, 2) + "\n";
  for (const json& part : *content) {
    if (part.is_object() && part.value("type", json()) == "text" && part.contains("text") &&
        part["text"].is_string()) {
      text += WithNewline(part["text"].get<std::string>());
    } else {
      text += Dump(part, -1) + "\n";
    }
  }
  return text;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

bool IsHelp(const std::string& argument) { return argument == "--help" || argument == "-h"; }

}  // namespace

std::string McpToolBox::summary() const {
  const std::string& help = server_.config().help;
  return help.empty() ? "tools of the MCP server " + name() : FirstLine(help);
}

std::string McpToolBox::HelpOf(const std::vector<McpTool>& tools) const {
  std::string text = server_.config().help.empty() ? "" : WithNewline(server_.config().help) + "\n";
  text += "usage: " + name() + " COMMAND [--ARGUMENT VALUE]...\n       " + name() +
          " COMMAND --help\n  --json  print the whole result as JSON\n\ncommands:\n";
  for (const McpTool& tool : tools) {
    text += "  " + tool.name + "  " + FirstLine(tool.description) + "\n";
  }
  return text;
}

std::string McpToolBox::HelpOf(const McpTool& tool) const {
  std::string text = "usage: " + name() + " " + tool.name + " [--ARGUMENT VALUE]...\n";
  if (!tool.description.empty()) text += "\n" + WithNewline(tool.description);
  const std::string arguments = DescribeArguments(tool.schema);
  return text + (arguments.empty() ? "\nIt takes no arguments.\n" : "\narguments:\n" + arguments);
}

Result<std::string> McpToolBox::Help(const Cancel& cancel) {
  auto tools = server_.Tools(cancel);
  if (!tools) return tools.error();
  return HelpOf(*tools);
}

ToolEnd McpToolBox::Run(const ToolRun& run) {
  const auto failed = [](const Error& error) -> ToolEnd {
    return {error.code == ECANCELED ? 130 : 1,
            error.message.empty() ? error.ToString() : error.message};
  };
  auto tools = server_.Tools(*run.cancel);
  if (!tools) return failed(tools.error());
  std::vector<std::string> arguments = run.arguments;
  if (arguments.empty() || IsHelp(arguments.front())) {
    run.output(arguments.empty() ? Stream::kErr : Stream::kOut, HelpOf(*tools));
    return {arguments.empty() ? kUsage : 0, {}};
  }
  const auto tool = std::find_if(tools->begin(), tools->end(),
                                 [&](const McpTool& one) { return one.name == arguments.front(); });
  if (tool == tools->end()) {
    return {kUsage, name() + " has no command '" + arguments.front() + "'; see --help"};
  }
  arguments.erase(arguments.begin());
  if (std::any_of(arguments.begin(), arguments.end(), IsHelp)) {
    run.output(Stream::kOut, HelpOf(*tool));
    return {};
  }
  const auto whole = std::find(arguments.begin(), arguments.end(), "--json");
  const bool as_json = whole != arguments.end();
  if (as_json) arguments.erase(whole);
  auto parsed = ParseArguments(tool->schema, arguments);
  if (!parsed) return {kUsage, parsed.error().message};
  auto result = server_.CallTool(tool->name, *parsed, *run.cancel);
  if (!result) return failed(result.error());
  if (!result->is_object()) return failed(Error{EPROTO, "the server's answer makes no sense"});
  const bool is_error = result->value("isError", json(false)) == true;
  run.output(is_error ? Stream::kErr : Stream::kOut,
             as_json ? Dump(*result, 2) + "\n" : TextOf(*result));
  return {is_error ? 1 : 0, {}};
}

}  // namespace airstore::gateway
