// SPDX-License-Identifier: Apache-2.0
//
// Every call that the broker makes of a v1 gateway, answered with garbage, with half an answer,
// with one that says nothing, with one that is too large, and not at all.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "broker/grpc_services.h"
#include "broker/v1/grpc_context_client.h"
#include "broker/v1/metadata_engine.h"
#include "tests/unit/broker/run_task.h"

namespace airstore::broker::v1 {
namespace {

// Answers any method with the same bytes; without any it lets the caller wait.
class AnyService final : public grpc::CallbackGenericService {
 public:
  std::optional<std::string> answer;  // nothing is under way when it is changed
  std::set<std::string> asked;        // guarded by mutex
  std::mutex mutex;

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(const std::optional<std::string>& answer) {
      if (answer) {
        const grpc::Slice slice(*answer);
        answer_ = grpc::ByteBuffer(&slice, 1);
      }
      says_ = answer.has_value();
      StartRead(&request_);
    }
    void OnReadDone(bool ok) override {
      if (ok && says_) {
        StartWriteAndFinish(&answer_, grpc::WriteOptions(), grpc::Status::OK);
      } else if (!ok) {
        Finish(grpc::Status::CANCELLED);
      }
    }
    void OnCancel() override {
      if (!says_) Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer request_;
    grpc::ByteBuffer answer_;
    bool says_ = false;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const std::lock_guard lock(mutex);
    asked.insert(context->method());
    return new Reactor(answer);
  }
};

class BadAnswers : public testing::Test {
 protected:
  // 0: it was taken for done.
  using Call = std::function<int()>;

