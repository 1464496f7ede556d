// SPDX-License-Identifier: Apache-2.0
//
// What comes over the wire of a v1 gateway that means no good, or is of another mind.
#include "broker/v1/grpc_context_client.h"

#include <airstore/v1/context.grpc.pb.h>
#include <airstore/v1/filesystem.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <mutex>
#include <thread>

#include "broker/v1/directory_id.h"
#include "broker/v1/metadata_engine.h"
#include "tests/unit/broker/run_task.h"

namespace airstore::broker::v1 {
namespace {

namespace wire = ::context;

class Service final : public wire::ContextService::Service {
 public:
  std::function<grpc::Status(wire::ContextStatResponse*)> stat;
  std::function<void(wire::ContextReadDirResponse*)> read_dir;
  std::function<void(wire::ListTreeResponse*)> list_tree;
  std::function<void(wire::ContextReadResponse*)> read;
  std::function<void(wire::ContextWriteResponse*)> write;
  std::function<void(wire::ContextReadlinkResponse*)> readlink;
  std::multimap<std::string, std::string> metadata;  // of the last call
  std::string trailing_errno;

  grpc::Status Stat(grpc::ServerContext* call, const wire::ContextStatRequest*,
                    wire::ContextStatResponse* answer) override {
    Note(call);
    return stat(answer);
  }
  grpc::Status ReadDir(grpc::ServerContext*, const wire::ContextReadDirRequest*,
                       wire::ContextReadDirResponse* answer) override {
    return read_dir(answer), grpc::Status::OK;
  }
  grpc::Status ListTree(grpc::ServerContext*, const wire::ListTreeRequest*,
                        wire::ListTreeResponse* answer) override {
    return list_tree(answer), grpc::Status::OK;
  }
  grpc::Status Read(grpc::ServerContext*, const wire::ContextReadRequest*,
                    wire::ContextReadResponse* answer) override {
    return read(answer), grpc::Status::OK;
  }
  grpc::Status Write(grpc::ServerContext*, const wire::ContextWriteRequest*,
                     wire::ContextWriteResponse* answer) override {
    return write(answer), grpc::Status::OK;
  }
  grpc::Status Create(grpc::ServerContext* call, const wire::ContextCreateRequest*,
                      wire::ContextCreateResponse* answer) override {
    Note(call);
    answer->set_ok(true);
    return grpc::Status::OK;
  }
  grpc::Status Readlink(grpc::ServerContext*, const wire::ContextReadlinkRequest*,
                        wire::ContextReadlinkResponse* answer) override {
    return readlink(answer), grpc::Status::OK;
  }

