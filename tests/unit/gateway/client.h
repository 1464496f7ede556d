// SPDX-License-Identifier: Apache-2.0
//
// A small client of the gateway for tests: a channel, a token, a session, and calls that answer
// their status. The wire as a broker sees it. With two gateways its calls take turns.
//
// Threads: one; the watch is read by its caller.
// Ownership: owns channel and stubs.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "airstore/storage/v2/storage.grpc.pb.h"

namespace airstore::gateway {

namespace wire = ::airstore::storage::v2;

class Client {
 public:
  Client(const std::string& address, std::string token, std::string session,
         const std::string& other = "")
      : session_id(std::move(session)),
        token_(std::move(token)),
        channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())),
        storage(wire::Storage::NewStub(channel_)),
        admin(wire::Admin::NewStub(channel_)) {
    if (other.empty()) return;
    const auto second = grpc::CreateChannel(other, grpc::InsecureChannelCredentials());
    other_storage_ = wire::Storage::NewStub(second);
    other_admin_ = wire::Admin::NewStub(second);
  }

  std::unique_ptr<grpc::ClientContext> Context() const {
    auto context = std::make_unique<grpc::ClientContext>();
    context->AddMetadata("authorization", "Bearer " + token_);
    context->set_wait_for_ready(true);
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return context;
  }

  // Any unary call: client.Call(&wire::Storage::Stub::Fetch, request, &response).
  template <typename Service, typename Request, typename Response>
  grpc::Status Call(grpc::Status (Service::*method)(grpc::ClientContext*, const Request&,
                                                    Response*),
                    const Request& request, Response* response) {
    auto context = Context();
    return (StubOf<Service>().*method)(context.get(), request, response);
  }

  grpc::Status Open(const std::string& workspace = "") {
    wire::OpenSessionRequest request;
    request.set_workspace(workspace);
    request.set_session_id(session_id);
    request.set_protocol_revision(1);
    request.set_want_write_lease(want_lease);
    opened.Clear();
    return Call(&wire::Storage::Stub::OpenSession, request, &opened);
  }

  // Adds a mutation with the next sequence.
  wire::Mutation* Add(wire::ApplyRequest* request) {
    request->set_session_id(session_id);
    wire::Mutation* mutation = request->add_mutations();
    mutation->set_sequence(++sequence);
    mutation->set_time_ns(1000);
    return mutation;
  }
  void AddFile(wire::ApplyRequest* request, const std::string& name, uint64_t ino,
               const std::string& data) {
    wire::Create* create = Add(request)->mutable_create();
    create->set_parent(1);
    create->set_name(name);
    create->set_inode(ino);
    create->set_mode(0100644);
    if (data.empty()) return;
    wire::Write* write = Add(request)->mutable_write();
    write->set_inode(ino);
    wire::Extent* extent = write->add_extents();
    extent->set_length(data.size());
    extent->set_data(data);
  }
  grpc::Status Apply(const wire::ApplyRequest& request, wire::ApplyResponse* response) {
    return Call(&wire::Storage::Stub::Apply, request, response);
  }

  wire::ResolveResult Lookup(const std::string& name, uint64_t inline_bytes = 0) {
    wire::ResolveRequest request;
    wire::ResolveResponse response;
    request.set_session_id(session_id);
    wire::LookupItem* item = request.add_items()->mutable_lookup();
    item->set_parent(1);
    item->set_name(name);
    item->set_inline_bytes(inline_bytes);
    const auto status = Call(&wire::Storage::Stub::Resolve, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.results_size() == 1 ? response.results(0) : wire::ResolveResult();
  }

  const std::string session_id;
  bool want_lease = false;
  uint64_t sequence = 0;
  wire::OpenSessionResponse opened;

 private:
  template <typename Service>
  Service& StubOf() {
    turn_ = !turn_ && other_storage_;
    if constexpr (std::is_same_v<Service, wire::Storage::Stub>) {
      return turn_ ? *other_storage_ : *storage;
    } else {
      return turn_ ? *other_admin_ : *admin;
    }
  }

  const std::string token_;
  std::shared_ptr<grpc::Channel> channel_;
  bool turn_ = false;
  std::unique_ptr<wire::Storage::Stub> other_storage_;
  std::unique_ptr<wire::Admin::Stub> other_admin_;

 public:
  std::unique_ptr<wire::Storage::Stub> storage;
  std::unique_ptr<wire::Admin::Stub> admin;
};

}  // namespace airstore::gateway
