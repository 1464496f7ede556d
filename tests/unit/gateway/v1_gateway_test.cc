// SPDX-License-Identifier: Apache-2.0
//
// v1: workspaces, members, tokens, tasks and the access log, through a real server.
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "airstore/v1/context.pb.h"
#include "airstore/v1/gateway.pb.h"
#include "tests/unit/gateway/v1_bench.h"
#include "tools/gateway/access_log.h"
#include "tools/gateway/tasks/task_table.h"

namespace airstore::gateway {
namespace {

class V1Gateway : public V1Bench {
 protected:
  V1Gateway() { server_options_.config.tasks.enabled = true; }

#define AIRSTORE_GATEWAY_CALL(name, Response)                                              \
  ::gateway::Response name(const ::gateway::name##Request& request,                        \
                           std::optional<std::string> token = {}) {                        \
    ::gateway::Response response;                                                          \
    const std::string secret = token.value_or(token_);                                     \
    const Told told = Call("/gateway.GatewayService/" #name, request, &response,           \
                           {{"authorization", secret.empty() ? "" : "Bearer " + secret}}); \
    EXPECT_TRUE(told.status.ok()) << told.status.error_message();                          \
    EXPECT_EQ(response.ok(), response.error().empty()) << response.error();                \
    return response;                                                                       \
  }
  AIRSTORE_GATEWAY_CALL(CreateWorkspace, WorkspaceResponse)
  AIRSTORE_GATEWAY_CALL(ListWorkspaces, ListWorkspacesResponse)
  AIRSTORE_GATEWAY_CALL(GetWorkspace, WorkspaceResponse)
  AIRSTORE_GATEWAY_CALL(DeleteWorkspace, DeleteResponse)
  AIRSTORE_GATEWAY_CALL(AddMember, MemberResponse)
  AIRSTORE_GATEWAY_CALL(ListMembers, ListMembersResponse)
  AIRSTORE_GATEWAY_CALL(RemoveMember, DeleteResponse)
  AIRSTORE_GATEWAY_CALL(CreateToken, CreateTokenResponse)
  AIRSTORE_GATEWAY_CALL(ListTokens, ListTokensResponse)
  AIRSTORE_GATEWAY_CALL(RevokeToken, DeleteResponse)
  AIRSTORE_GATEWAY_CALL(CreateTask, TaskResponse)
  AIRSTORE_GATEWAY_CALL(ListTasks, ListTasksResponse)
  AIRSTORE_GATEWAY_CALL(GetTask, TaskResponse)
  AIRSTORE_GATEWAY_CALL(DeleteTask, DeleteResponse)
  AIRSTORE_GATEWAY_CALL(GetTaskLogs, GetTaskLogsResponse)
#undef AIRSTORE_GATEWAY_CALL

