// SPDX-License-Identifier: Apache-2.0
//
// Tools, sources and tasks over the wire, against services that do as the test says.
#include "broker/grpc_services.h"

#include <airstore/v1/gateway.grpc.pb.h>
#include <airstore/v1/sources.grpc.pb.h>
#include <airstore/v1/tools.grpc.pb.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <map>
#include <mutex>

#include "broker/gateway_channel.h"
#include "broker/grpc_gateway.h"
#include "tests/unit/broker/run_task.h"

namespace airstore::broker {
namespace {

class Headers {
 public:
  void Take(const grpc::ServerContext& context) {
    const std::lock_guard lock(mutex_);
    headers_.clear();
    for (const auto& [key, value] : context.client_metadata()) {
      headers_[{key.data(), key.size()}] = {value.data(), value.size()};
    }
  }
  bool Has(const std::string& key) { return Text().contains(key); }
  std::string Of(const std::string& key) { return Text()[key]; }

 private:
  std::map<std::string, std::string> Text() {
    const std::lock_guard lock(mutex_);
    return headers_;
  }
  std::mutex mutex_;
  std::map<std::string, std::string> headers_;
};

class Tools final : public ::tools::ToolService::Service {
 public:
  grpc::Status ListTools(grpc::ServerContext* context, const ::tools::ListToolsRequest*,
                         ::tools::ListToolsResponse* response) override {
    headers.Take(*context);
    *response = list;
    return status;
  }
  grpc::Status ExecuteTool(grpc::ServerContext* context, const ::tools::ExecuteToolRequest* request,
                           grpc::ServerWriter<::tools::ExecuteToolResponse>* writer) override {
    ::tools::ExecuteToolResponse piece;
    for (const std::string& argument : request->args()) {
      piece.set_stream(argument == "err" ? ::tools::ExecuteToolResponse::STDERR
                                         : ::tools::ExecuteToolResponse::STDOUT);
      piece.set_data(argument);
      writer->Write(piece);
    }
    if (request->name() == "forever") {
      while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      cancelled = true;
      return grpc::Status::CANCELLED;
    }
    if (request->name() == "cut") return grpc::Status::OK;
    piece.Clear();
    piece.set_done(true);
    piece.set_exit_code(7);
    piece.set_error("why");
    writer->Write(piece);
    return grpc::Status::OK;
  }

  Headers headers;
  grpc::Status status;
  ::tools::ListToolsResponse list;
  std::atomic<bool> cancelled{false};
};

class Sources final : public ::sources::SourceService::Service {
 public:
  grpc::Status ReadDir(grpc::ServerContext* context, const ::sources::SourceReadDirRequest*,
                       ::sources::SourceReadDirResponse* response) override {
    headers.Take(*context);
    *response = list;
    return grpc::Status::OK;
  }
  grpc::Status Read(grpc::ServerContext*, const ::sources::SourceReadRequest* request,
                    ::sources::SourceReadResponse* response) override {
    response->set_ok(request->path() == "there");
    if (!response->ok()) response->set_error(request->path());
    response->set_data(std::string(static_cast<size_t>(request->length()), 'd'));
    return grpc::Status::OK;
  }

  Headers headers;
  ::sources::SourceReadDirResponse list;
};

class GrpcServicesTest : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&tools_);
    builder.RegisterService(&sources_);
    server_ = builder.BuildAndStart();
    auto channel = pool_.Get("127.0.0.1:" + std::to_string(port));
    ASSERT_TRUE(channel.value);
    gateway_ = MakeGrpcGateway(loop_.get_executor(), *channel.value, "secret", {});
    services_ = gateway_->services();
    ASSERT_TRUE(services_);
  }
  void TearDown() override {
    pool_.Shutdown();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  boost::asio::io_context loop_{1};
  GatewayChannelPool pool_{GatewayTls{}};
  Tools tools_;
  Sources sources_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<Gateway> gateway_;
  std::shared_ptr<GatewayServices> services_;
};

TEST_F(GrpcServicesTest, ListsToolsWithTheToken) {
  tools_.list.set_ok(true);
  ::tools::ToolInfo* tool = tools_.list.add_tools();
  tool->set_name("grep");
  tool->set_local_command("/bin/grep");
  const auto tools = RunTask(loop_, services_->ListTools());
  ASSERT_TRUE(tools) << tools.error().ToString();
  ASSERT_EQ(tools->size(), 1u);
  EXPECT_EQ(tools->front().name, "grep");
  EXPECT_EQ(tools->front().local_command, "/bin/grep");
  EXPECT_EQ(tools_.headers.Of("authorization"), "Bearer secret");
  gateway_->SetToken("other");
  ASSERT_TRUE(RunTask(loop_, services_->ListTools()));
  EXPECT_EQ(tools_.headers.Of("authorization"), "Bearer other");
}

