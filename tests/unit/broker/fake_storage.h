// SPDX-License-Identifier: Apache-2.0
//
// A gateway in the test's own process: each method does what the test says.
#pragma once

#include <airstore/storage/v2/storage.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace airstore::broker {

namespace fake {

namespace wire = storage::v2;

class Storage final : public wire::Storage::Service {
 public:
  template <typename Request, typename Response>
  using Handler = std::function<grpc::Status(const Request&, Response*)>;

  Handler<wire::OpenSessionRequest, wire::OpenSessionResponse> open;
  Handler<wire::KeepAliveRequest, wire::KeepAliveResponse> keep_alive;
  Handler<wire::ResolveRequest, wire::ResolveResponse> resolve;
  Handler<wire::FetchRequest, wire::FetchResponse> fetch;
  Handler<wire::PutBlockRequest, wire::PutBlockResponse> put_block;
  Handler<wire::ApplyRequest, wire::ApplyResponse> apply;
  std::function<grpc::Status(const wire::WatchRequest&, grpc::ServerWriter<wire::WatchEvent>*)>
      watch;

  std::string authorization() {
    const std::lock_guard lock(mutex_);
    return authorization_;
  }

  grpc::Status OpenSession(grpc::ServerContext* context, const wire::OpenSessionRequest* request,
                           wire::OpenSessionResponse* response) override {
    return Handle(context, open, *request, response);
  }
  grpc::Status KeepAlive(grpc::ServerContext* context, const wire::KeepAliveRequest* request,
                         wire::KeepAliveResponse* response) override {
    return Handle(context, keep_alive, *request, response);
  }
  grpc::Status Resolve(grpc::ServerContext* context, const wire::ResolveRequest* request,
                       wire::ResolveResponse* response) override {
    return Handle(context, resolve, *request, response);
  }
  grpc::Status Fetch(grpc::ServerContext* context, const wire::FetchRequest* request,
                     wire::FetchResponse* response) override {
    return Handle(context, fetch, *request, response);
  }
  grpc::Status PutBlock(grpc::ServerContext* context, const wire::PutBlockRequest* request,
                        wire::PutBlockResponse* response) override {
    return Handle(context, put_block, *request, response);
  }
  grpc::Status Apply(grpc::ServerContext* context, const wire::ApplyRequest* request,
                     wire::ApplyResponse* response) override {
    return Handle(context, apply, *request, response);
  }
  grpc::Status Watch(grpc::ServerContext*, const wire::WatchRequest* request,
                     grpc::ServerWriter<wire::WatchEvent>* writer) override {
    return watch(*request, writer);
  }

 private:
  template <typename Request, typename Response>
  grpc::Status Handle(grpc::ServerContext* context, const Handler<Request, Response>& handler,
                      const Request& request, Response* response) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = context->client_metadata().find("authorization");
      if (found != context->client_metadata().end()) {
        authorization_.assign(found->second.data(), found->second.size());
      }
    }
    if (!handler) return {grpc::StatusCode::UNIMPLEMENTED, "not in this test"};
    return handler(request, response);
  }

  std::mutex mutex_;
  std::string authorization_;  // guarded by mutex_
};

class Admin final : public wire::Admin::Service {
 public:
  std::function<grpc::Status(const wire::CreateWorkspaceRequest&, wire::Workspace*)> create;
  grpc::Status CreateWorkspace(grpc::ServerContext*, const wire::CreateWorkspaceRequest* request,
                               wire::Workspace* response) override {
    return create(*request, response);
  }
  grpc::Status ListTokens(grpc::ServerContext*, const wire::ListTokensRequest* request,
                          wire::ListTokensResponse* response) override {
    response->add_tokens()->set_workspace(request->workspace());
    return grpc::Status::OK;
  }
};

// On a port that the kernel chooses.
struct Server {
  Storage storage;
  Admin admin;
  int port = 0;
  std::unique_ptr<grpc::Server> server;

  Server() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&storage);
    builder.RegisterService(&admin);
    server = builder.BuildAndStart();
  }
  ~Server() { server->Shutdown(std::chrono::system_clock::now()); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port); }
};

}  // namespace fake
}  // namespace airstore::broker
