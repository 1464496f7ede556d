// SPDX-License-Identifier: Apache-2.0
//
// GatewayService: workspaces, members, tokens.
#include <algorithm>

#include "shm/base/wipe.h"
#include "tools/gateway/auth.h"
#include "tools/gateway/v1/gateway_service.h"
#include "tools/gateway/v1/rfc3339.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway::v1 {
namespace {

using MaybeCaller = std::optional<Caller>;

constexpr size_t kMaxText = 256;

void SetWorkspace(const Workspace& workspace, ::gateway::Workspace* out) {
  out->set_id(workspace.id);
  out->set_name(workspace.name);
  out->set_created_at(Rfc3339(workspace.created_ns));
  out->set_updated_at(Rfc3339(workspace.created_ns));
}

void SetMember(const MemberRecord& member, const Workspace& workspace, ::gateway::Member* out) {
  out->set_id(member.id);
  out->set_workspace_id(workspace.id);
  out->set_email(member.email);
  out->set_name(member.name);
  out->set_role(member.role);
  out->set_created_at(Rfc3339(member.created_ns));
}

void SetToken(const TokenRecord& token, ::gateway::Token* out) {
  out->set_id(token.id);
  out->set_name(token.name.empty() ? token.principal : token.name);
  out->set_token_type("workspace_member");
  out->set_member_id(token.member);
  out->set_created_at(Rfc3339(token.created_ns));
  if (token.expires_ns != 0) out->set_expires_at(Rfc3339(token.expires_ns));
}

Result<void> NeedAdmin(const MaybeCaller& caller) {
  if (!caller) return Error{EACCES, "authentication required"};
  if (!caller->admin) return Error{EACCES, "admin access required"};
  return {};
}

// The workspace, if the caller may manage its members and tokens. Who has nothing to do with it
// does not learn whether it exists.
Result<Workspace> ManagedWorkspace(MetadataReader& rows, const MaybeCaller& caller,
                                   const std::string& id) {
  if (!caller) return Error{EACCES, "authentication required"};
  auto workspace = rows.FindWorkspace(id);
  AIRSTORE_TRY(OfStore(rows.status()));
  if (!caller->admin) {
    if (!workspace || workspace->key != caller->workspace) return Error{EACCES, "access denied"};
    const auto member = rows.GetMember(caller->member);
    AIRSTORE_TRY(OfStore(rows.status()));
    if (!member || member->role != "admin") return Error{EACCES, "admin access required"};
  }
  if (!workspace) return Error{ENOENT, "workspace not found"};
  return std::move(*workspace);
}

Result<Workspace> ManagedWorkspace(MetadataReader& rows, const MaybeCaller& caller,
                                   WorkspaceKey key) {
  const auto workspace = rows.GetWorkspace(key);
  AIRSTORE_TRY(OfStore(rows.status()));
  if (!workspace) return Error{ENOENT, "workspace not found"};
  return ManagedWorkspace(rows, caller, workspace->id);
}

bool IsRole(const std::string& role) {
  return role == "admin" || role == "member" || role == "viewer";
}

}  // namespace

Reactor* GatewayService::CreateWorkspace(Context* context,
                                         const ::gateway::CreateWorkspaceRequest* request,
                                         ::gateway::WorkspaceResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 AIRSTORE_TRY(NeedAdmin(caller));
                 auto made = gateway_.CreateWorkspace(request->name(), {});
                 if (!made && made.error().code == EINVAL) {
                   return Error{EINVAL, "name: 1 to 64 of [A-Za-z0-9._-], not '.' first"};
                 }
                 if (!made && made.error().code == EEXIST) return made.error();
                 if (!made) return OfStore(made.error());
                 SetWorkspace(*made, response->mutable_workspace());
                 return {};
               });
}

Reactor* GatewayService::ListWorkspaces(Context* context, const ::gateway::ListWorkspacesRequest*,
                                        ::gateway::ListWorkspacesResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 AIRSTORE_TRY(NeedAdmin(caller));
                 auto rows = gateway_.store().Read();
                 if (!rows) return OfStore(rows.error());
                 for (const Workspace& workspace : (*rows)->ListWorkspaces()) {
                   SetWorkspace(workspace, response->add_workspaces());
                 }
                 return OfStore((*rows)->status());
               });
}