  void SetUp() override {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.SetMaxSendMessageSize(-1);
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  void TearDown() override {
    client_.reset();
    engine_.reset();
    services_.reset();
    pool_.Shutdown();
    server_->Shutdown(std::chrono::system_clock::now());
  }
  void Connect(std::chrono::milliseconds timeout) {
    auto channel = pool_.Get(address_, Speech::kV1);
    ASSERT_TRUE(channel.value);
    client_ = MakeGrpcContextClient(loop_.get_executor(), *channel.value, "secret", timeout);
    engine_ = MakeGrpcMetadataEngine(loop_.get_executor(), *channel.value, "secret", timeout);
    services_ = MakeGrpcServices({loop_.get_executor(), *channel.value, "secret", timeout});
  }
  template <typename T>
  int CodeOf(Task<Result<T>> task) {
    const Result<T> result = RunTask(loop_, std::move(task));
    return result ? 0 : result.error().code;
  }
  int CodeOfRun() {
    auto next = [](GatewayServices* services) -> Task<Result<ToolOutput>> {
      const auto run = services->RunTool("tool", {"a"});
      for (;;) {
        auto output = co_await run->Next();
        if (!output || output->done) co_return output;
      }
    };
    return CodeOf(next(services_.get()));
  }
  // Those that end when the client's patience does.
  std::vector<std::pair<const char*, Call>> Patient() {
    return {
        {"Stat", [this] { return CodeOf(client_->Stat("a")); }},
        {"ReadDir", [this] { return CodeOf(client_->ReadDir("a")); }},
        {"ListTree", [this] { return CodeOf(client_->ListTree("a", 1, 10, "")); }},
        {"Read", [this] { return CodeOf(client_->Read("a", 0, 10)); }},
        {"Write", [this] { return CodeOf(client_->Write("a", 0, "xyz")); }},
        {"Create", [this] { return CodeOf(client_->Create("a", 0644, true)); }},
        {"Mkdir", [this] { return CodeOf(client_->Mkdir("a", 0755, true)); }},
        {"Delete", [this] { return CodeOf(client_->Delete("a")); }},
        {"Rename", [this] { return CodeOf(client_->Rename("a", "b")); }},
        {"Truncate", [this] { return CodeOf(client_->Truncate("a", 5)); }},
        {"Symlink", [this] { return CodeOf(client_->Symlink("t", "a")); }},
        {"Readlink", [this] { return CodeOf(client_->Readlink("a")); }},
        {"metadata Stat", [this] { return CodeOf(engine_->GetFileMetadata("a")); }},
        {"metadata access", [this] { return CodeOf(engine_->GetDirectoryAccessMetadata("a")); }},
        {"metadata ReadDir", [this] { return CodeOf(engine_->ListDirectory("a")); }},
        {"metadata Mkdir",
         [this] { return CodeOf(engine_->SaveDirectoryAccessMetadata("a", 0755)); }},
        {"metadata Create", [this] { return CodeOf(engine_->SaveFileMetadata("a", 0644)); }},
        {"metadata Rename", [this] { return CodeOf(engine_->RenameDirectory("a", "b")); }},
        {"metadata Remove", [this] { return CodeOf(engine_->DeleteDirectory("a")); }},
        {"ListTools", [this] { return CodeOf(services_->ListTools()); }},
        {"GetToolHelp", [this] { return CodeOf(services_->ToolHelp("tool")); }},
        {"source ReadDir", [this] { return CodeOf(services_->ListSource("mail")); }},
        {"source Stat", [this] { return CodeOf(services_->StatSource("mail")); }},
        {"source Read", [this] { return CodeOf(services_->ReadSource("mail/v/1", 0, 2)); }},
        {"ExecuteView", [this] { return CodeOf(services_->ExecuteView("mail/v")); }},
        {"ListTasks", [this] { return CodeOf(services_->ListTasks()); }},
        {"GetTask", [this] { return CodeOf(services_->GetTask("t")); }},
        {"GetTaskLogs", [this] { return CodeOf(services_->TaskLogs("t")); }},
    };
  }
  std::vector<std::pair<const char*, Call>> All() {
    auto calls = Patient();
    calls.push_back({"CreateView", [this] { return CodeOf(services_->CreateView("a", "b", "")); }});
    calls.push_back({"IngestAccessEvents", [this] { return CodeOf(services_->TellReads({{}})); }});
    calls.push_back({"ExecuteTool", [this] { return CodeOfRun(); }});
    return calls;
  }
  void ExpectRefused(const std::string& answer, const char* what) {
    service_.answer = answer;
    for (const auto& [name, call] : All()) EXPECT_NE(call(), 0) << name << ": " << what;
  }

  boost::asio::io_context loop_{1};
  GatewayChannelPool pool_{GatewayTls{}};
  AnyService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<ContextClient> client_;
  std::unique_ptr<LegacyMetadataEngine> engine_;
  std::shared_ptr<GatewayServices> services_;
};

TEST_F(BadAnswers, AreRefusedByEveryCall) {
  Connect(std::chrono::seconds(60));
  ExpectRefused("\x0a\x7fshort", "a string that is cut off");
  ExpectRefused(std::string("\xff\xff\xff"), "half a tag");
  ExpectRefused("\x08", "a number that is cut off");
  ExpectRefused("\x0b\x0b\x0b", "groups that do not close");
  ExpectRefused("\x08\x01\x1a\x7fshort", "ok, and then half of something");
  EXPECT_EQ(service_.asked.size(), All().size() - 1) << "two of them are one method";
  service_.answer = std::string("\x08\x01\xc2\x3e\x80\x80\x80\x20") + std::string(64u << 20, 'x');
  EXPECT_NE(CodeOf(services_->ListSource("mail")), 0) << "too large";
  EXPECT_NE(CodeOf(client_->ReadDir("a")), 0) << "too large";
  // The connection goes on.
  service_.answer = "\x08\x01";
  EXPECT_EQ(CodeOf(client_->Delete("a")), 0);
  EXPECT_EQ(CodeOf(services_->ListTools()), 0);
}

// It says ok and nothing else: that is an answer only where there is nothing to be said.
TEST_F(BadAnswers, ThatSayNothingAreNotMadeUp) {
  Connect(std::chrono::seconds(60));
  service_.answer = "\x08\x01";
  for (const auto& [name, call] : All()) {
    static const std::set<std::string> kTold = {
        "Stat", "Write", "Readlink", "metadata Stat", "metadata access", "source Stat", "GetTask"};
    if (std::string_view(name) == "ExecuteTool") continue;
    EXPECT_EQ(call() != 0, kTold.contains(name)) << name;
  }
  // Not even that.
  ExpectRefused("", "nothing");
}

TEST_F(BadAnswers, MoreThanWasAskedForIsNotTaken) {
  Connect(std::chrono::seconds(60));
  service_.answer = "\x08\x01\x1a\x03xyz";  // three bytes of data
  EXPECT_NE(CodeOf(services_->ReadSource("mail/v/1", 0, 2)), 0);
  EXPECT_EQ(CodeOf(services_->ReadSource("mail/v/1", 0, 3)), 0);
  EXPECT_NE(CodeOf(client_->Read("a", 0, 2)), 0);
}

TEST_F(BadAnswers, ThatDoNotComeAreNotWaitedFor) {
  Connect(std::chrono::milliseconds(20));
  service_.answer.reset();
  for (const auto& [name, call] : Patient()) EXPECT_EQ(call(), EAGAIN) << name;
}

}  // namespace
}  // namespace airstore::broker::v1
