// SPDX-License-Identifier: Apache-2.0
//
// A stand-in for an original gateway, as a program: original::Gateway behind
// context.ContextService, in memory. It prints its port to a file, and takes any token.
//
//   original-gateway PORT-FILE [first-era]
#include <airstore/v1/context.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/broker/v1/original.h"

namespace airstore::original {
namespace {

namespace wire = ::context;

class Service final : public wire::ContextService::Service {
 public:
  explicit Service(Gateway* gateway) : gateway_(gateway) {}

  grpc::Status Stat(grpc::ServerContext* call, const wire::ContextStatRequest* asked,
                    wire::ContextStatResponse* answer) override {
    Told told;
    if (!Say(
            call, [&] { return gateway_->Stat(asked->path(), &told); }, answer)) {
      return grpc::Status::OK;
    }
    answer->mutable_info()->set_size(static_cast<int64_t>(told.size));
    answer->mutable_info()->set_mode(told.mode);
    answer->mutable_info()->set_mtime(told.mtime_s);
    answer->mutable_info()->set_is_dir(S_ISDIR(told.mode));
    answer->mutable_info()->set_is_link(S_ISLNK(told.mode));
    return grpc::Status::OK;
  }
  grpc::Status ReadDir(grpc::ServerContext* call, const wire::ContextReadDirRequest* asked,
                       wire::ContextReadDirResponse* answer) override {
    std::vector<Told> told;
    Say(
        call, [&] { return gateway_->ReadDir(asked->path(), &told); }, answer);
    for (const Told& one : told) {
      wire::ContextDirEntry* entry = answer->add_entries();
      entry->set_name(one.name);
      entry->set_mode(one.mode);
      entry->set_is_dir(S_ISDIR(one.mode));
      entry->set_size(static_cast<int64_t>(one.size));
      entry->set_mtime(one.mtime_s);
    }
    return grpc::Status::OK;
  }
  grpc::Status ListTree(grpc::ServerContext* call, const wire::ListTreeRequest* asked,
                        wire::ListTreeResponse* answer) override {
    std::vector<Told> told;
    std::string next;
    Say(
        call,
        [&] {
          return gateway_->ListTree(asked->path(), asked->max_keys(), asked->continuation_token(),
                                    &told, &next);
        },
        answer);
    for (const Told& one : told) {
      wire::TreeEntry* entry = answer->add_entries();
      entry->set_path(one.name);
      entry->set_mode(one.mode);
      entry->set_size(static_cast<int64_t>(one.size));
      entry->set_mtime(one.mtime_s);
    }
    answer->set_next_token(next);
    answer->set_truncated(!next.empty());
    return grpc::Status::OK;
  }
  grpc::Status Read(grpc::ServerContext* call, const wire::ContextReadRequest* asked,
                    wire::ContextReadResponse* answer) override {
    Say(
        call,
        [&] {
          return gateway_->Read(asked->path(), asked->offset(), asked->length(),
                                answer->mutable_data());
        },
        answer);
    return grpc::Status::OK;
  }
  grpc::Status Write(grpc::ServerContext* call, const wire::ContextWriteRequest* asked,
                     wire::ContextWriteResponse* answer) override {
    if (Say(
            call, [&] { return gateway_->Write(asked->path(), asked->offset(), asked->data()); },
            answer)) {
      answer->set_written(static_cast<int32_t>(asked->data().size()));
    }
    return grpc::Status::OK;
  }
  grpc::Status Create(grpc::ServerContext* call, const wire::ContextCreateRequest* asked,
                      wire::ContextCreateResponse* answer) override {
    Say(
        call, [&] { return gateway_->Create(asked->path(), asked->mode()); }, answer);
    return grpc::Status::OK;
  }
  grpc::Status Mkdir(grpc::ServerContext* call, const wire::ContextMkdirRequest* asked,
                     wire::ContextMkdirResponse* answer) override {
    Say(
        call, [&] { return gateway_->Mkdir(asked->path(), asked->mode()); }, answer);
    return grpc::Status::OK;
  }
  grpc::Status Delete(grpc::ServerContext* call, const wire::ContextDeleteRequest* asked,
                      wire::ContextDeleteResponse* answer) override {
    Say(
        call, [&] { return gateway_->Delete(asked->path(), asked->recursive()); }, answer);
    return grpc::Status::OK;
  }
  grpc::Status Rename(grpc::ServerContext* call, const wire::ContextRenameRequest* asked,
                      wire::ContextRenameResponse* answer) override {
    Say(
        call, [&] { return gateway_->Rename(asked->old_path(), asked->new_path()); }, answer);
    return grpc::Status::OK;
  }
  grpc::Status Truncate(grpc::ServerContext* call, const wire::ContextTruncateRequest* asked,
                        wire::ContextTruncateResponse* answer) override {
    Say(
        call, [&] { return gateway_->Truncate(asked->path(), asked->size()); }, answer);
    return grpc::Status::OK;
  }
  grpc::Status Symlink(grpc::ServerContext* call, const wire::ContextSymlinkRequest* asked,
                       wire::ContextSymlinkResponse* answer) override {
    Say(
        call, [&] { return gateway_->Symlink(asked->target(), asked->link_path()); }, answer);
    return grpc::Status::OK;
  }
  grpc::Status Readlink(grpc::ServerContext* call, const wire::ContextReadlinkRequest* asked,
                        wire::ContextReadlinkResponse* answer) override {
    Say(
        call, [&] { return gateway_->Readlink(asked->path(), answer->mutable_target()); }, answer);
    return grpc::Status::OK;
  }

 private:
  template <typename Call, typename Answer>
  bool Say(grpc::ServerContext* context, Call call, Answer* answer) {
    const auto token = context->client_metadata().find("authorization");
    const bool known = token != context->client_metadata().end() &&
                       token->second.starts_with("Bearer ") && token->second.size() > 7;
    const std::string refused = known ? call() : std::string("no auth context");
    answer->set_ok(refused.empty());
    answer->set_error(refused);
    return refused.empty();
  }
  Gateway* gateway_;
};

int Run(const char* port_file, bool first_era) {
  Gateway gateway;
  gateway.first_era = first_era;
  gateway.clock = [] { return static_cast<int64_t>(time(nullptr)); };
  Service service(&gateway);
  grpc::ServerBuilder builder;
  int port = 0;
  constexpr int kMost = 16 << 20;
  builder.SetMaxReceiveMessageSize(kMost);
  builder.SetMaxSendMessageSize(kMost);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  const std::string fresh = std::string(port_file) + ".new";
  std::ofstream(fresh) << port << "\n";
  if (rename(fresh.c_str(), port_file) != 0) return 1;
  server->Wait();
  return 0;
}

}  // namespace
}  // namespace airstore::original

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return airstore::original::Run(argv[1], argc > 2 && strcmp(argv[2], "first-era") == 0);
}
