// SPDX-License-Identifier: Apache-2.0
//
// gateway.GatewayService and gateway.AccessLogService: workspaces, members and their tokens, tasks,
// and what was read. Everything is checked against the workspace of the token. The administrator,
// and members whose role is admin, manage members and tokens.
//
// Threads: gRPC's callbacks hand over to the pool.
// Ownership: borrows everything.
#pragma once

#include "airstore/v1/gateway.grpc.pb.h"
#include "tools/gateway/tasks/task_table.h"
#include "tools/gateway/v1/call.h"

namespace airstore::gateway::v1 {

class GatewayService final : public ::gateway::GatewayService::CallbackService {
 public:
  GatewayService(Gateway& gateway, TaskTable& tasks, WorkerPool& pool)
      : gateway_(gateway), tasks_(tasks), pool_(pool) {}

#define AIRSTORE_METHOD(name, Response) \
  Reactor* name(Context*, const ::gateway::name##Request*, ::gateway::Response*) override
  AIRSTORE_METHOD(CreateWorkspace, WorkspaceResponse);
  AIRSTORE_METHOD(ListWorkspaces, ListWorkspacesResponse);
  AIRSTORE_METHOD(GetWorkspace, WorkspaceResponse);
  AIRSTORE_METHOD(DeleteWorkspace, DeleteResponse);
  AIRSTORE_METHOD(AddMember, MemberResponse);
  AIRSTORE_METHOD(ListMembers, ListMembersResponse);
  AIRSTORE_METHOD(RemoveMember, DeleteResponse);
  AIRSTORE_METHOD(CreateToken, CreateTokenResponse);
  AIRSTORE_METHOD(ListTokens, ListTokensResponse);
  AIRSTORE_METHOD(RevokeToken, DeleteResponse);
  AIRSTORE_METHOD(CreateTask, TaskResponse);
  AIRSTORE_METHOD(ListTasks, ListTasksResponse);
  AIRSTORE_METHOD(GetTask, TaskResponse);
  AIRSTORE_METHOD(DeleteTask, DeleteResponse);
  AIRSTORE_METHOD(GetTaskLogs, GetTaskLogsResponse);
#undef AIRSTORE_METHOD

 private:
  Gateway& gateway_;
  TaskTable& tasks_;
  WorkerPool& pool_;
};

class AccessLogService final : public ::gateway::AccessLogService::CallbackService {
 public:
  AccessLogService(Gateway& gateway, WorkerPool& pool) : gateway_(gateway), pool_(pool) {}
  Reactor* IngestAccessEvents(Context*, const ::gateway::IngestAccessEventsRequest*,
                              ::gateway::IngestAccessEventsResponse*) override;

 private:
  Gateway& gateway_;
  WorkerPool& pool_;
};

}  // namespace airstore::gateway::v1