Reactor* GatewayService::GetWorkspace(Context* context,
                                      const ::gateway::GetWorkspaceRequest* request,
                                      ::gateway::WorkspaceResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 if (!caller) return Error{EACCES, "authentication required"};
                 auto rows = gateway_.store().Read();
                 if (!rows) return OfStore(rows.error());
                 const auto workspace = (*rows)->FindWorkspace(request->id());
                 AIRSTORE_TRY(OfStore((*rows)->status()));
                 if (!caller->admin && (!workspace || workspace->key != caller->workspace)) {
                   return Error{EACCES, "access denied"};
                 }
                 if (!workspace) return Error{ENOENT, "workspace not found"};
                 SetWorkspace(*workspace, response->mutable_workspace());
                 return {};
               });
}

Reactor* GatewayService::DeleteWorkspace(Context* context,
                                         const ::gateway::DeleteWorkspaceRequest* request,
                                         ::gateway::DeleteResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 AIRSTORE_TRY(NeedAdmin(caller));
                 auto done = gateway_.DeleteWorkspace(request->id());
                 if (!done && done.error().code == ENOENT) {
                   return Error{ENOENT, "workspace not found"};
                 }
                 return OfStore(done);
               });
}

Reactor* GatewayService::AddMember(Context* context, const ::gateway::AddMemberRequest* request,
                                   ::gateway::MemberResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto rows = gateway_.store().Write();
                 if (!rows) return OfStore(rows.error());
                 auto workspace = ManagedWorkspace(**rows, caller, request->workspace_id());
                 if (!workspace) return workspace.error();
                 MemberRecord member;
                 member.id = "mem_" + NewTokenId().substr(4);
                 member.workspace = workspace->key;
                 member.email = request->email();
                 member.name = request->name();
                 member.role = request->role().empty() ? "member" : request->role();
                 member.created_ns = WallClockNs();
                 if (!IsRole(member.role)) {
                   return Error{EINVAL, "role: admin, member or viewer"};
                 }
                 if (member.email.empty() || member.email.size() > kMaxText ||
                     member.name.size() > kMaxText) {
                   return Error{EINVAL, "email: 1 to 256 bytes; name: at most 256"};
                 }
                 for (const MemberRecord& other : (*rows)->ListMembers(workspace->key)) {
                   if (other.email == member.email) return Error{EEXIST, "member exists"};
                 }
                 (*rows)->PutMember(member);
                 AIRSTORE_TRY(OfStore((*rows)->Commit()));
                 SetMember(member, *workspace, response->mutable_member());
                 return {};
               });
}

Reactor* GatewayService::ListMembers(Context* context, const ::gateway::ListMembersRequest* request,
                                     ::gateway::ListMembersResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto rows = gateway_.store().Read();
                 if (!rows) return OfStore(rows.error());
                 auto workspace = ManagedWorkspace(**rows, caller, request->workspace_id());
                 if (!workspace) return workspace.error();
                 for (const MemberRecord& member : (*rows)->ListMembers(workspace->key)) {
                   SetMember(member, *workspace, response->add_members());
                 }
                 return OfStore((*rows)->status());
               });
}

Reactor* GatewayService::RemoveMember(Context* context,
                                      const ::gateway::RemoveMemberRequest* request,
                                      ::gateway::DeleteResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 std::vector<std::string> revoked;
                 {
                   auto rows = gateway_.store().Write();
                   if (!rows) return OfStore(rows.error());
                   const auto member = (*rows)->GetMember(request->id());
                   AIRSTORE_TRY(OfStore((*rows)->status()));
                   const Error unknown{ENOENT, "member not found"};
                   if (!member) return unknown;
                   auto workspace = ManagedWorkspace(**rows, caller, member->workspace);
                   if (!workspace) {
                     const bool tell = !caller || IsOfStore(workspace.error());
                     return tell ? workspace.error() : unknown;
                   }
                   // A token of nobody would be good for ever.
                   for (const TokenRecord& token : (*rows)->ListTokens(member->workspace)) {
                     if (token.member != member->id || token.revoked_ns != 0) continue;
                     (void)(*rows)->RevokeToken(token.id, WallClockNs());
                     revoked.push_back(token.id);
                   }
                   (*rows)->DeleteMember(member->id);
                   AIRSTORE_TRY(OfStore((*rows)->Commit()));
                 }
                 for (const std::string& id : revoked) gateway_.bulletin().End(0, nullptr, &id);
                 return {};
               });
}

