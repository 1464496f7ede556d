// SPDX-License-Identifier: Apache-2.0
//
// GatewayService: tasks. AccessLogService.
#include "tools/gateway/v1/gateway_service.h"
#include "tools/gateway/v1/rfc3339.h"

namespace airstore::gateway::v1 {
namespace {

using MaybeCaller = std::optional<Caller>;

void SetTask(const TaskRecord& task, ::gateway::Task* out) {
  out->set_id(task.id);
  out->set_status(NameOf(task.status));
  out->set_prompt(task.prompt);
  out->set_exit_code(task.exit_code.value_or(0));
  out->set_has_exit_code(task.exit_code.has_value());
  out->set_error(task.error);
  out->set_created_at(Rfc3339(task.created_ns));
  if (task.started_ns != 0) out->set_started_at(Rfc3339(task.started_ns));
  if (task.finished_ns != 0) out->set_finished_at(Rfc3339(task.finished_ns));
}

Result<std::string> TaskWorkspace(Gateway& gateway, const MaybeCaller& caller) {
  auto workspace = WorkspaceOf(gateway, caller);
  if (!workspace && workspace.error().code == EACCES) {
    return Error{EACCES, "authentication required"};
  }
  if (!workspace) return workspace.error();
  return workspace->id;
}

AccessEvent FromWire(const ::gateway::AccessLogEvent& event) {
  AccessEvent out;
  out.event_id = event.event_id();
  out.ts_ms = event.ts();
  out.session = event.session_id();
  out.path = event.path();
  out.cache_source = event.cache_source();
  out.offset = event.offset();
  out.requested_bytes = event.requested_bytes();
  out.read_bytes = event.read_bytes();
  out.latency_ms = event.latency_ms();
  out.error = event.error_msg();
  out.mount = event.mount_id();
  out.origin = event.access_origin();
  out.integration = event.integration();
  out.source_uri = event.source_uri();
  out.query_path = event.query_path();
  out.result_id = event.result_id();
  out.original_bytes = event.original_bytes();
  out.compressed_bytes = event.compressed_bytes();
  out.original_tokens = event.original_tokens();
  out.compressed_tokens = event.compressed_tokens();
  out.strategy = event.strategy();
  out.outcome = event.outcome();
  out.compression_ms = event.compression_ms();
  out.fetch_ms = event.fetch_ms();
  return out;
}

}  // namespace

Reactor* GatewayService::CreateTask(Context* context, const ::gateway::CreateTaskRequest* request,
                                    ::gateway::TaskResponse* response) {
  return Serve(
      gateway_, pool_, context, response, [=, this](const MaybeCaller& caller) -> Result<void> {
        auto workspace = TaskWorkspace(gateway_, caller);
        if (!workspace) return workspace.error();
        if (caller->read_only) return Error{EROFS, "the token is read-only"};
        if (!request->image().empty()) {
          return Error{EOPNOTSUPP, "this gateway runs tasks on its host, not in images"};
        }
        std::map<std::string, std::string> environment;
        for (const auto& [name, value] : request->env()) environment[name] = value;
        auto task = tasks_.Create(*workspace, request->prompt(),
                                  {request->entrypoint().begin(), request->entrypoint().end()},
                                  std::move(environment));
        if (!task) return task.error();
        SetTask(*task, response->mutable_task());
        return {};
      });
}

Reactor* GatewayService::ListTasks(Context* context, const ::gateway::ListTasksRequest*,
                                   ::gateway::ListTasksResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto workspace = TaskWorkspace(gateway_, caller);
                 if (!workspace) return workspace.error();
                 for (const TaskRecord& task : tasks_.List(*workspace)) {
                   SetTask(task, response->add_tasks());
                 }
                 return {};
               });
}

Reactor* GatewayService::GetTask(Context* context, const ::gateway::GetTaskRequest* request,
                                 ::gateway::TaskResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto workspace = TaskWorkspace(gateway_, caller);
                 if (!workspace) return workspace.error();
                 auto task = tasks_.Get(*workspace, request->id());
                 if (!task) return task.error();
                 SetTask(*task, response->mutable_task());
                 return {};
               });
}

Reactor* GatewayService::DeleteTask(Context* context, const ::gateway::DeleteTaskRequest* request,
                                    ::gateway::DeleteResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto workspace = TaskWorkspace(gateway_, caller);
                 if (!workspace) return workspace.error();
                 if (caller->read_only) return Error{EROFS, "the token is read-only"};
                 return tasks_.Delete(*workspace, request->id());
               });
}

Reactor* GatewayService::GetTaskLogs(Context* context, const ::gateway::GetTaskLogsRequest* request,
                                     ::gateway::GetTaskLogsResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto workspace = TaskWorkspace(gateway_, caller);
                 if (!workspace) return workspace.error();
                 auto lines = tasks_.Log(*workspace, request->id());
                 if (!lines) return lines.error();
                 for (TaskLogLine& line : *lines) {
                   ::gateway::TaskLogEntry* entry = response->add_logs();
                   entry->set_task_id(request->id());
                   entry->set_timestamp(line.seconds);
                   entry->set_stream(line.is_error ? "stderr" : "stdout");
                   entry->set_data(std::move(line.text));
                 }
                 return {};
               });
}

Reactor* AccessLogService::IngestAccessEvents(Context* context,
                                              const ::gateway::IngestAccessEventsRequest* request,
                                              ::gateway::IngestAccessEventsResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto workspace = WorkspaceOf(gateway_, caller);
                 if (!workspace && workspace.error().code == EACCES) {
                   return Error{EACCES, "workspace not found in auth context"};
                 }
                 if (!workspace) return workspace.error();
                 std::vector<AccessEvent> events;
                 for (const auto& event : request->events()) events.push_back(FromWire(event));
                 AIRSTORE_TRY(gateway_.access_log().Add(workspace->id, std::move(events)));
                 response->set_accepted(request->events_size());
                 return {};
               });
}

}  // namespace airstore::gateway::v1
