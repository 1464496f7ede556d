// SPDX-License-Identifier: Apache-2.0
//
// tools.ToolService. Each run has a thread of its own, which waits for its client before it reads
// more of the tool's output; so many runs at once do not keep each other waiting. So has each call
// for help, which may wait for a program. Both end when their client is gone.
//
// A token that is read-only runs what is declared to change nothing (`read_only`), EROFS else.
//
// Threads: see above. Ownership: borrows gateway, tools and pool; the destructor waits for all
// runs.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>

#include "airstore/v1/tools.grpc.pb.h"
#include "tools/gateway/tools/tool_set.h"
#include "tools/gateway/v1/call.h"

namespace airstore::gateway::v1 {

class ToolService final : public ::tools::ToolService::CallbackService {
 public:
  ToolService(Gateway& gateway, const ToolSet& tools, WorkerPool& pool)
      : gateway_(gateway), tools_(tools), pool_(pool) {}
  ~ToolService() override;

  Reactor* ListTools(Context*, const ::tools::ListToolsRequest*,
                     ::tools::ListToolsResponse*) override;
  grpc::ServerUnaryReactor* GetToolHelp(Context*, const ::tools::GetToolHelpRequest*,
                                        ::tools::GetToolHelpResponse*) override;
  grpc::ServerWriteReactor<::tools::ExecuteToolResponse>* ExecuteTool(
      Context*, const ::tools::ExecuteToolRequest*) override;

  // Cancels all runs and refuses further ones; the destructor waits for them.
  void Stop();

 private:
  class Run;
  class HelpCall;
  // Nobody runs any more than this at once, of both kinds.
  static constexpr size_t kMostRuns = 1024;
  bool Enter(Cancel* run);  // false: too many, or stopping
  void Leave(Cancel* run);

  Gateway& gateway_;
  const ToolSet& tools_;
  WorkerPool& pool_;
  std::mutex mu_;
  std::condition_variable left_;
  // Guarded by mu_.
  std::set<Cancel*> runs_;  // how each is ended
  bool stopping_ = false;
};

}  // namespace airstore::gateway::v1