 private:
  void Note(grpc::ServerContext* call) {
    metadata.clear();
    for (const auto& [key, value] : call->client_metadata()) {
      metadata.emplace(std::string(key.data(), key.size()),
                       std::string(value.data(), value.size()));
    }
    if (!trailing_errno.empty()) call->AddTrailingMetadata("x-airstore-errno", trailing_errno);
  }
};

class Metadata final : public ::filesystem::FilesystemService::Service {
 public:
  std::string asked;
  grpc::Status ReadDir(grpc::ServerContext*, const ::filesystem::ReadDirRequest* request,
                       ::filesystem::ReadDirResponse* answer) override {
    asked = request->path();
    answer->set_ok(true);
    auto* entry = answer->add_entries();
    entry->set_name("d");
    entry->set_is_dir(true);
    entry->set_mode(S_IFDIR | 0755);
    return grpc::Status::OK;
  }
  grpc::Status Stat(grpc::ServerContext*, const ::filesystem::StatRequest* request,
                    ::filesystem::StatResponse* answer) override {
    asked = request->path();
    answer->set_ok(false);
    answer->set_error("not found");
    return grpc::Status::OK;
  }
};

class GrpcContextClientTest : public testing::Test {
 protected:
  void Serve(bool with_context, bool with_metadata) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.SetMaxSendMessageSize(-1);
    if (with_context) builder.RegisterService(&service_);
    if (with_metadata) builder.RegisterService(&metadata_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  void SetUp() override { Serve(true, false); }
  void TearDown() override {
    client_.reset();
    pool_.Shutdown();
    server_->Shutdown();
  }
  ContextClient& Client(std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
    auto channel = pool_.Get(address_, Speech::kV1);
    EXPECT_TRUE(channel.value);
    client_ = MakeGrpcContextClient(loop_.get_executor(), *channel.value, "secret", timeout);
    return *client_;
  }
  template <typename T>
  auto Run(Task<T> task) {
    return RunTask(loop_, std::move(task));
  }
  void Answer(int64_t size, uint32_t mode, bool is_dir = false, bool is_link = false) {
    service_.stat = [=](wire::ContextStatResponse* answer) {
      answer->set_ok(true);
      answer->mutable_info()->set_size(size);
      answer->mutable_info()->set_mode(mode);
      answer->mutable_info()->set_is_dir(is_dir);
      answer->mutable_info()->set_is_link(is_link);
      answer->mutable_info()->set_mtime(-5);
      return grpc::Status::OK;
    };
  }

  boost::asio::io_context loop_{1};
  GatewayChannelPool pool_{GatewayTls{}};
  Service service_;
  Metadata metadata_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<ContextClient> client_;
};

TEST_F(GrpcContextClientTest, SendsTheTokenAndWhatIsExclusive) {
  Answer(3, S_IFREG | 0644);
  ContextClient& client = Client();
  ASSERT_TRUE(Run(client.Stat("a")));
  EXPECT_EQ(service_.metadata.find("authorization")->second, "Bearer secret");
  EXPECT_EQ(service_.metadata.count("x-airstore-exclusive"), 0u);
  EXPECT_EQ(service_.metadata.count("x-airstore-session"), 0u);
  ASSERT_TRUE(Run(client.Create("a", 0644, true)));
  EXPECT_EQ(service_.metadata.find("x-airstore-exclusive")->second, "1");
  client.SetToken("another");
  ASSERT_TRUE(Run(client.Stat("a")));
  EXPECT_EQ(service_.metadata.find("authorization")->second, "Bearer another");
}

TEST_F(GrpcContextClientTest, SenselessAttributesAreNotBelieved) {
  ContextClient& client = Client();
  const auto code = [&] {
    auto info = Run(client.Stat("a"));
    return info ? 0 : info.error().code;
  };
  Answer(-1, S_IFREG | 0644);
  EXPECT_EQ(code(), EPROTO);
  Answer(INT64_MAX, S_IFREG | 0644);
  EXPECT_EQ(code(), EPROTO);
  Answer(0, S_IFREG | 0644, true);
  EXPECT_EQ(code(), EPROTO);
  Answer(0, S_IFDIR | 0755, false);
  EXPECT_EQ(code(), EPROTO);
  Answer(0, S_IFCHR | 0644);
  EXPECT_EQ(code(), EPROTO);
  service_.stat = [](wire::ContextStatResponse* answer) {
    answer->set_ok(true);
    return grpc::Status::OK;
  };
  EXPECT_EQ(code(), EPROTO);
  Answer(7, 0xFFFFFFFF & ~S_IFMT);
  auto info = Run(client.Stat("a"));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->mode, S_IFREG | 07777u);
  EXPECT_EQ(info->mtime_s, 0);
}

TEST_F(GrpcContextClientTest, NamesThatNoDirectoryHasAreLeftOut) {
  service_.read_dir = [](wire::ContextReadDirResponse* answer) {
    answer->set_ok(true);
    for (const std::string name : {"", ".", "..", "a/b", "good"})
      answer->add_entries()->set_name(name);
    answer->add_entries()->set_name(std::string(300, 'n'));
    answer->add_entries()->set_name(std::string("n\0n", 3));
  };
  auto entries = Run(Client().ReadDir(""));
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ(entries->front().name, "good");
}

TEST_F(GrpcContextClientTest, PagesThatLeadNowhereEnd) {
  service_.list_tree = [](wire::ListTreeResponse* answer) {
    answer->set_ok(true);
    answer->set_truncated(true);
    answer->set_next_token("same");
  };
  ContextClient& client = Client();
  EXPECT_TRUE(Run(client.ListTree("", 1, 1000, "")));
  auto again = Run(client.ListTree("", 1, 1000, "same"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, EPROTO);
}

TEST_F(GrpcContextClientTest, MoreOrLessThanAskedForIsNotTaken) {
  service_.read = [](wire::ContextReadResponse* answer) {
    answer->set_ok(true);
    answer->set_data("12345");
  };
  ContextClient& client = Client();
  EXPECT_EQ(Run(client.Read("a", 0, 4)).error().code, EPROTO);
  EXPECT_EQ(*Run(client.Read("a", 0, 10)), "12345");
  service_.write = [](wire::ContextWriteResponse* answer) {
    answer->set_ok(true);
    answer->set_written(3);
  };
  EXPECT_EQ(Run(client.Write("a", 0, "1234")).error().code, EIO);
  EXPECT_TRUE(Run(client.Write("a", 0, "123")));
  service_.readlink = [](wire::ContextReadlinkResponse* answer) { answer->set_ok(true); };
  EXPECT_EQ(Run(client.Readlink("a")).error().code, EPROTO);
}

TEST_F(GrpcContextClientTest, RefusalsAndFailuresAreToldApart) {
  ContextClient& client = Client();
  const auto code = [&](bool ok, const std::string& text, const grpc::Status& status) {
    service_.stat = [=](wire::ContextStatResponse* answer) {
      answer->set_ok(ok);
      answer->set_error(text);
      return status;
    };
    auto info = Run(client.Stat("a"));
    return info ? 0 : info.error().code;
  };
  EXPECT_EQ(code(false, "not found", grpc::Status::OK), ENOENT);
  EXPECT_FALSE(client.manners().exact);
  EXPECT_EQ(code(false, "connection pool exhausted", grpc::Status::OK), EIO);
  EXPECT_EQ(code(true, "", {grpc::StatusCode::UNAVAILABLE, "away"}), EAGAIN);
  EXPECT_EQ(code(true, "", {grpc::StatusCode::UNAUTHENTICATED, "invalid token"}), EACCES);
  EXPECT_TRUE(client.refused_token());
  EXPECT_EQ(code(true, "", {grpc::StatusCode::UNIMPLEMENTED, ""}), ENOSYS);
  service_.trailing_errno = "20";
  EXPECT_EQ(code(false, "who knows", grpc::Status::OK), ENOTDIR);
  EXPECT_TRUE(client.manners().exact);
  EXPECT_FALSE(client.refused_token());
  service_.trailing_errno = "nonsense";
  EXPECT_EQ(code(false, "not found", grpc::Status::OK), ENOENT);
}

TEST_F(GrpcContextClientTest, ASlowAnswerIsNone) {
  service_.stat = [](wire::ContextStatResponse*) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run(Client(std::chrono::milliseconds(50)).Stat("a")).error().code, EAGAIN);
}

TEST_F(GrpcContextClientTest, AnAnswerThatIsTooLargeIsNotAskedForAgain) {
  service_.read = [](wire::ContextReadResponse* answer) {
    answer->set_ok(true);
    answer->set_data(std::string(65u << 20, 'x'));
  };
  EXPECT_EQ(Run(Client().Read("a", 0, kMostContent)).error().code, EFBIG);
}

TEST_F(GrpcContextClientTest, WithoutStorageTheMetadataIsShown) {
  server_->Shutdown();
  Serve(false, true);
  auto channel = pool_.Get(address_, Speech::kV1);
  ASSERT_TRUE(channel.value);
  client_ = MakeClientWithMetadata(MakeGrpcContextClient(loop_.get_executor(), *channel.value,
                                                         "secret", std::chrono::seconds(60)),
                                   MakeGrpcMetadataEngine(loop_.get_executor(), *channel.value,
                                                          "secret", std::chrono::seconds(60)));
  auto root = Run(client_->Stat(""));
  ASSERT_TRUE(root) << root.error().ToString();
  EXPECT_EQ(root->mode, S_IFDIR | 0755u);
  EXPECT_TRUE(client_->manners().read_only);
  auto entries = Run(client_->ReadDir(""));
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ(entries->front().name, "d");
  EXPECT_EQ(metadata_.asked, RootDirectoryId());
  EXPECT_EQ(Run(client_->Stat("d/x")).error().code, ENOENT);
  EXPECT_EQ(metadata_.asked, RootDirectoryId() + "/d/x");
  EXPECT_EQ(Run(client_->Write("d", 0, "x")).error().code, EROFS);
}

}  // namespace
}  // namespace airstore::broker::v1
