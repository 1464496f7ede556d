// SPDX-License-Identifier: Apache-2.0
//
// What our own gateway has beside files, on a real mount: tools, MCP servers, a maildir, a git
// repository, tasks; and what it is told of reads.
#include <airstore/v1/gateway.grpc.pb.h>
#include <airstore/v1/sources.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/e2e/support/host_test.h"
#include "tests/v1/real_mcp.h"

namespace airstore::e2e {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class OurServices : public HostTest {
 protected:
  OurServices() {
    std::string pattern = (fs::temp_directory_path() / "airstore-services-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    for (const char* sub : {"/mail/cur", "/mail/new", "/mail/tmp"}) {
      fs::create_directories(directory_ + sub);
    }
  }
  ~OurServices() override { fs::remove_all(directory_); }

  virtual std::string Config() const {
    return "[[tools]]\nname = \"say\"\n"
           "command = [\"/bin/sh\", \"-c\", \"echo \\\"$1\\\"; echo err >&2; exit $2\", \"say\"]\n"
           "help = \"Says it.\"\n"
           "[[tools]]\nname = \"forever\"\n"
           "command = [\"/bin/sh\", \"-c\", \"echo first; sleep 1000\"]\n"
           "[[mcp]]\nname = \"double\"\ncommand = [\"python3\", \"" AIRSTORE_MCP_DOUBLE
           "\"]\n"
           "[[sources]]\nname = \"mail\"\nkind = \"maildir\"\npath = \"" +
           Directory("mail") + "\"\n[[sources]]\nname = \"code\"\nkind = \"git\"\npath = \"" +
           Directory("repo") + "\"\n[tasks]\nenabled = true\n";
  }
  HostOptions Options() const override {
    WriteFile(Directory("gateway.toml"), Config());
    HostOptions options;
    options.gateway_arguments.insert(options.gateway_arguments.end(),
                                     {"--config", Directory("gateway.toml")});
    return options;
  }
  void MountIt(const Arguments& extra = {}) {
    token_ = host().CreateWorkspace("work");
    mount_ = host().MountWith(token_, "mnt", extra);
    channel_ = grpc::CreateChannel(host().gateway_address(), grpc::InsecureChannelCredentials());
  }
  std::string Directory(const std::string& name) const { return directory_ + "/" + name; }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }
  const std::string& mount() const { return mount_; }
  const std::string& token() const { return token_; }
  void AddMail(int number, const std::string& subject, const std::string& body) {
    std::ofstream(Directory("mail/cur/" + std::to_string(number) + ".x:2,S"))
        << "From: a@example.org\nSubject: " << subject << " " << number
        << "\nDate: Mon, 2 Feb 2026 09:30:00 +0000\n\n"
        << body << number << "\n";
  }

  template <typename Response, typename Stub, typename Request, typename Method>
  Response Call(Stub& stub, Method method, const Request& request) {
    grpc::ClientContext context;
    std::string secret = ReadFile(token_);
    secret.pop_back();
    context.AddMetadata("authorization", "Bearer " + secret);
    context.set_deadline(std::chrono::system_clock::now() + seconds(60));
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(response.ok()) << response.error();
    return response;
  }
  void MakeView(const std::string& integration, const std::string& name,
                const std::string& filter) {
    ::sources::SourceService::Stub stub(channel_);
    ::sources::CreateViewRequest request;
    request.set_integration(integration);
    request.set_name(name);
    request.set_filter(filter);
    request.set_output_format("folder");
    Call<::sources::CreateViewResponse>(stub, &::sources::SourceService::Stub::CreateView, request);
  }
  std::string MakeTask(const std::string& script) {
    ::gateway::GatewayService::Stub stub(channel_);
    ::gateway::CreateTaskRequest request;
    request.set_prompt(script);
    return Call<::gateway::TaskResponse>(stub, &::gateway::GatewayService::Stub::CreateTask,
                                         request)
        .task()
        .id();
  }
  // Of the workspace, with everything that the gateway was told so far.
  nlohmann::json AccessLog(const std::string& path = "") {
    Arguments words = {"access-log",   "work",
                       "--gateway",    host().gateway_address(),
                       "--token-file", host().admin_token_file()};
    if (!path.empty()) words.insert(words.end(), {"--path", path});
    return host().AirctlJson(words)["events"];
  }

