// SPDX-License-Identifier: Apache-2.0
//
// What every v1 call shares: whose workspace it is about, waiting for leases, and the form of
// answers: `ok` and `error` in the message, the errno in trailing metadata for clients of ours.
// When the store has failed there is no answer, but UNAVAILABLE.
//
// A call on files waits (no thread does) while a v2 session holds the write lease, which is
// recalled at once; and its answer, until hosts that watch have seen what it changed.
//
// Threads: any. Ownership: a call owns itself until it is answered.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "tools/gateway/call.h"
#include "tools/gateway/v1/files.h"
#include "tools/gateway/v1/store_failure.h"

namespace airstore::gateway::v1 {

using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;

// The text for `error`: the message, or what the errno means.
std::string TextOf(const Error& error);

// Who calls; nothing: without a token, which is for each service to judge. A token that is not ours
// is an error: UNAUTHENTICATED.
grpc::Status Identify(Gateway& gateway, const Context& context, std::optional<Caller>* caller);

// The workspace of the caller: that of the token; the admin's is the one called "_gateway".
// EACCES: "no auth context" or "no workspace"; or OfStore().
Result<Workspace> WorkspaceOf(Gateway& gateway, const std::optional<Caller>& caller);

// A header of the request; empty when absent.
std::string Header(const Context& context, const char* key);

// Answers `ok = false` with its text. Clients of ours take whoever tells them the errno for exact
// in everything (`exact`), and else expect what the original does.
template <typename Response>
void Fail(Context* context, Response* response, const Error& error, bool exact = true) {
  response->set_ok(false);
  response->set_error(TextOf(error));
  if (exact) context->AddTrailingMetadata("x-airstore-errno", std::to_string(error.code));
}

// A call that waits for no lease: `work` is given the caller and fills the response, which is empty
// again when another gateway was in between and it is done once more.
template <typename Response, typename Work>
Reactor* Serve(Gateway& gateway, WorkerPool& pool, Context* context, Response* response,
               Work work) {
  return RunOn(pool, context, [=, &gateway]() -> grpc::Status {
    std::optional<Caller> caller;
    if (auto status = Identify(gateway, *context, &caller); !status.ok()) return status;
    const auto done = UntilNoConflict([&]() -> Result<void> {
      response->Clear();
      return work(caller);
    });
    if (done) {
      response->set_ok(true);
    } else if (IsOfStore(done.error())) {
      return StoreStatus("v1", Told(done.error()));
    } else {
      Fail(context, response, done.error());
    }
    return grpc::Status::OK;
  });
}

// A call on the files of the caller's workspace. `work` answers the cursor to be seen by others,
// and may be called again while it answers EBUSY.
using FileWork = std::function<Result<uint64_t>(const Who& who)>;
using Answer = std::function<void(const Result<void>& done)>;
Reactor* ServeFiles(Files& files, WorkerPool& pool, Context* context, FileWork work, Answer answer);

template <typename Response>
Reactor* ServeFiles(Files& files, WorkerPool& pool, Context* context, Response* response,
                    FileWork work) {
  const bool exact = files.exact();
  return ServeFiles(files, pool, context, std::move(work), [=](const Result<void>& done) {
    if (done) {
      response->set_ok(true);
    } else {
      Fail(context, response, done.error(), exact);
    }
  });
}

}  // namespace airstore::gateway::v1
