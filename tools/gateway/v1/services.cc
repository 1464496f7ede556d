// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/v1/services.h"

#include "tools/gateway/v1/context_service.h"
#include "tools/gateway/v1/gateway_service.h"
#include "tools/gateway/v1/source_service.h"
#include "tools/gateway/v1/tool_service.h"

namespace airstore::gateway::v1 {

struct Services::Parts {
  Parts(Gateway& of, const Config& config, std::unique_ptr<TaskTable> task_table)
      : gateway(of),
        files(gateway, config.offset_zero_replaces ? Files::OffsetZero::kReplaces
                                                   : Files::OffsetZero::kKeepsTail),
        pool(8),
        context(gateway, files, pool),
        filesystem(gateway, files, pool),
        tool_set(config),
        tools(gateway, tool_set, pool),
        source_set(config, gateway.data_dir() + "/sources"),
        source_pool(8),
        compressor(config.distill),
        sources(gateway, source_set, compressor, source_pool),
        tasks(std::move(task_table)),
        admin(gateway, *tasks, pool),
        access(gateway, pool),
        wants_access_log(config.access_log) {
    gateway.WhenDeleted([this](const std::string& id) {
      tasks->DeleteAll(id);
      source_set.Forget(id);
    });
    gateway.OfferWith([this](const Workspace& workspace) {
      return Offer{!tool_set.List(workspace.name).empty(), source_set.AnyFor(workspace.name),
                   tasks->AnyOf(workspace.id), wants_access_log};
    });
  }

  ~Parts() {
    gateway.WhenDeleted(nullptr);
    gateway.OfferWith(nullptr);
  }

  Gateway& gateway;
  Files files;
  WorkerPool pool;
  ContextService context;
  FilesystemService filesystem;
  ToolSet tool_set;
  ToolService tools;
  SourceSet source_set;
  WorkerPool source_pool;  // what sources take their time for, files do not wait for
  Compressor compressor;
  SourceService sources;
  std::unique_ptr<TaskTable> tasks;
  GatewayService admin;
  AccessLogService access;
  const bool wants_access_log;
};

Services::Services(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Services>> Services::Open(Gateway& gateway, const Config& config) {
  auto tasks = TaskTable::Open(gateway.data_dir() + "/tasks", config.tasks);
  if (!tasks) return tasks.error();
  return std::unique_ptr<Services>(
      new Services(std::make_unique<Parts>(gateway, config, std::move(*tasks))));
}

Services::~Services() = default;

void Services::Register(grpc::ServerBuilder& builder) {
  builder.RegisterService(&parts_->context);
  builder.RegisterService(&parts_->filesystem);
  builder.RegisterService(&parts_->tools);
  builder.RegisterService(&parts_->sources);
  builder.RegisterService(&parts_->admin);
  builder.RegisterService(&parts_->access);
}

void Services::Stop() { parts_->tools.Stop(); }

}  // namespace airstore::gateway::v1