 private:
  std::string directory_;
  std::string token_;
  std::string mount_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(OurServices, AreATreeOfTheMount) {
  AddMail(1, "invoice", "number ");
  RunOk({"/bin/sh", "-ec",
         "git init -q -b main repo && cd repo && echo one >f && git add f && "
         "git -c user.name=a -c user.email=a@b commit -qm first"},
        {.directory = Directory("")});
  MountIt();
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{".airstore", "Tools", "Sources"}))
      << "there is no task yet";
  EXPECT_EQ(NamesIn(At("Tools")), (std::set<std::string>{"double", "forever", "say"}));
  EXPECT_EQ(NamesIn(At("Sources")), (std::set<std::string>{"code", "mail"}));

  // Tools: streams, exit codes, help, the end of the caller.
  Finished ran = RunProgram({At("Tools/say"), "hello  there", "3"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.out, "hello  there\n");
  EXPECT_EQ(ran.err, "err\n");
  EXPECT_EQ(RunProgram({At("Tools/say"), "--help"}).out.substr(0, 8), "Says it.");
  Process running({At("Tools/forever")}, {.output_file = host().Path("said")});
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    return Exists(host().Path("said")) && ReadFile(host().Path("said")) == "first\n";
  }));
  running.Signal(SIGINT);
  EXPECT_EQ(running.Wait(seconds(30)), 128 + SIGINT);
  ran = RunProgram({At("Tools/double"), "echo", "--message", "through MCP"});
  EXPECT_EQ(ran.code, 0) << ran.All();
  EXPECT_NE(ran.out.find("through MCP"), std::string::npos) << ran.All();
  EXPECT_NE(RunProgram({At("Tools/double"), "--help"}).out.find("add"), std::string::npos);

  // Sources: a view that is made here, one of git.
  EXPECT_EQ(mkdir(At("Sources/mail/invoice").c_str(), 0755), 0) << strerror(errno);
  std::set<std::string> messages = NamesIn(At("Sources/mail/invoice"));
  messages.erase(".query.as");
  ASSERT_EQ(messages.size(), 1u);
  const std::string message = At("Sources/mail/invoice/" + *messages.begin());
  EXPECT_TRUE(ReadFile(message).ends_with("number 1\n")) << ReadFile(message);
  EXPECT_EQ(static_cast<size_t>(Stat(message).st_size), ReadFile(message).size());
  EXPECT_EQ(mkdir(At("Sources/code/log").c_str(), 0755), 0) << strerror(errno);
  EXPECT_EQ(NamesIn(At("Sources/code/log")).size(), 2u) << "its definition, and a commit";

  // Tasks: shown from the first one on, as text that grows.
  const std::string id = MakeTask("echo begun; while ! [ -e '" + Directory("go") +
                                  "' ]; do sleep 0.05; done; echo done; exit 5");
  EXPECT_TRUE(WaitUntil(seconds(60), [&] { return Exists(At("Tasks/" + id + ".task")); }));
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    return ReadFile(At("Tasks/" + id + ".task")).find("begun\n") != std::string::npos;
  }));
  WriteFile(Directory("go"), "");
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    const std::string text = ReadFile(At("Tasks/" + id + ".task"));
    return text.find("done\n") != std::string::npos &&
           text.find("Exit Code: 5\n") != std::string::npos;
  }));
}

TEST_F(OurServices, AHundredToolsAtOnce) {
  MountIt();
  std::vector<Finished> results(100);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      results[i] = RunProgram({At("Tools/say"), std::to_string(i), std::to_string(i % 7)});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].out, std::to_string(i) + "\n") << results[i].All();
    EXPECT_EQ(results[i].err, "err\n");
    EXPECT_EQ(results[i].code, static_cast<int>(i % 7));
  }
}

