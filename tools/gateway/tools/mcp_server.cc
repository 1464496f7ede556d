// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tools/mcp_server.h"

#include <poll.h>

#include "tools/gateway/tools/mcp_life.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

// Of a child that has yet to be downloaded or compiled by its launcher.
constexpr std::chrono::seconds kGreetPatience{60};
constexpr size_t kMostTools = 10'000;

std::string TextMember(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

McpServer::~McpServer() = default;

Result<void> McpServer::Greet(Life& life, const Cancel& cancel) {
  auto answer =
      life.Request("initialize",
                   {{"protocolVersion", "2025-06-18"},
                    {"capabilities", json::object()},
                    {"clientInfo", {{"name", "airstore-gateway"}, {"version", AIRSTORE_VERSION}}}},
                   cancel, kGreetPatience);
  if (!answer) return answer.error();
  if (!answer->is_object() || TextMember(*answer, "protocolVersion").empty()) {
    return Error{EPROTO, "its answer to initialize makes no sense"};
  }
  return life.Notify("notifications/initialized", {});
}

Result<std::shared_ptr<McpServer::Life>> McpServer::Begin(const Cancel& cancel) {
  auto life = Life::Start(config_);
  if (!life) return life.error();
  AIRSTORE_TRY(Greet(**life, cancel));
  return life;
}

Result<std::shared_ptr<McpServer::Life>> McpServer::Living(const Cancel& cancel) {
  while (true) {
    std::shared_ptr<Starting> starting;
    std::shared_ptr<Life> ended;  // whose end may take a moment: outside of the lock
    bool ours = false;
    {
      std::lock_guard lock(mu_);
      if (life_ && !life_->ended()) return life_;
      ended = std::move(life_);
      ours = !starting_;
      if (ours) starting_ = std::make_shared<Starting>();
      starting = starting_;
    }
    ended.reset();
    if (ours) {
      starting->life = Begin(cancel);
      {
        std::lock_guard lock(mu_);
        if (starting->life) life_ = *starting->life;
        starting_.reset();
      }
      starting->done.Raise();
      return starting->life;
    }
    pollfd fds[] = {{starting->done.fd(), POLLIN, 0}, {cancel.fd(), POLLIN, 0}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    if (fds[0].revents == 0) return Error{ECANCELED, "cancelled"};
    // Whoever started it may have been cancelled; that is not for others.
    if (starting->life || starting->life.error().code != ECANCELED) return starting->life;
  }
}

Result<std::vector<McpTool>> McpServer::ListTools(Life& life, const Cancel& cancel) {
  std::vector<McpTool> tools;
  json params = json::object();
  while (true) {
    auto page = life.Request("tools/list", params, cancel, kGreetPatience);
    if (!page) return page.error();
    const auto listed = page->is_object() ? page->find("tools") : page->end();
    if (!page->is_object() || listed == page->end() || !listed->is_array()) {
      return Error{EPROTO, "its list of tools makes no sense"};
    }
    for (const json& tool : *listed) {
      if (!tool.is_object() || TextMember(tool, "name").empty()) continue;
      const auto schema = tool.find("inputSchema");
      tools.push_back({TextMember(tool, "name"), TextMember(tool, "description"),
                       schema != tool.end() ? *schema : json::object()});
      if (tools.size() > kMostTools) return Error{EPROTO, "it lists tools without an end"};
    }
    const std::string cursor = TextMember(*page, "nextCursor");
    if (cursor.empty()) return tools;
    if (listed->empty()) return Error{EPROTO, "it lists tools without an end"};
    params["cursor"] = cursor;
  }
}

Result<std::vector<McpTool>> McpServer::Tools(const Cancel& cancel) {
  auto life = Living(cancel);
  if (!life) return life.error();
  {
    std::lock_guard lock((*life)->tools_mu_);
    if ((*life)->tools_) return *(*life)->tools_;
  }
  auto tools = ListTools(**life, cancel);
  if (!tools) return tools.error();
  std::lock_guard lock((*life)->tools_mu_);
  (*life)->tools_ = *tools;
  return tools;
}

Result<json> McpServer::CallTool(const std::string& tool, const json& arguments,
                                 const Cancel& cancel) {
  auto life = Living(cancel);
  if (!life) return life.error();
  return (*life)->Request("tools/call", {{"name", tool}, {"arguments", arguments}}, cancel);
}

}  // namespace airstore::gateway
