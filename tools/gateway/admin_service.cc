// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/admin_service.h"

#include <algorithm>

#include "broker/log_event.h"
#include "shm/base/wipe.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {
namespace {

grpc::Status StatusOf(const Error& error, std::string_view what) {
  switch (error.code) {
    case EINVAL:
      return {grpc::StatusCode::INVALID_ARGUMENT, error.message};
    case EEXIST:
      return {grpc::StatusCode::ALREADY_EXISTS, error.message};
    case ENOENT:
      return {grpc::StatusCode::NOT_FOUND, error.message};
    default:
      return StoreStatus(what, error);
  }
}

}  // namespace

template <typename Work>
AdminService::Reactor* AdminService::RunAsAdmin(Context* context, Work work) {
  return RunOn(pool_, context, [this, context, work = std::move(work)]() -> grpc::Status {
    Caller caller;
    if (auto status = Authenticate(gateway_, *context, &caller); !status.ok()) return status;
    if (!caller.admin) return {grpc::StatusCode::PERMISSION_DENIED, "needs the admin token"};
    return work();
  });
}

AdminService::Reactor* AdminService::CreateWorkspace(Context* context,
                                                     const wire::CreateWorkspaceRequest* request,
                                                     wire::Workspace* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    auto workspace = gateway_.CreateWorkspace(request->name(),
                                              {request->quota_bytes(), request->quota_inodes()});
    if (!workspace) return StatusOf(workspace.error(), "create workspace");
    broker::LogEvent(spdlog::level::info, {{"workspace", workspace->name}}, "workspace {} created",
                     workspace->name);
    ToWire(*workspace, response);
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::UpdateWorkspace(Context* context,
                                                     const wire::UpdateWorkspaceRequest* request,
                                                     wire::Workspace* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    Quota quota;
    if (request->has_quota_bytes()) quota.bytes = request->quota_bytes();
    if (request->has_quota_inodes()) quota.inodes = request->quota_inodes();
    auto workspace = gateway_.SetQuota(request->name(), quota);
    if (!workspace) return StatusOf(workspace.error(), "update workspace");
    broker::LogEvent(spdlog::level::info, {{"workspace", workspace->name}},
                     "workspace {}: at most {} bytes and {} inodes (0: no limit)", workspace->name,
                     workspace->quota_bytes, workspace->quota_inodes);
    ToWire(*workspace, response);
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::ListWorkspaces(Context* context,
                                                    const wire::ListWorkspacesRequest*,
                                                    wire::ListWorkspacesResponse* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    auto reader = gateway_.store().Read();
    if (!reader) return StoreStatus("list workspaces", reader.error());
    for (const Workspace& workspace : (*reader)->ListWorkspaces()) {
      ToWire(workspace, response->add_workspaces());
    }
    if (auto ok = (*reader)->status(); !ok) return StoreStatus("list workspaces", ok.error());
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::DeleteWorkspace(Context* context,
                                                     const wire::DeleteWorkspaceRequest* request,
                                                     wire::DeleteWorkspaceResponse*) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    auto done = gateway_.DeleteWorkspace(request->name());
    if (!done) return StatusOf(done.error(), "delete workspace");
    broker::LogEvent(spdlog::level::info, {{"workspace", request->name()}}, "workspace {} deleted",
                     request->name());
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::CreateToken(Context* context,
                                                 const wire::CreateTokenRequest* request,
                                                 wire::CreateTokenResponse* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    if (!IsPrincipal(request->principal())) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "principal: 1..128 printable characters"};
    }
    auto writer = gateway_.store().Write();
    if (!writer) return StoreStatus("create token", writer.error());
    const auto workspace = (*writer)->FindWorkspace(request->workspace());
    if (auto ok = (*writer)->status(); !ok) return StoreStatus("create token", ok.error());
    if (!workspace) return {grpc::StatusCode::NOT_FOUND, NoWorkspace(request->workspace())};
    std::string secret = NewSecret();
    const WipeAtEnd wipe(secret);
    TokenRecord token;
    token.id = NewTokenId();
    token.hash = HashSecret(secret);
    token.workspace = workspace->key;
    token.workspace_name = workspace->name;
    token.principal = request->principal();
    token.read_only = request->read_only();
    token.created_ns = WallClockNs();
    (*writer)->PutToken(token);
    if (auto done = (*writer)->Commit(); !done) return StoreStatus("create token", done.error());
    ToWire(token, response->mutable_token());
    response->set_secret(secret);
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::ListTokens(Context* context,
                                                const wire::ListTokensRequest* request,
                                                wire::ListTokensResponse* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    auto reader = gateway_.store().Read();
    if (!reader) return StoreStatus("list tokens", reader.error());
    std::optional<WorkspaceKey> only;
    if (!request->workspace().empty()) {
      const auto workspace = (*reader)->FindWorkspace(request->workspace());
      if (auto ok = (*reader)->status(); !ok) return StoreStatus("list tokens", ok.error());
      if (!workspace) return {grpc::StatusCode::NOT_FOUND, NoWorkspace(request->workspace())};
      only = workspace->key;
    }
    for (const TokenRecord& token : (*reader)->ListTokens(only)) {
      ToWire(token, response->add_tokens());
    }
    if (auto ok = (*reader)->status(); !ok) return StoreStatus("list tokens", ok.error());
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::RevokeToken(Context* context,
                                                 const wire::RevokeTokenRequest* request,
                                                 wire::RevokeTokenResponse*) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    {
      auto writer = gateway_.store().Write();
      if (!writer) return StoreStatus("revoke token", writer.error());
      if (!(*writer)->RevokeToken(request->id(), WallClockNs())) {
        if (auto ok = (*writer)->status(); !ok) return StoreStatus("revoke token", ok.error());
        return {grpc::StatusCode::NOT_FOUND, "there is no token '" + request->id().substr(0, 64) +
                                                 "' ('airctl token list' lists them)"};
      }
      if (auto done = (*writer)->Commit(); !done) return StoreStatus("revoke token", done.error());
    }
    gateway_.bulletin().End(0, nullptr, &request->id());
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::QueryAccessLog(Context* context,
                                                    const wire::QueryAccessLogRequest* request,
                                                    wire::QueryAccessLogResponse* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    auto reader = gateway_.store().Read();
    if (!reader) return StoreStatus("query access log", reader.error());
    const auto workspace = (*reader)->FindWorkspace(request->workspace());
    if (auto ok = (*reader)->status(); !ok) return StoreStatus("query access log", ok.error());
    if (!workspace) return {grpc::StatusCode::NOT_FOUND, NoWorkspace(request->workspace())};
    constexpr uint32_t kUsual = 1000, kMost = 5000;
    AccessQuery query;
    query.path = request->path();
    query.since_ms = request->since_ms();
    query.most = request->limit() == 0 ? kUsual : std::min(request->limit(), kMost);
    auto events = gateway_.access_log().Find(workspace->id, query);
    if (!events) return StoreStatus("query access log", events.error());
    for (AccessEvent& event : *events) ToWire(std::move(event), response->add_events());
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::GetStatus(Context* context, const wire::GetStatusRequest*,
                                               wire::GatewayStatus* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    const auto report = gateway_.Report();
    if (!report) return StoreStatus("status", report.error());
    response->set_version(AIRSTORE_VERSION);
    response->set_metadata(std::string(report->metadata));
    response->set_blocks(std::string(report->blocks));
    response->set_shared(report->shared);
    response->set_weakness(report->weakness);
    response->set_sessions(report->sessions);
    response->set_read_us(static_cast<uint64_t>(report->read.count()));
    return grpc::Status::OK;
  });
}

AdminService::Reactor* AdminService::CheckStore(Context* context,
                                                const wire::CheckStoreRequest* request,
                                                wire::CheckStoreResponse* response) {
  return RunAsAdmin(context, [=, this]() -> grpc::Status {
    uint64_t run = request->run();
    if (run == 0) {
      const auto kind = request->collect() ? StoreCheck::Kind::kCollect : StoreCheck::Kind::kCheck;
      const auto begun = gateway_.check().Start(
          kind, {request->workspace(), request->repair(), !request->skip_content()});
      if (!begun && begun.error().code == EBUSY) {
        return {grpc::StatusCode::FAILED_PRECONDITION, begun.error().message};
      }
      if (!begun) return StatusOf(begun.error(), "check");
      run = *begun;
    }
    if (request->cancel()) gateway_.check().Cancel(run);
    const auto answer = gateway_.check().Ask(run, request->damages_seen());
    if (!answer) return {grpc::StatusCode::NOT_FOUND, answer.error().message};
    response->set_run(run);
    ToWire(answer->state, response);
    for (const Damage& damage : answer->damages) ToWire(damage, response->add_damages());
    return grpc::Status::OK;
  });
}

}  // namespace airstore::gateway
