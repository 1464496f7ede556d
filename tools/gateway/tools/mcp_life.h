// SPDX-License-Identifier: Apache-2.0
//
// One life of an MCP server's child: requests out, answers in.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>

#include "tools/gateway/tools/mcp_server.h"

namespace airstore::gateway {

class McpServer::Life {
 public:
  static Result<std::shared_ptr<Life>> Start(const CommandConfig& config);
  explicit Life(Process process, std::string name);
  ~Life();

  bool ended() const { return ended_.load(); }
  // The `result` of the answer.
  Result<nlohmann::json> Request(const std::string& method, nlohmann::json params,
                                 const Cancel& cancel,
                                 std::optional<std::chrono::seconds> limit = {});
  Result<void> Notify(const std::string& method, nlohmann::json params);

  // Tools as last listed; forgotten when the server says that they have changed.
  std::mutex tools_mu_;
  std::optional<std::vector<McpTool>> tools_;  // guarded by tools_mu_

 private:
  struct Pending {
    Cancel done;
    Result<nlohmann::json> result = Error{EPIPE, "the server has ended"};
  };
  void Read();
  void Take(std::string_view line);
  void AnswerServer(const nlohmann::json& request);
  Result<void> Send(const nlohmann::json& message);

  const std::string name_;
  Process process_;
  Cancel stop_;
  std::atomic<bool> ended_{false};
  std::mutex send_mu_;  // one message at a time
  std::mutex mu_;
  // Guarded by mu_.
  int64_t last_id_ = 0;
  std::map<int64_t, std::shared_ptr<Pending>> pending_;
  std::thread reader_;
};

}  // namespace airstore::gateway
