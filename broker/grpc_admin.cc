// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_admin.h"

#include <airstore/storage/v2/storage.grpc.pb.h>

#include "broker/grpc_call.h"
#include "broker/grpc_status.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

WorkspaceEntry Decode(const wire::Workspace& from) {
  return {from.id(),     from.name(),        from.created_ns(),  from.used_bytes(),
          from.inodes(), from.quota_bytes(), from.quota_inodes()};
}
TokenEntry Decode(const wire::Token& from) {
  return {from.id(),        from.workspace(),  from.principal(),
          from.read_only(), from.created_ns(), from.revoked_ns()};
}

AccessEntry Decode(const wire::AccessEvent& from) {
  return {from.ts_ms(),      from.path(),         from.session(), from.mount(),
          from.origin(),     from.cache_source(), from.offset(),  from.requested_bytes(),
          from.read_bytes(), from.latency_ms(),   from.outcome(), from.error(),
          from.source_uri(), from.fetch_ms()};
}

StoreCheckState Decode(const wire::CheckStoreResponse& from) {
  StoreCheckState state;
  state.run = from.run();
  state.finished = from.finished();
  state.error = from.error();
  state.phase = from.phase();
  state.done = from.done();
  state.total = from.total();
  for (const wire::Damage& damage : from.damages()) {
    state.damages.push_back({damage.kind(), damage.workspace(), damage.inode(), damage.path(),
                             damage.block(), damage.offset(), damage.lost_bytes(), damage.what(),
                             damage.remedy(), damage.repaired()});
  }
  const wire::CheckTotals& totals = from.totals();
  state.workspaces = totals.workspaces();
  state.inodes = totals.inodes();
  state.blocks = totals.blocks();
  state.content_bytes = totals.content_bytes();
  state.all_damages = totals.damages();
  state.all_repaired = totals.repaired();
  state.lost_bytes = totals.lost_bytes();
  state.removed_blocks = totals.removed_blocks();
  state.removed_bytes = totals.removed_bytes();
  return state;
}

template <typename Request, typename Response>
using Method = void (wire::Admin::StubInterface::async_interface::*)(
    grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);
using AsyncApi = wire::Admin::StubInterface::async_interface;

class GrpcAdmin final : public AdminClient {
 public:
  GrpcAdmin(const boost::asio::any_io_executor& loop, std::shared_ptr<GatewayChannel> channel,
            Secret token, std::chrono::milliseconds timeout)
      : via_{loop, channel, std::move(token), timeout}, stub_(channel) {}

  Task<Outcome<WorkspaceEntry>> CreateWorkspace(const std::string& name,
                                                const Quota& quota) override {
    wire::CreateWorkspaceRequest request;
    request.set_name(name);
    request.set_quota_bytes(quota.bytes.value_or(0));
    request.set_quota_inodes(quota.inodes.value_or(0));
    constexpr Method<wire::CreateWorkspaceRequest, wire::Workspace> kMethod =
        &AsyncApi::CreateWorkspace;
    return Call<wire::Workspace, WorkspaceEntry>(
        std::move(request), kMethod, [](const wire::Workspace& answer) { return Decode(answer); });
  }

  Task<Outcome<WorkspaceEntry>> SetQuota(const std::string& name, const Quota& quota) override {
    wire::UpdateWorkspaceRequest request;
    request.set_name(name);
    if (quota.bytes) request.set_quota_bytes(*quota.bytes);
    if (quota.inodes) request.set_quota_inodes(*quota.inodes);
    constexpr Method<wire::UpdateWorkspaceRequest, wire::Workspace> kMethod =
        &AsyncApi::UpdateWorkspace;
    return Call<wire::Workspace, WorkspaceEntry>(
        std::move(request), kMethod, [](const wire::Workspace& answer) { return Decode(answer); });
  }

  Task<Outcome<std::vector<WorkspaceEntry>>> ListWorkspaces() override {
    constexpr Method<wire::ListWorkspacesRequest, wire::ListWorkspacesResponse> kMethod =
        &AsyncApi::ListWorkspaces;
    return Call<wire::ListWorkspacesResponse, std::vector<WorkspaceEntry>>(
        wire::ListWorkspacesRequest(), kMethod, [](const wire::ListWorkspacesResponse& answer) {
          std::vector<WorkspaceEntry> out;
          for (const auto& item : answer.workspaces()) out.push_back(Decode(item));
          return out;
        });
  }

  Task<Outcome<Nothing>> DeleteWorkspace(const std::string& name) override {
    wire::DeleteWorkspaceRequest request;
    request.set_name(name);
    constexpr Method<wire::DeleteWorkspaceRequest, wire::DeleteWorkspaceResponse> kMethod =
        &AsyncApi::DeleteWorkspace;
    return Call<wire::DeleteWorkspaceResponse, Nothing>(std::move(request), kMethod,
                                                        [](const auto&) { return Nothing(); });
  }