// How often files of a directory are opened.
class OpenCounter {
 public:
  explicit OpenCounter(const std::string& directory) : inotify_(inotify_init1(IN_CLOEXEC)) {
    if (inotify_add_watch(inotify_.get(), directory.c_str(), IN_OPEN) < 0) {
      throw std::runtime_error("inotify: " + directory);
    }
  }
  // Since this was last asked.
  std::map<std::string, int> Take() {
    std::map<std::string, int> opens;
    alignas(inotify_event) char buffer[65536];
    pollfd ready{inotify_.get(), POLLIN, 0};
    while (poll(&ready, 1, 0) == 1) {
      const ssize_t got = read(inotify_.get(), buffer, sizeof buffer);
      for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        EXPECT_EQ(event->mask & IN_Q_OVERFLOW, 0u);
        if (event->len != 0) ++opens[event->name];
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
    }
    return opens;
  }

 private:
  UniqueFd inotify_;
};

TEST_F(OurServices, EachOfManyMessagesIsReadOnceForAllMounts) {
  constexpr size_t kMessages = 5000;
  for (size_t i = 0; i < kMessages; ++i) AddMail(static_cast<int>(i), "invoice", "needle ");
  MountIt();
  const std::string other = host().MountWith(token(), "other", {});
  MakeView("mail", "all", R"({"subject": "invoice"})");
  // To list it the gateway looks into each message.
  EXPECT_EQ(NamesIn(At("Sources/mail/all")).size(), kMessages + 1);
  OpenCounter counter(Directory("mail/cur"));
  const Finished found = RunProgram({"grep", "-rhc", "needle", At("Sources/mail/all")});
  EXPECT_EQ(static_cast<size_t>(std::count(found.out.begin(), found.out.end(), '1')), kMessages);
  const auto opens = counter.Take();
  EXPECT_EQ(opens.size(), kMessages);
  for (const auto& [name, times] : opens) ASSERT_EQ(times, 1) << name;
  const Finished again = RunProgram({"grep", "-rhc", "needle", other + "/Sources/mail/all"});
  EXPECT_EQ(again.out, found.out);
  EXPECT_TRUE(counter.Take().empty()) << "read again for another mount";
}

TEST_F(OurServices, TellsTheGatewayWhatIsRead) {
  AddMail(1, "invoice", "number ");
  MountIt({"--session", "s1", "--passthrough", "off"});
  WriteFile(At("small"), "some words");
  std::filesystem::create_directories(At("d"));
  const std::string large = RandomBytes(1, 1'000'000);
  WriteFile(At("d/large"), large);
  WriteFile(At("d/no \xff text"), "odd");
  EXPECT_EQ(mkdir(At("Sources/mail/all").c_str(), 0755), 0) << strerror(errno);
  // From a cold cache, then from what all mounts share.
  host().RemountFresh("work", mount(), {"--session", "s1", "--passthrough", "off"});
  EXPECT_EQ(ReadFile(At("small")), "some words");
  EXPECT_EQ(ReadFile(At("d/no \xff text")), "odd");
  EXPECT_TRUE(ReadFile(At("d/large")) == large);
  std::string message;
  for (const std::string& name : NamesIn(At("Sources/mail/all"))) {
    if (name != ".query.as") message = "Sources/mail/all/" + name;
  }
  EXPECT_TRUE(ReadFile(At(message)).ends_with("number 1\n"));
  const auto all = [&](const std::string& path) {
    nlohmann::json events;
    EXPECT_TRUE(WaitUntil(seconds(60), [&] {
      events = AccessLog(path);
      return !events.empty();
    })) << path;
    return events;
  };
  const nlohmann::json small = all("small")[0];
  EXPECT_EQ(small["path"], "small");
  EXPECT_EQ(small["session"], "s1");
  EXPECT_EQ(small["origin"], "fuse");
  EXPECT_EQ(small["cache_source"], "shared_cache");
  EXPECT_EQ(small["read_bytes"], 10);
  EXPECT_EQ(small["outcome"], "passthrough");
  EXPECT_TRUE(small["mount"].get<std::string>().starts_with("mount-"));
  int64_t bytes = 0;
  EXPECT_TRUE(WaitUntil(seconds(60), [&] {
    bytes = 0;
    for (const auto& event : AccessLog("d")) bytes += event["read_bytes"].get<int64_t>();
    return bytes >= 1'000'003;
  }));
  EXPECT_EQ(bytes, 1'000'003);
  EXPECT_EQ(all("d/no \xef\xbf\xbd text")[0]["read_bytes"], 3);
  const nlohmann::json of_source = all(message)[0];
  EXPECT_TRUE(of_source["source_uri"].get<std::string>().starts_with("mail://")) << of_source;
  const auto status = host().SessionStatus("work")["access_log"];
  EXPECT_GE(status["sent"], 4) << status;
  EXPECT_EQ(status["dropped"], 0) << status;
}

