// SPDX-License-Identifier: Apache-2.0
//
// v1: tools, local ones and those of MCP servers, through a real server.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "airstore/v1/tools.grpc.pb.h"
#include "tests/unit/gateway/v1_bench.h"
#include "tests/v1/real_mcp.h"

namespace airstore::gateway {
namespace {

CommandConfig Shell(const std::string& name, const std::string& script) {
  // What follows the script is $0, then the arguments.
  return {name, {"/bin/sh", "-c", script, name}, "about " + name + "\nmore", "", {}};
}

struct Ran {
  std::string out, err, error;
  int exit_code = -1;
  grpc::Status status;
};

class V1Tools : public V1Bench {
 protected:
  V1Tools() {
    Config& config = server_options_.config;
    config.tools.push_back({Shell("say", "echo \"$@\""), {}});
    config.tools.push_back({Shell("both", "echo out; echo err >&2; exit 7"), {}});
    config.tools.push_back({Shell("signal", "kill -9 $$"), {}});
    config.tools.push_back({Shell("mine", "echo mine"), {"work"}});
    config.tools.push_back({Shell("others", "echo others"), {"other"}});
    config.tools.push_back(
        {Shell("steps", "exec 3<> \"$1\"; echo one; read line <&3; echo two; read line <&3"), {}});
    config.tools.push_back(
        {Shell("forever",
               "sleep 1000 & echo $$ $!; trap 'echo no' TERM; while :; do sleep 1; done"),
         {}});
    config.tools.push_back({Shell("big", "head -c 20000000 /dev/zero"), {}});
    config.tools.push_back({Shell("where", "pwd; echo $COLOUR $AIRSTORE_WORKSPACE"), {}});
    config.tools.back().what.directory = "/usr";
    config.tools.back().what.environment = {{"COLOUR", "red"}};
    config.tools.push_back({{"missing", {"/no/such/program"}, "", "", {}}, {}});
    config.tools.push_back({{"helpful", {"/bin/cat"}, "", "", {}}, {}});
    config.tools.push_back({Shell("looks", "echo looks"), {}});
    config.tools.back().what.for_read_only = true;
    config.tools.push_back({Shell("keys", "echo ${AWS_SECRET_ACCESS_KEY:-none}"), {}});
    config.tools.push_back(
        {{"hangs", {"/bin/sh", "-c", "echo $$ >" + pid_file_ + "; exec sleep 1000"}, "", "", {}},
         {}});
    config.mcp.push_back({{"double", {"python3", AIRSTORE_MCP_DOUBLE}, "", "", {}}, {}});
  }

  void SetUp() override {
    V1Bench::SetUp();
    stub_ = ::tools::ToolService::NewStub(channel_);
  }

  std::unique_ptr<grpc::ClientContext> Context(const std::string& token) {
    auto context = std::make_unique<grpc::ClientContext>();
    if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(100));
    return context;
  }
  Ran Run(const std::string& name, const std::vector<std::string>& arguments = {},
          std::optional<std::string> token = {}) {
    auto context = Context(token.value_or(token_));
    ::tools::ExecuteToolRequest request;
    request.set_name(name);
    for (const std::string& argument : arguments) request.add_args(argument);
    auto stream = stub_->ExecuteTool(context.get(), request);
    Ran ran;
    ::tools::ExecuteToolResponse response;
    int done = 0;
    while (stream->Read(&response)) {
      EXPECT_EQ(done, 0) << "something behind done";
      auto& text = response.stream() == ::tools::ExecuteToolResponse::STDERR ? ran.err : ran.out;
      text += response.data();
      if (!response.done()) continue;
      ++done;
      ran.exit_code = response.exit_code();
      ran.error = response.error();
    }
    ran.status = stream->Finish();
    return ran;
  }
  std::string Help(const std::string& name) {
    auto context = Context(token_);
    ::tools::GetToolHelpRequest request;
    ::tools::GetToolHelpResponse response;
    request.set_name(name);
    EXPECT_TRUE(stub_->GetToolHelp(context.get(), request, &response).ok());
    return response.ok() ? response.help() : "error: " + response.error();
  }