TEST_F(GrpcServicesTest, SendsWhatWasConfigured) {
  ServiceSettings settings;
  settings.access_session = "s-1";
  settings.compression = "strip";
  services_->Configure(settings);
  sources_.list.set_ok(true);
  ASSERT_TRUE(RunTask(loop_, services_->ListSource("")));
  EXPECT_EQ(sources_.headers.Of("x-airstore-session"), "s-1");
  EXPECT_EQ(sources_.headers.Of("x-airstore-compression"), "strip");
  EXPECT_EQ(sources_.headers.Of("x-airstore-access-origin"), "fuse");
  // With others gRPC would end the process.
  settings.access_session = "s-\xc3\xa4\n";
  services_->Configure(settings);
  services_->SetToken("secr\xc3\xa9t");
  ASSERT_TRUE(RunTask(loop_, services_->ListSource("")));
  EXPECT_EQ(sources_.headers.Of("x-airstore-session"), "s-???");
  EXPECT_EQ(sources_.headers.Of("authorization"), "Bearer secr??t");
  services_->SetToken("secret");
  settings.access_log = false;
  settings.compression = "off";
  services_->Configure(settings);
  ASSERT_TRUE(RunTask(loop_, services_->ListSource("")));
  EXPECT_FALSE(sources_.headers.Has("x-airstore-session"));
  EXPECT_FALSE(sources_.headers.Has("x-airstore-access-origin"));
  EXPECT_FALSE(sources_.headers.Has("x-airstore-compression"));
}

TEST_F(GrpcServicesTest, FailuresBecomeErrnos) {
  tools_.list.set_error("no auth context\x1b[31m");
  const auto refused = RunTask(loop_, services_->ListTools());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EREMOTEIO);
  EXPECT_EQ(refused.error().message.find('\x1b'), std::string::npos) << "for terminals";
  EXPECT_EQ(RunTask(loop_, services_->ReadSource("file not found", 0, 1)).error().code, ENOENT);
  EXPECT_EQ(RunTask(loop_, services_->ReadSource("rate limited", 0, 1)).error().code, EREMOTEIO);
  EXPECT_EQ(RunTask(loop_, services_->ListTasks()).error().code, ENOSYS);
  EXPECT_EQ(RunTask(loop_, services_->CreateView("a", "b", "")).error().code, ENOSYS);
  tools_.status = {grpc::StatusCode::UNAVAILABLE, "away"};
  EXPECT_EQ(RunTask(loop_, services_->ListTools()).error().code, EAGAIN);
  tools_.status = {grpc::StatusCode::UNAUTHENTICATED, "invalid token"};
  EXPECT_EQ(RunTask(loop_, services_->ListTools()).error().code, EACCES);
}

TEST_F(GrpcServicesTest, AnswersThatMakeNoSenseAreMadeSafe) {
  sources_.list.set_ok(true);
  ::sources::SourceDirEntry* entry = sources_.list.add_entries();
  entry->set_name("x");
  entry->set_size(-5);
  entry->set_mtime(INT64_MAX);
  entry->set_mode(UINT32_MAX);
  const auto listed = RunTask(loop_, services_->ListSource("any"));
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().size, 0u);
  EXPECT_EQ(listed->front().mtime_ns, 0);
  EXPECT_EQ(listed->front().mode, S_IFREG | 07777u);
}

TEST_F(GrpcServicesTest, ToolsSayThingsInOrderAndHowTheyEnded) {
  const auto all = [](GatewayServices* services, std::string name) -> Task<std::string> {
    const auto run = services->RunTool(name, {"a", "err", "b"});
    std::string said;
    for (;;) {
      auto output = co_await run->Next();
      if (!output) co_return said + "!" + std::to_string(output.error().code);
      if (output->done) co_return said + std::to_string(output->exit_code) + output->error;
      said += (output->stream == ToolOutput::Stream::kErr ? "2:" : "1:") + output->data + " ";
    }
  };
  EXPECT_EQ(RunTask(loop_, all(services_.get(), "x")), "1:a 2:err 1:b 7why");
  EXPECT_EQ(RunTask(loop_, all(services_.get(), "cut")),
            "1:a 2:err 1:b !" + std::to_string(EREMOTEIO));
}

TEST_F(GrpcServicesTest, WhoLetsGoOfARunEndsIt) {
  const auto begin = [](GatewayServices* services) -> Task<bool> {
    const auto run = services->RunTool("forever", {"a"});
    auto output = co_await run->Next();
    co_return output && output->data == "a";
  };
  EXPECT_TRUE(RunTask(loop_, begin(services_.get())));
  for (int i = 0; i < 5000 && !tools_.cancelled; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_TRUE(tools_.cancelled);
}

}  // namespace
}  // namespace airstore::broker
