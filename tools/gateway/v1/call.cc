// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/v1/call.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>

#include <cstring>

namespace airstore::gateway::v1 {
namespace {

// Clients of v1 give up after 30 seconds.
constexpr std::chrono::seconds kLeasePatience{25};

// All v1 callers of a workspace count as one session, as long as one was heard of lately: nobody is
// given the write lease while they are there.
SessionRecord Presence(WorkspaceKey ws) {
  SessionRecord session;
  std::string id = "v1 callers      ";
  std::memcpy(id.data() + 16 - sizeof ws, &ws, sizeof ws);
  session.id = SessionId::From(id);
  session.workspace = ws;
  session.client = "v1";
  return session;
}

class FileCall : public std::enable_shared_from_this<FileCall> {
 public:
  FileCall(Gateway& gateway, WorkerPool& pool, Context* context, FileWork work, Answer answer)
      : gateway_(gateway),
        pool_(pool),
        context_(context),
        reactor_(context->DefaultReactor()),
        work_(std::move(work)),
        answer_(std::move(answer)) {}

  Reactor* Start() {
    pool_.Post([self = shared_from_this()] { self->Begin(); });
    return reactor_;
  }

 private:
  void Begin() {
    std::optional<Caller> caller;
    if (auto status = Identify(gateway_, *context_, &caller); !status.ok()) {
      reactor_->Finish(status);
      return;
    }
    auto workspace = WorkspaceOf(gateway_, caller);
    if (!workspace) {
      Finish(workspace.error());
      return;
    }
    presence_ = Presence(workspace->key);
    who_ = {workspace->key, presence_.id, caller->read_only};
    if (auto done = gateway_.sessions().Remember(presence_); !done) {
      Finish(OfStore(done.error()));
      return;
    }
    Try();
  }

  void Try() {
    Result<uint64_t> done = Error{EBUSY, {}};
    const auto held = gateway_.sessions().RecallOthers(presence_);
    if (!held) {
      done = OfStore(held.error());
    } else if (!*held) {
      done = work_(who_);
    }
    if (!done && done.error().code == EBUSY) {
      if (!context_->IsCancelled() && SteadyNow() < deadline_) {
        gateway_.sessions().WhenFree(
            presence_, [self = shared_from_this()] { self->pool_.Post([self] { self->Try(); }); });
        return;
      }
      Finish(Error{EAGAIN, "another host is giving back its lease: try again"});
      return;
    }
    if (!done) {
      Finish(done.error());
    } else if (*done == 0) {
      Finish({});
    } else {
      const auto waits =
          gateway_.bulletin().WhenSeen(who_.workspace, who_.presence, gateway::Told{*done, {}},
                                       [self = shared_from_this()] { self->Finish({}); });
      // It is done, and would be done again if it were an error.
      if (!waits) Finish({});
    }
  }

  void Finish(const Result<void>& done) {
    if (!done && IsOfStore(done.error())) {
      reactor_->Finish(StoreStatus("v1", Told(done.error())));
      return;
    }
    answer_(done);
    reactor_->Finish(grpc::Status::OK);
  }

  Gateway& gateway_;
  WorkerPool& pool_;
  Context* const context_;
  Reactor* const reactor_;
  const FileWork work_;
  const Answer answer_;
  const SteadyTime deadline_ = SteadyNow() + kLeasePatience;
  SessionRecord presence_;
  Who who_;
};

}  // namespace

std::string TextOf(const Error& error) {
  if (IsOfStore(error)) return "the gateway's store failed";
  if (!error.message.empty()) return error.message;
  switch (error.code) {
    case ENOENT:
      return "not found";
    case EEXIST:
      return "file exists";
    case ENOTDIR:
      return "not a directory";
    case EISDIR:
      return "is a directory";
    case ENOTEMPTY:
      return "directory not empty";
    case EDQUOT:
      return "quota exceeded";
    case EFBIG:
      return "file too large";
    case EINVAL:
      return "invalid argument";
    case EIO:
      return "content is damaged";
    default:
      return strerror(error.code);
  }
}

grpc::Status Identify(Gateway& gateway, const Context& context, std::optional<Caller>* caller) {
  std::string header = Header(context, "authorization");
  if (header.empty() || header == "Bearer " || header == "Bearer") return grpc::Status::OK;
  auto found = gateway.auth().Authenticate(header, context.peer());
  OPENSSL_cleanse(header.data(), header.size());
  if (found) {
    *caller = std::move(*found);
    return grpc::Status::OK;
  }
  if (found.error().code == EAGAIN) return TooManyTokens(found.error());
  if (found.error().code != EACCES) return StoreStatus("authenticate", found.error());
  return {grpc::StatusCode::UNAUTHENTICATED, "invalid token"};
}

Result<Workspace> WorkspaceOf(Gateway& gateway, const std::optional<Caller>& caller) {
  if (!caller) return Error{EACCES, "no auth context"};
  auto workspace = UntilNoConflict([&]() -> Result<std::optional<Workspace>> {
    auto rows = gateway.store().Read();
    if (!rows) return rows.error();
    auto found = caller->admin ? (*rows)->FindWorkspace("_gateway")
                               : (*rows)->GetWorkspace(caller->workspace);
    AIRSTORE_TRY((*rows)->status());
    return found;
  });
  if (!workspace) return Error{kOfStore + workspace.error().code, workspace.error().message};
  if (!*workspace) return Error{EACCES, "no workspace"};
  return std::move(**workspace);
}

std::string Header(const Context& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

Reactor* ServeFiles(Files& files, WorkerPool& pool, Context* context, FileWork work,
                    Answer answer) {
  return std::make_shared<FileCall>(files.gateway(), pool, context, std::move(work),
                                    std::move(answer))
      ->Start();
}

}  // namespace airstore::gateway::v1