TEST_F(OurServices, IsNotToldWhereNobodyWantsIt) {
  MountIt({"--access-log", "off"});
  WriteFile(At("small"), "some words");
  EXPECT_EQ(ReadFile(At("small")), "some words");
  EXPECT_TRUE(host().SessionStatus("work")["access_log"].is_null()) << host().Status();
  host().Unmount(mount());
  EXPECT_TRUE(AccessLog().empty());
}

class OurRealMcp : public OurServices {
 protected:
  void SetUp() override {
    if (const std::string missing = InstallRealMcp(); !missing.empty()) GTEST_SKIP() << missing;
    OurServices::SetUp();
  }
  std::string Config() const override {
    return "[[mcp]]\nname = \"everything\"\ncommand = [\"node\", \"" +
           RealMcpProgram("server-everything") + "\", \"stdio\"]\n";
  }
};

TEST_F(OurRealMcp, PrintsWhatTheServerAnswers) {
  MountIt();
  const std::string tool = At("Tools/everything");
  Finished ran = RunProgram({tool, "echo", "--message", "hello there"});
  EXPECT_EQ(ran.code, 0) << ran.All();
  EXPECT_EQ(ran.out, "Echo: hello there\n");
  EXPECT_NE(RunProgram({tool, "--help"}).out.find("  echo  "), std::string::npos);
  ran = RunProgram({tool, "echo"});
  EXPECT_NE(ran.code, 0);
  EXPECT_NE(ran.err.find("message"), std::string::npos) << ran.All();
}

class OurDistiller : public OurServices {
 protected:
  std::string Config() const override {
    return "distill = [\"/bin/sh\", \"-c\", \"head -n 1; cat >/dev/null\"]\n" +
           OurServices::Config();
  }
};

TEST_F(OurDistiller, SourcesAreMadeShorterForWhoAsks) {
  AddMail(1, "invoice", "Hello\n\n\n\n> quoted\n> quoted\nhttps://a.example/\nnumber ");
  MountIt();
  MakeView("mail", "all", "{}");
  std::string name;
  for (const std::string& one : NamesIn(At("Sources/mail/all"))) {
    if (one != ".query.as") name = one;
  }
  const std::string whole = ReadFile(At("Sources/mail/all/" + name));
  EXPECT_NE(whole.find("> quoted"), std::string::npos);
  const auto read_with = [&](const std::string& strategy) {
    host().Unmount(mount());
    host().MountWith(token(), "mnt", {"--compression", strategy});
    // Its size is not known before it was read.
    return RunOk({"cat", At("Sources/mail/all/" + name)});
  };
  const std::string stripped = read_with("strip");
  EXPECT_EQ(stripped.find("> quoted"), std::string::npos) << stripped;
  EXPECT_NE(stripped.find("Hello\n\nhttps://a.example/\nnumber 1\n"), std::string::npos)
      << stripped;
  EXPECT_EQ(read_with("chain"), "From: a@example.org\n");
  EXPECT_EQ(read_with("off"), whole);
}

}  // namespace
}  // namespace airstore::e2e
