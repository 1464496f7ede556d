// SPDX-License-Identifier: Apache-2.0
//
// What every gRPC call of the gateway shares: running its work on a pool, who calls, and how an
// Error becomes a status. Messages for peers never hold paths or details of the store.
//
// Threads: any.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string_view>
#include <utility>

#include "tools/gateway/gateway.h"
#include "tools/gateway/worker_pool.h"

namespace airstore::gateway {

template <typename Work>
grpc::ServerUnaryReactor* RunOn(WorkerPool& pool, grpc::CallbackServerContext* context, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  pool.Post([reactor, context, work = std::move(work)] {
    // Who has given up while it waited for its turn makes the call again.
    reactor->Finish(context->IsCancelled() ? grpc::Status::CANCELLED : work());
  });
  return reactor;
}

// The store failed: logged here, and the peer may try again.
grpc::Status StoreStatus(std::string_view what, const Error& error);
// How often that was, since the start.
uint64_t StoreErrors();

// Of the authenticator's EAGAIN.
grpc::Status TooManyTokens(const Error& error);

grpc::Status Authenticate(Gateway& gateway, const grpc::CallbackServerContext& context,
                          Caller* caller);

grpc::Status UnknownSession();

struct Access {
  Caller caller;
  SessionRecord session;
};
// Authenticates, finds the session of the caller, and counts as a sign of life.
grpc::Status Admit(Gateway& gateway, const grpc::CallbackServerContext& context,
                   std::string_view session_id, Access* access);

}  // namespace airstore::gateway