  ::gateway::MemberResponse Member(const std::string& email, const std::string& role,
                                   const std::string& token) {
    ::gateway::AddMemberRequest request;
    request.set_workspace_id(workspace_);
    request.set_email(email);
    request.set_role(role);
    return AddMember(request, token);
  }
  ::gateway::CreateTokenResponse TokenFor(const std::string& member, const std::string& token,
                                          int64_t seconds = 0) {
    ::gateway::CreateTokenRequest request;
    request.set_workspace_id(workspace_);
    request.set_member_id(member);
    request.set_expires_in_seconds(seconds);
    return CreateToken(request, token);
  }
  ::gateway::Task Start(const std::string& script) {
    ::gateway::CreateTaskRequest request;
    request.set_prompt(script);
    const auto response = CreateTask(request);
    EXPECT_TRUE(response.ok()) << response.error();
    return response.task();
  }
  ::gateway::Task Get(const std::string& id) {
    ::gateway::GetTaskRequest request;
    request.set_id(id);
    return GetTask(request).task();
  }
  std::string Output(const std::string& id) {
    ::gateway::GetTaskLogsRequest request;
    request.set_id(id);
    std::string text;
    const auto response = GetTaskLogs(request);
    for (const auto& entry : response.logs()) {
      EXPECT_EQ(entry.task_id(), id);
      text += (entry.stream() == "stderr" ? "!" : "") + entry.data() + "\n";
    }
    return text;
  }
  template <typename Done>
  bool Wait(Done done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }
  bool WaitForStatus(const std::string& id, const std::string& status) {
    return Wait([&] { return Get(id).status() == status; });
  }
};

TEST_F(V1Gateway, WorkspacesAreForTheAdministrator) {
  ::gateway::CreateWorkspaceRequest create;
  create.set_name("second");
  EXPECT_EQ(CreateWorkspace(create).error(), "admin access required");
  EXPECT_EQ(CreateWorkspace(create, "").error(), "authentication required");
  const auto made = CreateWorkspace(create, admin_secret_);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made.workspace().created_at().size(), std::string("2026-01-31T12:00:00Z").size());
  EXPECT_EQ(CreateWorkspace(create, admin_secret_).error(), "workspace exists");
  EXPECT_EQ(ListWorkspaces({}, admin_secret_).workspaces_size(), 2);
  EXPECT_EQ(ListWorkspaces({}).error(), "admin access required");
  ::gateway::GetWorkspaceRequest get;
  get.set_id(workspace_);
  EXPECT_EQ(GetWorkspace(get).workspace().name(), "work");
  get.set_id(made.workspace().id());
  EXPECT_EQ(GetWorkspace(get).error(), "access denied");
  EXPECT_TRUE(GetWorkspace(get, admin_secret_).ok());
  ::gateway::DeleteWorkspaceRequest remove;
  remove.set_id(made.workspace().id());
  EXPECT_EQ(DeleteWorkspace(remove).error(), "admin access required");
  EXPECT_TRUE(DeleteWorkspace(remove, admin_secret_).ok());
  EXPECT_EQ(DeleteWorkspace(remove, admin_secret_).error(), "workspace not found");
  EXPECT_EQ(GetWorkspace(get, admin_secret_).error(), "workspace not found");
}

TEST_F(V1Gateway, MembersHaveRolesAndTokens) {
  const auto chief = Member("chief@example.org", "admin", admin_secret_);
  ASSERT_TRUE(chief.ok()) << chief.error();
  EXPECT_EQ(Member("chief@example.org", "admin", admin_secret_).error(), "member exists");
  EXPECT_EQ(Member("x@example.org", "king", admin_secret_).error(),
            "role: admin, member or viewer");
  const auto chief_token = TokenFor(chief.member().id(), admin_secret_);
  ASSERT_TRUE(chief_token.ok()) << chief_token.error();
  EXPECT_EQ(chief_token.info().name(), "API Token");
  // A member who is admin manages the others; one who is not, nobody.
  const auto viewer = Member("v@example.org", "viewer", chief_token.token());
  ASSERT_TRUE(viewer.ok()) << viewer.error();
  const auto viewer_token = TokenFor(viewer.member().id(), chief_token.token(), 3600);
  ASSERT_TRUE(viewer_token.ok());
  EXPECT_NE(viewer_token.info().expires_at(), "");
  EXPECT_EQ(Member("y@example.org", "member", viewer_token.token()).error(),
            "admin access required");
  EXPECT_EQ(Member("y@example.org", "member", token_).error(), "admin access required");
  EXPECT_EQ(TokenFor("mem_none", chief_token.token()).error(), "member not found");
  EXPECT_EQ(TokenFor(viewer.member().id(), chief_token.token(), -1).error().find("expires"), 0u);

  // What a viewer's token may do.
  ::context::ContextMkdirRequest mkdir;
  ::context::ContextMkdirResponse made;
  mkdir.set_path("d");
  const Told told = Call("/context.ContextService/Mkdir", mkdir, &made,
                         {{"authorization", "Bearer " + viewer_token.token()}});
  EXPECT_EQ(told.error(), EROFS);

  // Another workspace's admin has no say here.
  MakeWorkspace("other");
  ::gateway::ListMembersRequest list;
  list.set_workspace_id(workspace_);
  EXPECT_EQ(ListMembers(list, chief_token.token()).members_size(), 2);
  EXPECT_EQ(ListMembers(list, MakeToken("other")).error(), "access denied");
  ::gateway::ListTokensRequest tokens;
  tokens.set_workspace_id(workspace_);
  EXPECT_EQ(ListTokens(tokens, chief_token.token()).tokens_size(), 3);

  ::gateway::RemoveMemberRequest remove;
  remove.set_id(viewer.member().id());
  EXPECT_EQ(RemoveMember(remove, viewer_token.token()).error(), "member not found");
  EXPECT_TRUE(RemoveMember(remove, chief_token.token()).ok());
  EXPECT_EQ(Call("/context.ContextService/Mkdir", mkdir, &made,
                 {{"authorization", "Bearer " + viewer_token.token()}})
                .status.error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  ::gateway::RevokeTokenRequest revoke;
  revoke.set_id(chief_token.info().id());
  EXPECT_EQ(RevokeToken(revoke, MakeToken("other")).error(), "token not found");
  EXPECT_TRUE(RevokeToken(revoke, admin_secret_).ok());
}

TEST_F(V1Gateway, TokensExpire) {
  const auto member = Member("m@example.org", "member", admin_secret_);
  const auto token = TokenFor(member.member().id(), admin_secret_, 1);
  ASSERT_TRUE(token.ok());
  ::gateway::GetWorkspaceRequest get;
  get.set_id(workspace_);
  EXPECT_TRUE(Wait([&] {
    ::gateway::WorkspaceResponse response;
    return Call("/gateway.GatewayService/GetWorkspace", get, &response,
                {{"authorization", "Bearer " + token.token()}})
               .status.error_code() == grpc::StatusCode::UNAUTHENTICATED;
  }));
}

TEST_F(V1Gateway, TasksRunAndTheirLogsGrow) {
  const std::string fifo = directory_.path() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const std::string id =
      Start("echo begun; echo oops >&2; read x < " + fifo + "; printf end; exit 3").id();
  EXPECT_TRUE(Wait([&] { return Output(id).size() >= 12; }));
  EXPECT_EQ(Get(id).status(), "running");
  EXPECT_NE(Get(id).started_at(), "");
  EXPECT_FALSE(Get(id).has_exit_code());
  std::ofstream(fifo) << "go\n";
  ASSERT_TRUE(WaitForStatus(id, "failed"));
  EXPECT_TRUE(Get(id).has_exit_code());
  EXPECT_EQ(Get(id).exit_code(), 3);
  EXPECT_NE(Get(id).finished_at(), "");
  const std::string output = Output(id);
  EXPECT_NE(output.find("begun\n"), std::string::npos);
  EXPECT_NE(output.find("!oops\n"), std::string::npos);
  EXPECT_EQ(output.substr(output.size() - 4), "end\n");

  ::gateway::CreateTaskRequest request;
  request.set_prompt("what it is about");
  request.add_entrypoint("/bin/sh");
  request.add_entrypoint("-c");
  request.add_entrypoint("echo $COLOUR, $AIRSTORE_PROMPT");
  (*request.mutable_env())["COLOUR"] = "red";
  const std::string other = CreateTask(request).task().id();
  ASSERT_TRUE(WaitForStatus(other, "complete"));
  EXPECT_EQ(Output(other), "red, what it is about\n");
  EXPECT_EQ(ListTasks({}).tasks_size(), 2);
  request.set_image("debian");
  EXPECT_EQ(CreateTask(request).error(), "this gateway runs tasks on its host, not in images");
  EXPECT_EQ(CreateTask({}).error(), "nothing to run");
  EXPECT_EQ(CreateTask(request, MakeToken("work", true)).error(), "the token is read-only");
}

TEST_F(V1Gateway, TasksAreOfTheirWorkspace) {
  const std::string id = Start("echo mine").id();
  ASSERT_TRUE(WaitForStatus(id, "complete"));
  MakeWorkspace("other");
  const std::string other = MakeToken("other");
  ::gateway::GetTaskRequest get;
  get.set_id(id);
  ::gateway::GetTaskLogsRequest logs;
  logs.set_id(id);
  ::gateway::DeleteTaskRequest remove;
  remove.set_id(id);
  EXPECT_EQ(GetTask(get, other).error(), "task not found");
  EXPECT_EQ(GetTaskLogs(logs, other).error(), "task not found");
  EXPECT_EQ(DeleteTask(remove, other).error(), "task not found");
  EXPECT_EQ(ListTasks({}, other).tasks_size(), 0);
  EXPECT_EQ(ListTasks({}, "").error(), "authentication required");
  EXPECT_TRUE(DeleteTask(remove).ok());
  EXPECT_EQ(GetTask(get).error(), "task not found");
}

TEST_F(V1Gateway, DeletingATaskEndsIt) {
  const std::string id = Start("echo $$; exec sleep 1000").id();
  ASSERT_TRUE(Wait([&] { return !Output(id).empty(); }));
  const pid_t pid = std::stoi(Output(id));
  ASSERT_EQ(kill(pid, 0), 0);
  ::gateway::DeleteTaskRequest remove;
  remove.set_id(id);
  EXPECT_TRUE(DeleteTask(remove).ok());
  EXPECT_TRUE(Wait([&] { return kill(pid, 0) != 0; }));
}

TEST_F(V1Gateway, TasksGoWithTheirWorkspace) {
  const std::string id = Start("echo $$; exec sleep 1000").id();
  ASSERT_TRUE(Wait([&] { return !Output(id).empty(); }));
  const pid_t pid = std::stoi(Output(id));
  ::gateway::DeleteWorkspaceRequest remove;
  remove.set_id(workspace_);
  ASSERT_TRUE(DeleteWorkspace(remove, admin_secret_).ok());
  EXPECT_TRUE(Wait([&] { return kill(pid, 0) != 0; }));
  EXPECT_TRUE(Wait([&] { return !std::filesystem::exists(options_.data_dir + "/tasks/" + id); }));
  EXPECT_EQ(ListTasks({}).error(), "authentication required");
}

TEST_F(V1Gateway, WhatRanWhenTheGatewayEndedIsFailed) {
  const std::string done = Start("echo kept").id();
  ASSERT_TRUE(WaitForStatus(done, "complete"));
  const std::string id = Start("echo $$; exec sleep 1000").id();
  ASSERT_TRUE(Wait([&] { return !Output(id).empty(); }));
  Restart();
  EXPECT_EQ(Get(id).status(), "failed");
  EXPECT_EQ(Get(id).error(), "the gateway was stopped while it ran");
  EXPECT_FALSE(Get(id).has_exit_code());
  EXPECT_EQ(Get(done).status(), "complete");
  EXPECT_EQ(Output(done), "kept\n");
}

struct V1NoTasks : V1Gateway {
  V1NoTasks() { server_options_.config.tasks.enabled = false; }
};

TEST_F(V1NoTasks, NothingRunsWithoutLeave) {
  ::gateway::CreateTaskRequest request;
  request.set_prompt("touch " + directory_.path() + "/made");
  EXPECT_EQ(CreateTask(request).error(), "tasks are not enabled on this gateway");
  EXPECT_TRUE(ListTasks({}).ok());
}

// As after a kill -9 of the gateway: the child runs on, and nobody reads what it says.
TEST(TaskTable, WhatOutlivedItsGatewayIsEndedAndFailed) {
  const TempDirectory directory;
  ProcessSpec spec;
  spec.command = {"sleep", "1000"};
  auto child = Process::Start(spec);
  ASSERT_TRUE(child);
  TaskRecord task;
  task.id = "task_1";
  task.workspace = "ws";
  task.status = TaskStatus::kRunning;
  task.pid = child->pid();
  task.pid_started = StartOf(child->pid());
  ASSERT_NE(task.pid_started, 0u);
  TaskRecord other = task;  // its number belongs to somebody else by now
  other.id = "task_2";
  other.pid = getpid();
  for (const TaskRecord& record : {task, other}) {
    std::filesystem::create_directories(directory.path() + "/tasks/" + record.id);
    ASSERT_TRUE(WriteTask(directory.path() + "/tasks/" + record.id, record));
  }
  auto table = TaskTable::Open(directory.path() + "/tasks", {});
  ASSERT_TRUE(table);
  EXPECT_EQ(child->Reap(), 128 + SIGKILL);
  for (const char* id : {"task_1", "task_2"}) {
    EXPECT_EQ((*table)->Get("ws", id)->status, TaskStatus::kFailed);
    EXPECT_EQ((*table)->Get("ws", id)->error, "the gateway ended while it ran");
    EXPECT_EQ(ReadTask(directory.path() + "/tasks/" + id)->status, TaskStatus::kFailed);
  }
}

class V1AccessLog : public V1Bench {
 protected:
  ::gateway::IngestAccessEventsResponse Ingest(const ::gateway::IngestAccessEventsRequest& request,
                                               const std::string& token) {
    ::gateway::IngestAccessEventsResponse response;
    EXPECT_TRUE(Call("/gateway.AccessLogService/IngestAccessEvents", request, &response,
                     {{"authorization", token.empty() ? "" : "Bearer " + token}})
                    .status.ok());
    return response;
  }
};

TEST_F(V1AccessLog, KeepsEventsOnceAndFillsInWhatIsEmpty) {
  ::gateway::IngestAccessEventsRequest request;
  EXPECT_EQ(Ingest(request, "").error(), "workspace not found in auth context");
  EXPECT_TRUE(Ingest(request, token_).ok());
  for (int i = 0; i < 3; ++i) {
    auto* event = request.add_events();
    event->set_event_id("mount-1-" + std::to_string(i));
    event->set_ts(1000 + i);
    event->set_path(i == 2 ? "docs/b" : "src/a");
    event->set_read_bytes(10);
    if (i == 1) event->set_error_msg("broken");
  }
  EXPECT_EQ(Ingest(request, token_).accepted(), 3);
  EXPECT_EQ(Ingest(request, token_).accepted(), 3);  // again, and kept once
  AccessLog log(options_.data_dir + "/access");
  auto found = log.Find(workspace_, {});
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 3u);
  EXPECT_EQ((*found)[0].origin, "fuse");
  EXPECT_EQ((*found)[0].outcome, "passthrough");
  EXPECT_EQ((*found)[1].outcome, "error");
  EXPECT_EQ((*found)[0].session, workspace_);
  EXPECT_EQ(log.Find(workspace_, {"/docs/", 0, 10})->size(), 1u);
  EXPECT_EQ(log.Find(workspace_, {"doc", 0, 10})->size(), 0u);
  EXPECT_EQ(log.Find(workspace_, {"", 1001, 10})->size(), 2u);
  EXPECT_EQ(log.Find(workspace_, {"", 0, 1})->front().ts_ms, 1002);
}

TEST(AccessLog, WhatWasNotWrittenMayComeAgain) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/access";
  std::ofstream(path) << "in the way";
  AccessLog log(path);
  AccessEvent event;
  event.event_id = "once";
  event.ts_ms = 1;
  EXPECT_FALSE(log.Add("ws", {event}));
  std::filesystem::remove(path);
  EXPECT_TRUE(log.Add("ws", {event, event}));
  EXPECT_TRUE(log.Add("ws", {event}));
  EXPECT_EQ(log.Find("ws", {})->size(), 1u);
}

TEST(AccessLog, TakesABoundedRoom) {
  const TempDirectory directory;
  AccessLog log(directory.path() + "/access", 10'000, 3);
  for (int i = 0; i < 1000; ++i) {
    AccessEvent event;
    event.ts_ms = i + 1;
    event.path = "a/file/of/some/length";
    ASSERT_TRUE(log.Add("ws", {event}));
  }
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path() + "/access")) {
    bytes += entry.file_size();
  }
  EXPECT_LE(bytes, 30'000u);
  const auto found = log.Find("ws", {"", 0, 100'000});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->back().ts_ms, 1000);
  EXPECT_GT(found->size(), 100u);
  EXPECT_LT(found->size(), 500u);
}

}  // namespace
}  // namespace airstore::gateway