Reactor* GatewayService::CreateToken(Context* context, const ::gateway::CreateTokenRequest* request,
                                     ::gateway::CreateTokenResponse* response) {
  return Serve(
      gateway_, pool_, context, response, [=, this](const MaybeCaller& caller) -> Result<void> {
        auto rows = gateway_.store().Write();
        if (!rows) return OfStore(rows.error());
        auto workspace = ManagedWorkspace(**rows, caller, request->workspace_id());
        if (!workspace) return workspace.error();
        const auto member = (*rows)->GetMember(request->member_id());
        AIRSTORE_TRY(OfStore((*rows)->status()));
        if (!member) return Error{ENOENT, "member not found"};
        if (member->workspace != workspace->key) return Error{EINVAL, "member not in workspace"};
        constexpr int64_t kMostSeconds = 1'000'000'000;
        if (request->expires_in_seconds() < 0 || request->expires_in_seconds() > kMostSeconds ||
            request->name().size() > kMaxText) {
          return Error{EINVAL, "expires_in_seconds: 0 to 1000000000; name: at most 256 bytes"};
        }
        std::string secret = NewSecret();
        const WipeAtEnd wipe(secret);
        TokenRecord token;
        token.id = NewTokenId();
        token.hash = HashSecret(secret);
        token.workspace = workspace->key;
        token.principal = IsPrincipal(member->email) ? member->email : member->id;
        token.read_only = member->role == "viewer";
        token.created_ns = WallClockNs();
        token.name = request->name().empty() ? "API Token" : request->name();
        token.member = member->id;
        if (request->expires_in_seconds() != 0) {
          token.expires_ns = token.created_ns + request->expires_in_seconds() * 1'000'000'000;
        }
        (*rows)->PutToken(token);
        AIRSTORE_TRY(OfStore((*rows)->Commit()));
        response->set_token(secret);
        SetToken(token, response->mutable_info());
        return {};
      });
}

Reactor* GatewayService::ListTokens(Context* context, const ::gateway::ListTokensRequest* request,
                                    ::gateway::ListTokensResponse* response) {
  return Serve(gateway_, pool_, context, response,
               [=, this](const MaybeCaller& caller) -> Result<void> {
                 auto rows = gateway_.store().Read();
                 if (!rows) return OfStore(rows.error());
                 auto workspace = ManagedWorkspace(**rows, caller, request->workspace_id());
                 if (!workspace) return workspace.error();
                 for (const TokenRecord& token : (*rows)->ListTokens(workspace->key)) {
                   if (token.revoked_ns == 0) SetToken(token, response->add_tokens());
                 }
                 return OfStore((*rows)->status());
               });
}

Reactor* GatewayService::RevokeToken(Context* context, const ::gateway::RevokeTokenRequest* request,
                                     ::gateway::DeleteResponse* response) {
  return Serve(
      gateway_, pool_, context, response, [=, this](const MaybeCaller& caller) -> Result<void> {
        if (!caller) return Error{EACCES, "authentication required"};
        {
          auto rows = gateway_.store().Write();
          if (!rows) return OfStore(rows.error());
          std::optional<WorkspaceKey> only;
          if (!caller->admin) only = caller->workspace;
          const auto tokens = (*rows)->ListTokens(only);
          AIRSTORE_TRY(OfStore((*rows)->status()));
          const auto token =
              std::find_if(tokens.begin(), tokens.end(),
                           [&](const TokenRecord& one) { return one.id == request->id(); });
          if (token == tokens.end()) return Error{ENOENT, "token not found"};
          if (!caller->admin) {
            auto workspace = ManagedWorkspace(**rows, caller, token->workspace);
            if (!workspace) return workspace.error();
          }
          (void)(*rows)->RevokeToken(token->id, WallClockNs());
          AIRSTORE_TRY(OfStore((*rows)->Commit()));
        }
        gateway_.bulletin().End(0, nullptr, &request->id());
        return {};
      });
}

}  // namespace airstore::gateway::v1
