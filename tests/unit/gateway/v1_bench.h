// SPDX-License-Identifier: Apache-2.0
//
// A gateway on a unix socket, a workspace with a token, and calls of v1 that answer status, message
// and trailing metadata.
//
// Threads: calls from any.
// Ownership: owns gateway, server and channel; the directory goes with the bench.
#pragma once

#include <grpcpp/impl/client_unary_call.h>

#include <fstream>
#include <map>

#include "tests/unit/gateway/bench.h"
#include "tests/unit/gateway/client.h"
#include "tools/gateway/gateway.h"
#include "tools/gateway/server.h"

namespace airstore::gateway {

class V1Bench : public testing::Test {
 protected:
  explicit V1Bench(ServerOptions server = {}) : server_options_(std::move(server)) {
    options_.data_dir = directory_.path() + "/data";
    if (const std::string redis = SharedRedisUrl(directory_.path()); !redis.empty()) {
      options_.metadata = redis;
      options_.blocks = "file://" + directory_.path() + "/blocks";
    }
    address_ = "unix:" + directory_.path() + "/socket";
    server_options_.listen = address_;
  }

  void SetUp() override {
    Start();
    std::ifstream(options_.data_dir + "/admin-token") >> admin_secret_;
    workspace_ = MakeWorkspace("work");
    token_ = MakeToken("work");
    Connect();
  }

  void Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(16 << 20);  // as the gateway sends
    channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  }

  void Start() {
    auto opened = Gateway::Open(options_);
    ASSERT_TRUE(opened) << opened.error().ToString();
    gateway_ = std::move(*opened);
    auto started = Server::Start(*gateway_, server_options_);
    ASSERT_TRUE(started) << started.error().ToString();
    server_ = std::move(*started);
  }
  void Restart() {
    server_.reset();
    gateway_.reset();
    Start();
    Connect();
  }

  Client Admin() { return Client(address_, admin_secret_, std::string(16, 'A')); }
  std::string MakeWorkspace(const std::string& name) {
    wire::CreateWorkspaceRequest request;
    request.set_name(name);
    wire::Workspace workspace;
    EXPECT_TRUE(Admin().Call(&wire::Admin::Stub::CreateWorkspace, request, &workspace).ok());
    return workspace.id();
  }
  std::string MakeToken(const std::string& workspace, bool read_only = false) {
    wire::CreateTokenRequest request;
    request.set_workspace(workspace);
    request.set_principal("alice");
    request.set_read_only(read_only);
    wire::CreateTokenResponse response;
    EXPECT_TRUE(Admin().Call(&wire::Admin::Stub::CreateToken, request, &response).ok());
    return response.secret();
  }

  struct Told {
    grpc::Status status;
    std::map<std::string, std::string> trailing;
    int error() const {
      const auto found = trailing.find("x-airstore-errno");
      return found == trailing.end() ? 0 : std::stoi(found->second);
    }
  };
  // A unary call by its full name, with the bench's token unless `headers` has "authorization".
  template <typename Request, typename Response>
  Told Call(const char* path, const Request& request, Response* response,
            std::map<std::string, std::string> headers = {}) {
    grpc::ClientContext context;
    headers.try_emplace("authorization", "Bearer " + token_);
    for (const auto& [key, value] : headers) {
      if (!value.empty()) context.AddMetadata(key, value);
    }
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::NORMAL_RPC, channel_);
    Told told;
    told.status =
        grpc::internal::BlockingUnaryCall(channel_.get(), method, &context, request, response);
    for (const auto& [key, value] : context.GetServerTrailingMetadata()) {
      told.trailing[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    }
    return told;
  }

  TempDirectory directory_;
  GatewayOptions options_;
  ServerOptions server_options_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<Server> server_;
  std::string address_;
  std::string admin_secret_;
  std::string workspace_;  // id
  std::string token_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace airstore::gateway