  Task<Outcome<CreatedToken>> CreateToken(const std::string& workspace,
                                          const std::string& principal, bool read_only) override {
    wire::CreateTokenRequest request;
    request.set_workspace(workspace);
    request.set_principal(principal);
    request.set_read_only(read_only);
    constexpr Method<wire::CreateTokenRequest, wire::CreateTokenResponse> kMethod =
        &AsyncApi::CreateToken;
    return Call<wire::CreateTokenResponse, CreatedToken>(
        std::move(request), kMethod, [](const wire::CreateTokenResponse& answer) {
          return CreatedToken{Decode(answer.token()), answer.secret()};
        });
  }

  Task<Outcome<std::vector<TokenEntry>>> ListTokens(const std::string& workspace) override {
    wire::ListTokensRequest request;
    request.set_workspace(workspace);
    constexpr Method<wire::ListTokensRequest, wire::ListTokensResponse> kMethod =
        &AsyncApi::ListTokens;
    return Call<wire::ListTokensResponse, std::vector<TokenEntry>>(
        std::move(request), kMethod, [](const wire::ListTokensResponse& answer) {
          std::vector<TokenEntry> out;
          for (const auto& item : answer.tokens()) out.push_back(Decode(item));
          return out;
        });
  }

  Task<Outcome<Nothing>> RevokeToken(const std::string& id) override {
    wire::RevokeTokenRequest request;
    request.set_id(id);
    constexpr Method<wire::RevokeTokenRequest, wire::RevokeTokenResponse> kMethod =
        &AsyncApi::RevokeToken;
    return Call<wire::RevokeTokenResponse, Nothing>(std::move(request), kMethod,
                                                    [](const auto&) { return Nothing(); });
  }

  Task<Outcome<std::vector<AccessEntry>>> QueryAccessLog(const AccessQuery& query) override {
    wire::QueryAccessLogRequest request;
    request.set_workspace(query.workspace);
    request.set_path(query.path);
    request.set_since_ms(query.since_ms);
    request.set_limit(query.limit);
    constexpr Method<wire::QueryAccessLogRequest, wire::QueryAccessLogResponse> kMethod =
        &AsyncApi::QueryAccessLog;
    return Call<wire::QueryAccessLogResponse, std::vector<AccessEntry>>(
        std::move(request), kMethod, [](const wire::QueryAccessLogResponse& answer) {
          std::vector<AccessEntry> out;
          for (const auto& item : answer.events()) out.push_back(Decode(item));
          return out;
        });
  }

  Task<Outcome<StoreCheckState>> CheckStore(const StoreCheckQuery& query) override {
    wire::CheckStoreRequest request;
    request.set_run(query.run);
    request.set_damages_seen(query.damages_seen);
    request.set_cancel(query.cancel);
    request.set_collect(query.collect);
    request.set_workspace(query.workspace);
    request.set_repair(query.repair);
    request.set_skip_content(query.skip_content);
    constexpr Method<wire::CheckStoreRequest, wire::CheckStoreResponse> kMethod =
        &AsyncApi::CheckStore;
    return Call<wire::CheckStoreResponse, StoreCheckState>(
        std::move(request), kMethod,
        [](const wire::CheckStoreResponse& answer) { return Decode(answer); });
  }

 private:
  template <typename Response, typename Value, typename Request, typename CallMethod,
            typename DecodeFn>
  Task<Outcome<Value>> Call(Request request, CallMethod method, DecodeFn decode) {
    auto start = [stub = stub_.Current(), method](
                     grpc::ClientContext* context, const Request* from, Response* to,
                     std::function<void(const grpc::Status&)> on_done) {
      (stub->async()->*method)(context, from, to, std::move(on_done));
    };
    auto finish = [decode, address = via_.channel->address()](const grpc::Status& status, Request&,
                                                              Response& answer) {
      if (!status.ok()) return Outcome<Value>{{}, FailureOfStatus(address, status)};
      return Outcome<Value>{decode(answer), {}};
    };
    return UnaryCall<Request, Response>(via_, std::move(request), std::move(start),
                                        std::move(finish));
  }

  const CallContext via_;
  const Stubs<wire::Admin> stub_;
};

}  // namespace

std::shared_ptr<AdminClient> MakeGrpcAdminClient(const boost::asio::any_io_executor& loop,
                                                 std::shared_ptr<GatewayChannel> channel,
                                                 Secret token, std::chrono::milliseconds timeout) {
  return std::make_shared<GrpcAdmin>(loop, std::move(channel), std::move(token), timeout);
}

}  // namespace airstore::broker
