// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/call.h"

#include <atomic>

#include "broker/log_event.h"

namespace airstore::gateway {
namespace {

std::atomic<uint64_t> store_errors{0};

}  // namespace

uint64_t StoreErrors() { return store_errors; }

grpc::Status StoreStatus(std::string_view what, const Error& error) {
  ++store_errors;
  broker::LogEvent(spdlog::level::err, {{"error", error.ToString()}}, "{}: {}", what,
                   error.ToString());
  return {grpc::StatusCode::UNAVAILABLE,
          error.code == ENOSPC ? "the gateway's store is full" : "the gateway's store failed"};
}

grpc::Status TooManyTokens(const Error& error) {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, error.message};
}

grpc::Status UnknownSession() {
  return {grpc::StatusCode::FAILED_PRECONDITION, "unknown session: open a new one"};
}

grpc::Status Authenticate(Gateway& gateway, const grpc::CallbackServerContext& context,
                          Caller* caller) {
  const auto& metadata = context.client_metadata();
  const auto header = metadata.find("authorization");
  const std::string_view value =
      header == metadata.end() ? std::string_view()
                               : std::string_view(header->second.data(), header->second.size());
  auto found = gateway.auth().Authenticate(value, context.peer());
  if (!found) {
    if (found.error().code == EAGAIN) return TooManyTokens(found.error());
    if (found.error().code != EACCES) return StoreStatus("authenticate", found.error());
    return {grpc::StatusCode::UNAUTHENTICATED, "missing or invalid token"};
  }
  *caller = std::move(*found);
  return grpc::Status::OK;
}

grpc::Status Admit(Gateway& gateway, const grpc::CallbackServerContext& context,
                   std::string_view session_id, Access* access) {
  if (auto status = Authenticate(gateway, context, &access->caller); !status.ok()) return status;
  if (session_id.size() != 16) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "session_id must have 16 bytes"};
  }
  const SessionId id = SessionId::From(session_id);
  auto session = gateway.sessions().Find(id);
  if (!session) return StoreStatus("find session", session.error());
  if (!session->has_value()) {
    return UnknownSession();
  }
  const Caller& caller = access->caller;
  if ((*session)->principal != caller.principal ||
      (!caller.admin && (*session)->workspace != caller.workspace)) {
    return {grpc::StatusCode::PERMISSION_DENIED, "the session belongs to another token"};
  }
  access->session = std::move(**session);
  gateway.sessions().Touch(id, SteadyNow());
  return grpc::Status::OK;
}

}  // namespace airstore::gateway