  const std::string pid_file_ = directory_.path() + "/pid";
  std::unique_ptr<::tools::ToolService::Stub> stub_;
};

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(V1Tools, ListsWhatIsForTheWorkspace) {
  auto context = Context(token_);
  ::tools::ListToolsResponse response;
  ASSERT_TRUE(stub_->ListTools(context.get(), {}, &response).ok());
  ASSERT_TRUE(response.ok()) << response.error();
  std::vector<std::string> names;
  for (const auto& tool : response.tools()) names.push_back(tool.name());
  EXPECT_EQ(names, (std::vector<std::string>{"big", "both", "double", "forever", "hangs", "helpful",
                                             "keys", "looks", "mine", "missing", "say", "signal",
                                             "steps", "where"}));
  EXPECT_EQ(response.tools(0).help(), "about big");
  EXPECT_EQ(Help("say"), "about say\nmore");
  EXPECT_TRUE(Contains(Help("helpful"), "Usage: /bin/cat"));
  EXPECT_EQ(Help("others"), "error: tool not found");

  auto anonymous = Context("");
  response.Clear();
  ASSERT_TRUE(stub_->ListTools(anonymous.get(), {}, &response).ok());
  EXPECT_EQ(response.error(), "no auth context");
  EXPECT_EQ(Run("say", {}, "").error, "no auth context");
  EXPECT_EQ(Run("say", {}, "wrong").status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(V1Tools, StreamsAndExitCodesAreThoseOfTheCommand) {
  Ran ran = Run("say", {"a b", "", "*"});
  EXPECT_EQ(ran.out, "a b  *\n");
  EXPECT_EQ(ran.exit_code, 0);
  ran = Run("both");
  EXPECT_EQ(ran.out, "out\n");
  EXPECT_EQ(ran.err, "err\n");
  EXPECT_EQ(ran.exit_code, 7);
  EXPECT_EQ(ran.error, "");
  EXPECT_EQ(Run("signal").exit_code, 128 + 9);
  EXPECT_EQ(Run("where").out, "/usr\nred work\n");
  EXPECT_EQ(Run("big").out.size(), 20'000'000u);
  EXPECT_EQ(Run("others").error, "tool not found");
  EXPECT_EQ(Run("others").exit_code, 1);
  ran = Run("missing");
  EXPECT_EQ(ran.exit_code, 127);
  EXPECT_TRUE(Contains(ran.error, "No such file")) << ran.error;
}

TEST_F(V1Tools, OutputComesWhenItIsMade) {
  const std::string fifo = directory_.path() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  auto context = Context(token_);
  ::tools::ExecuteToolRequest request;
  request.set_name("steps");
  request.add_args(fifo);
  auto stream = stub_->ExecuteTool(context.get(), request);
  ::tools::ExecuteToolResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.data(), "one\n");  // and it waits for us
  std::ofstream(fifo) << "go\n";
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.data(), "two\n");
  std::ofstream(fifo) << "go\n";
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.done());
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(V1Tools, CancellingEndsTheWholeGroup) {
  auto context = Context(token_);
  ::tools::ExecuteToolRequest request;
  request.set_name("forever");
  auto stream = stub_->ExecuteTool(context.get(), request);
  ::tools::ExecuteToolResponse response;
  ASSERT_TRUE(stream->Read(&response));
  std::istringstream text(response.data());
  pid_t shell = 0, child = 0;
  ASSERT_TRUE(text >> shell >> child);
  ASSERT_EQ(kill(child, 0), 0);
  context->TryCancel();
  // Also who does not listen to SIGTERM; whose parent is gone, init reaps.
  const auto gone = [](pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string id, name, state;
    return !(stat >> id >> name >> state) || state == "Z";
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!(gone(shell) && gone(child)) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_TRUE(gone(shell));
  EXPECT_TRUE(gone(child));
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(V1Tools, StoppingTheServerEndsWhatRuns) {
  auto context = Context(token_);
  ::tools::ExecuteToolRequest request;
  request.set_name("forever");
  auto stream = stub_->ExecuteTool(context.get(), request);
  ::tools::ExecuteToolResponse response;
  ASSERT_TRUE(stream->Read(&response));
  server_.reset();
  while (stream->Read(&response)) {
  }
  (void)stream->Finish();
}

TEST_F(V1Tools, AHundredRunAtOnce) {
  // None of them ends before all have begun.
  const std::string fifo = directory_.path() + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  struct Open {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReader<::tools::ExecuteToolResponse>> stream;
  };
  std::vector<Open> runs;
  ::tools::ExecuteToolRequest request;
  request.set_name("steps");
  request.add_args(fifo);
  for (int i = 0; i < 100; ++i) {
    auto context = Context(token_);
    auto stream = stub_->ExecuteTool(context.get(), request);
    runs.push_back({std::move(context), std::move(stream)});
  }
  ::tools::ExecuteToolResponse response;
  for (Open& run : runs) {
    ASSERT_TRUE(run.stream->Read(&response));
    EXPECT_EQ(response.data(), "one\n");
  }
  std::atomic<bool> all_read{false};
  std::thread feeder([&] {
    UniqueFd fd(open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    while (!all_read) {
      (void)!write(fd.get(), "go\n", 3);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  for (Open& run : runs) {
    std::string out;
    bool done = false;
    while (run.stream->Read(&response)) {
      out += response.data();
      done = response.done() && response.exit_code() == 0;
    }
    EXPECT_EQ(out, "two\n");
    EXPECT_TRUE(done);
    EXPECT_TRUE(run.stream->Finish().ok());
  }
  all_read = true;
  feeder.join();
}

TEST_F(V1Tools, McpToolsAreSubcommands) {
  const std::string help = Help("double");
  EXPECT_TRUE(Contains(help, "  echo  Says it again.\n")) << help;
  EXPECT_TRUE(Contains(help, "  big  big\n")) << help;  // of the second page
  EXPECT_EQ(Run("double", {"--help"}).out, help);
  Ran ran = Run("double");
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.err, help);
  ran = Run("double", {"echo", "--help"});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_TRUE(Contains(ran.out, "  --message  string, required\n      what to say\n")) << ran.out;
  EXPECT_TRUE(Contains(ran.out, "  --tone  string, one of low, high\n")) << ran.out;
  EXPECT_TRUE(Contains(ran.out, "  --times  integer, default 1\n")) << ran.out;

  EXPECT_EQ(Run("double", {"echo", "--message", "hi"}).out, "hi\n");
  EXPECT_EQ(Run("double", {"echo", "--message=--x", "--times", "2"}).out, "--x--x\n");
  EXPECT_EQ(Run("double", {"echo", "--message", "m", "--loud", "--tone", "low", "--tags", "a",
                           "--tags", "b", "--extra", "{\"k\": [1]}"})
                .out,
            "m {\"extra\": {\"k\": [1]}, \"loud\": true, \"tags\": [\"a\", \"b\"], \"tone\": "
            "\"low\"}\n");
  EXPECT_EQ(Run("double", {"echo", "--message", "m", "--no-loud"}).out, "m {\"loud\": false}\n");
  EXPECT_EQ(Run("double", {"add", "--a", "2", "--b", "0.5"}).out, "2.5\n");
  EXPECT_TRUE(
      Contains(Run("double", {"add", "--a", "1", "--b", "2", "--json"}).out, "\"text\": \"3\""));
  EXPECT_EQ(Run("double", {"big"}).out.size(), (16u << 18) + 1);
}

TEST_F(V1Tools, McpArgumentsAreChecked) {
  const auto refused = [&](std::vector<std::string> arguments, const std::string& why) {
    const Ran ran = Run("double", arguments);
    EXPECT_EQ(ran.exit_code, 2) << why;
    EXPECT_TRUE(Contains(ran.error, why)) << ran.error;
  };
  refused({"nothing"}, "no command 'nothing'");
  refused({"echo"}, "--message: is required");
  refused({"echo", "--message"}, "--message: needs a value");
  refused({"echo", "--message", "m", "--times", "x"}, "--times: 'x' is not a whole number");
  refused({"echo", "--message", "m", "--times", "9"}, "--times: must be at most 3");
  refused({"echo", "--message", "m", "--tone", "loud"}, "--tone: must be one of low, high");
  refused({"echo", "--message", "m", "--message", "m"}, "--message: is given twice");
  refused({"echo", "--message", "m", "--extra", "{"}, "--extra: '{' is not JSON");
  refused({"echo", "--message", "m", "--extra", "1"}, "--extra: must be a JSON object");
  refused({"echo", "--other", "m"}, "--other: there is no such argument");
  refused({"echo", "hi"}, "'hi': arguments are flags");
  refused({"add", "--a", "1", "--b", "inf"}, "--b: 'inf' is not a number");
}

TEST_F(V1Tools, WhatNestsDeepIsRefusedOnBothWays) {
  std::string deep;
  for (int i = 0; i < 20'000; ++i) deep += "{\"a\":";
  deep += "1" + std::string(20'000, '}');
  Ran ran = Run("double", {"echo", "--message", "m", "--extra", deep});
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.error, "--extra: nests too deep");
  ran = Run("double", {"echo", "--message", "m", "--tags",
                       std::string(20'000, '[') + std::string(20'000, ']')});
  EXPECT_EQ(ran.error, "--tags: nests too deep");
  EXPECT_EQ(
      Run("double", {"echo", "--message", "m", "--extra", "{\"a\": \"[[{{\\\"[\"}"}).exit_code, 0)
      << "what is in texts does not count";
  EXPECT_EQ(Run("double", {"deep"}).error, "an answer that nests too deep");
  EXPECT_EQ(Run("double", {"echo", "--message", "hi"}).out, "hi\n");
}

TEST_F(V1Tools, ReadOnlyTokensRunWhatChangesNothing) {
  const std::string token = MakeToken("work", true);
  const Ran ran = Run("say", {"hi"}, token);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.exit_code, 126);
  EXPECT_EQ(ran.error, "the token is read-only, and say may change something");
  EXPECT_EQ(Run("looks", {}, token).out, "looks\n");
}

TEST_F(V1Tools, KeysOfTheGatewayAreNotForTools) {
  setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
  EXPECT_EQ(Run("keys").out, "none\n");
  unsetenv("AWS_SECRET_ACCESS_KEY");
}

TEST_F(V1Tools, AToolThatHangsIsWaitedForByNobodyElse) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::future<grpc::Status>> asked;
  for (int i = 0; i < 12; ++i) {
    contexts.push_back(Context(token_));
    asked.push_back(std::async(std::launch::async, [this, context = contexts.back().get()] {
      ::tools::GetToolHelpRequest request;
      ::tools::GetToolHelpResponse response;
      request.set_name("hangs");
      return stub_->GetToolHelp(context, request, &response);
    }));
  }
  pid_t pid = 0;
  while (pid == 0) std::ifstream(pid_file_) >> pid;
  auto context = Context(token_);
  ::tools::ListToolsRequest list;
  ::tools::ListToolsResponse listed;
  EXPECT_TRUE(stub_->ListTools(context.get(), list, &listed).ok());
  EXPECT_EQ(Help("say"), "about say\nmore");
  // Nor does it stay when nobody waits for it.
  for (auto& one : contexts) one->TryCancel();
  for (auto& one : asked) EXPECT_EQ(one.get().error_code(), grpc::StatusCode::CANCELLED);
  while (kill(pid, 0) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

TEST_F(V1Tools, McpServersMayFailAndDie) {
  Ran ran = Run("double", {"fail"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err, "it went wrong\n");
  ran = Run("double", {"refuse"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.error, "refused by the double");
  EXPECT_EQ(Run("double", {"noise"}).out, "still here\n");
  EXPECT_EQ(Run("double", {"ask"}).out, "True -32601\n");
  const std::string pid = Run("double", {"pid"}).out;
  EXPECT_EQ(Run("double", {"pid"}).out, pid);  // one for all
  ran = Run("double", {"die"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(ran.error, "the server has ended");
  const std::string next = Run("double", {"pid"}).out;
  EXPECT_NE(next, pid);
  EXPECT_NE(next, "");
}

TEST_F(V1Tools, CancellingAnMcpCallTellsTheServerAndLeavesTheOthers) {
  auto context = Context(token_);
  ::tools::ExecuteToolRequest request;
  request.set_name("double");
  request.add_args("wait");
  auto stream = stub_->ExecuteTool(context.get(), request);
  EXPECT_EQ(Run("double", {"waiting"}).out, "True\n");
  auto told = std::async(std::launch::async, [&] { return Run("double", {"was-cancelled"}).out; });
  context->TryCancel();
  EXPECT_EQ(told.get(), "True\n");
  ::tools::ExecuteToolResponse response;
  while (stream->Read(&response)) {
  }
  (void)stream->Finish();
}

// A server as people use it; it needs npm and its registry.
struct V1RealMcp : V1Tools {
  V1RealMcp() {
    server_options_.config.mcp.push_back(
        {{"everything", {"node", RealMcpProgram("server-everything"), "stdio"}, "", "", {}}, {}});
    server_options_.config.mcp.push_back(
        {{"files", {"node", RealMcpProgram("server-filesystem"), directory_.path()}, "", "", {}},
         {}});
  }
  void SetUp() override {
    if (const std::string missing = InstallRealMcp(); !missing.empty()) GTEST_SKIP() << missing;
    V1Tools::SetUp();
  }
};

TEST_F(V1RealMcp, PrintsWhatTheServerAnswers) {
  const std::string help = Help("everything");
  EXPECT_TRUE(Contains(help, "  echo  ")) << help;
  Ran ran = Run("everything", {"echo", "--message", "hello there"});
  EXPECT_EQ(ran.exit_code, 0) << ran.error << ran.err;
  EXPECT_EQ(ran.out, "Echo: hello there\n");
  std::ofstream(directory_.path() + "/note.txt") << "kept in a file";
  ran = Run("files", {"read_text_file", "--path", directory_.path() + "/note.txt"});
  EXPECT_EQ(ran.exit_code, 0) << ran.error << ran.err;
  EXPECT_EQ(ran.out, "kept in a file\n");
  ran = Run("files", {"read_text_file", "--path", "/etc/passwd"});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_TRUE(Contains(ran.err, "denied")) << ran.err;
}

}  // namespace
}  // namespace airstore::gateway
