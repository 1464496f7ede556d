// SPDX-License-Identifier: Apache-2.0
//
// airstore.storage.v2.Admin: workspaces and tokens, for the admin token only.
//
// Threads: as StorageService, on one pool thread: administration is rare.
// Ownership: borrows the gateway.
#pragma once

#include "airstore/storage/v2/storage.grpc.pb.h"
#include "tools/gateway/call.h"
#include "tools/gateway/convert.h"

namespace airstore::gateway {

class AdminService final : public wire::Admin::CallbackService {
 public:
  explicit AdminService(Gateway& gateway) : gateway_(gateway), pool_(1) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* CreateWorkspace(Context*, const wire::CreateWorkspaceRequest*,
                           wire::Workspace*) override;
  Reactor* UpdateWorkspace(Context*, const wire::UpdateWorkspaceRequest*,
                           wire::Workspace*) override;
  Reactor* ListWorkspaces(Context*, const wire::ListWorkspacesRequest*,
                          wire::ListWorkspacesResponse*) override;
  Reactor* DeleteWorkspace(Context*, const wire::DeleteWorkspaceRequest*,
                           wire::DeleteWorkspaceResponse*) override;
  Reactor* CreateToken(Context*, const wire::CreateTokenRequest*,
                       wire::CreateTokenResponse*) override;
  Reactor* ListTokens(Context*, const wire::ListTokensRequest*, wire::ListTokensResponse*) override;
  Reactor* RevokeToken(Context*, const wire::RevokeTokenRequest*,
                       wire::RevokeTokenResponse*) override;
  Reactor* QueryAccessLog(Context*, const wire::QueryAccessLogRequest*,
                          wire::QueryAccessLogResponse*) override;
  Reactor* GetStatus(Context*, const wire::GetStatusRequest*, wire::GatewayStatus*) override;
  Reactor* CheckStore(Context*, const wire::CheckStoreRequest*, wire::CheckStoreResponse*) override;

 private:
  template <typename Work>
  Reactor* RunAsAdmin(Context* context, Work work);

  Gateway& gateway_;
  WorkerPool pool_;
};

}  // namespace airstore::gateway
