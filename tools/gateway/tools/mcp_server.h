// SPDX-License-Identifier: Apache-2.0
//
// A server of the Model Context Protocol over stdio: a child that speaks JSON-RPC 2.0, a message a
// line. Started when it is first needed, and again when it is needed after it has ended. One serves
// all callers at once; requests carry ids.
//
// Threads: any; one of its own reads what the child says.
// Ownership: owns the child, which ends with it.
// Fails: EPIPE when the child has ended, ETIMEDOUT when it does not begin to talk, EPROTO when it
// says what cannot be understood, EREMOTEIO with the child's words when it refuses.
#pragma once

#include <nlohmann/json.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tools/gateway/tools/command_config.h"
#include "tools/gateway/tools/process.h"

namespace airstore::gateway {

struct McpTool {
  std::string name;
  std::string description;
  nlohmann::json schema;  // of its arguments
};

class McpServer {
 public:
  explicit McpServer(CommandConfig config) : config_(std::move(config)) {}
  ~McpServer();
  McpServer(const McpServer&) = delete;

  const CommandConfig& config() const { return config_; }
  Result<std::vector<McpTool>> Tools(const Cancel& cancel);
  // The result of tools/call. Without a limit of time; ECANCELED: the server was told.
  Result<nlohmann::json> CallTool(const std::string& tool, const nlohmann::json& arguments,
                                  const Cancel& cancel);

 private:
  // One life of the child.
  class Life;
  // Whoever comes while another one starts it waits for that, or until it is cancelled.
  struct Starting {
    Cancel done;
    Result<std::shared_ptr<Life>> life = Error{EPIPE, "it was not started"};  // behind `done`
  };
  Result<std::shared_ptr<Life>> Living(const Cancel& cancel);
  Result<std::shared_ptr<Life>> Begin(const Cancel& cancel);
  Result<void> Greet(Life& life, const Cancel& cancel);
  Result<std::vector<McpTool>> ListTools(Life& life, const Cancel& cancel);

  const CommandConfig config_;
  std::mutex mu_;
  // Guarded by mu_.
  std::shared_ptr<Life> life_;
  std::shared_ptr<Starting> starting_;
};

}  // namespace airstore::gateway
