// SPDX-License-Identifier: Apache-2.0
//
// What an operator looks at: metrics, stats, top, doctor, and that they agree.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>

#include "tests/e2e/support/host_test.h"
#include "tests/e2e/support/metrics.h"
#include "tests/unit/broker/metrics_text.h"

namespace airstore::e2e {
namespace {

using std::chrono::seconds;

bool Have(const std::string& program) {
  return RunProgram({"/bin/sh", "-c", "command -v " + program}).code == 0;
}

class Operate : public MountTest {
 protected:
  HostOptions Options() const override { return {.broker_arguments = kWithMetrics}; }
  // Something of everything.
  void Use() {
    for (int i = 0; i < 20; ++i) WriteFile(At(std::to_string(i)), RandomBytes(1, 5000));
    (void)host().AirctlJson({"flush"});
    RemountFresh();
    for (const auto& name : NamesIn(mount())) (void)ReadFile(At(name));
    EXPECT_FALSE(Exists(At("missing")));
  }
  Arguments Airctl(const Arguments& words) {
    Arguments all = {Program("airctl"), "--socket", host().socket()};
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }
};

TEST_F(Operate, MetricsAreWhatStatusSays) {
  Use();
  const auto status = host().MountStatus(mount());
  const std::string text = Scrape(host());
  const MetricsRead read = ReadMetrics(text);
  EXPECT_TRUE(read.complaints.empty()) << read.complaints.front();
  const std::string labels = "{mountpoint=\"" + mount() + "\",workspace=\"work\"";
  const auto of = [&](const std::string& series) {
    const auto found = read.samples.find(series);
    return found == read.samples.end() ? -1.0 : found->second;
  };
  EXPECT_GT(of("airstore_requests_total" + labels + "}"), 20);
  EXPECT_GE(of("airstore_requests_total" + labels + "}"),
            status.at("counters").at("requests").get<double>());
  EXPECT_GE(of("airstore_lookups_total" + labels + ",layer=\"broker\"}") +
                of("airstore_lookups_total" + labels + ",layer=\"memory\"}"),
            1);
  EXPECT_GT(of("airstore_request_duration_seconds_count" + labels + ",operation=\"lookup\"}"), 0);
  EXPECT_EQ(of("airstore_mount_state" + labels + ",state=\"ready\"}"), 1);
  EXPECT_EQ(of("airstore_gateway_up{gateway=\"" + host().gateway_address() + "\"}"), 1);
  EXPECT_GT(of("airstore_gateway_call_duration_seconds_count{gateway=\"" +
               host().gateway_address() + "\"}"),
            0);
  for (const auto& [series, value] : read.samples) {
    if (series.rfind("airstore_problem{", 0) == 0 && series.find("clock_set") == series.npos) {
      EXPECT_EQ(value, 0) << series;
    }
  }
  // Neither a token nor the name of a file.
  EXPECT_EQ(text.find(ReadFile(host().Path("work.token")).substr(0, 20)), std::string::npos);
}

class OperateGateway : public Operate {
 protected:
  HostOptions Options() const override {
    HostOptions options = Operate::Options();
    options.gateway_arguments.insert(options.gateway_arguments.end(), kWithMetrics.begin(),
                                     kWithMetrics.end());
    return options;
  }
  std::string ScrapeGateway() { return ScrapeAt(GatewayMetricsAddress(host())); }
};

TEST_F(OperateGateway, MetricsAreWhatHappened) {
  Use();
  const std::string apply = "/airstore.storage.v2.Storage/Apply";
  const std::string text = ScrapeGateway();
  const MetricsRead read = ReadMetrics(text);
  EXPECT_TRUE(read.complaints.empty()) << read.complaints.front();
  const auto of = [](const MetricsRead& from, const std::string& series) {
    const auto found = from.samples.find(series);
    return found == from.samples.end() ? -1.0 : found->second;
  };
  const double applied =
      of(read, "airstore_gateway_requests_total{method=\"" + apply + "\",code=\"OK\"}");
  EXPECT_GT(applied, 0) << text;
  EXPECT_EQ(of(read, "airstore_gateway_request_duration_seconds_count{method=\"" + apply + "\"}"),
            applied);
  EXPECT_EQ(of(read, "airstore_gateway_store_up"), 1);
  EXPECT_EQ(of(read, "airstore_gateway_sessions{workspace=\"work\"}"), 1);
  EXPECT_EQ(of(read, "airstore_gateway_leases{workspace=\"work\"}"), 1);
  EXPECT_EQ(of(read, "airstore_gateway_locks{workspace=\"work\"}"), 0);
  EXPECT_EQ(of(read, "airstore_gateway_used_bytes{workspace=\"work\"}"), 20 * 5000);
  EXPECT_EQ(of(read, "airstore_gateway_used_inodes{workspace=\"work\"}"), 21);
  EXPECT_GE(of(read, "airstore_gateway_block_bytes_total{operation=\"store\"}"), 20 * 5000);
  EXPECT_EQ(of(read, "airstore_gateway_failed_tokens_total"), 0);
  EXPECT_EQ(text.find(ReadFile(host().Path("work.token")).substr(0, 20)), std::string::npos);

  const Finished refused =
      host().Airctl({"workspace", "list", "--gateway", host().gateway_address()},
                    {.env = {{"AIRSTORE_TOKEN", "wrong-token-0123456789"}}});
  EXPECT_EQ(refused.code, 5) << refused.All();
  const MetricsRead after = ReadMetrics(ScrapeGateway());
  EXPECT_GE(of(after, "airstore_gateway_failed_tokens_total"), 1);
  EXPECT_GE(of(after,
               "airstore_gateway_requests_total{method=\"/airstore.storage.v2.Admin/"
               "ListWorkspaces\",code=\"UNAUTHENTICATED\"}"),
            1);

  // Neither the dashboard nor an alert waits for what is never there.
  for (const char* name : {"airstore-gateway-dashboard.json", "airstore-gateway.rules.yml"}) {
    const std::string file = ReadFile(std::string(AIRSTORE_SOURCE "/packaging/monitoring/") + name);
    const std::regex metric("airstore_gateway_[a-z_]+");
    for (std::sregex_iterator at(file.begin(), file.end(), metric), end; at != end; ++at) {
      const std::string word = at->str();
      EXPECT_TRUE(read.types.contains(word) ||
                  read.types.contains(word.substr(0, word.rfind("_bucket"))))
          << word << " in " << name;
    }
  }
}

TEST_F(OperateGateway, MetricsAndRulesPleasePromtool) {
  const char* given = getenv("AIRSTORE_PROMTOOL");
  const std::string promtool = given != nullptr ? given : "promtool";
  if (!Have(promtool)) GTEST_SKIP() << "promtool is not installed (Debian: prometheus)";
  Use();
  for (const std::string& text : {Scrape(host()), ScrapeGateway()}) {
    const Finished checked = RunProgram({promtool, "check", "metrics"}, {.input = text});
    EXPECT_EQ(checked.code, 0) << checked.All();
  }
  const std::string rules = AIRSTORE_SOURCE "/packaging/monitoring/airstore";
  const Finished checked =
      RunProgram({promtool, "check", "rules", rules + ".rules.yml", rules + "-gateway.rules.yml"});
  EXPECT_EQ(checked.code, 0) << checked.All();
}

TEST_F(Operate, JsonIsAsTheSchemaSays) {
  if (RunProgram({"python3", "-c", "import jsonschema"}).code != 0) {
    GTEST_SKIP() << "python3-jsonschema is not installed";
  }
  Use();
  WriteFile(host().Path("schema.json"), RunOk(Airctl({"schema"})));
  const Arguments admin = {"--gateway", host().gateway_address(), "--token-file",
                           host().admin_token_file()};
  const std::pair<const char*, Arguments> commands[] = {
      {"status", {"status"}},
      {"status", {"status", mount()}},
      {"stats", {"stats"}},
      {"dirty", {"dirty"}},
      {"recover", {"recover"}},
      {"doctor", {"doctor"}},
      {"warm", {"warm", mount()}},
      {"evict", {"evict", mount()}},
      {"fsck", {"fsck"}},
      {"gc", {"gc"}},
      {"debug spool", {"debug", "spool"}},
      {"debug journal", {"debug", "journal"}},
      {"debug shm", {"debug", "shm"}},
      {"workspace list", {"workspace", "list"}},
      {"token list", {"token", "list"}},
      {"gateway status", {"gateway", "status"}},
      {"error", {"status", "/nowhere"}},
  };
  std::string lines;
  for (auto [name, words] : commands) {
    words.insert(words.begin(), "--json");
    const std::string& word = words[1];
    if (word == "workspace" || word == "token" || word == "fsck" || word == "gc" ||
        word == "gateway") {
      words.insert(words.end(), admin.begin(), admin.end());
    }
    const auto said = nlohmann::json::parse(RunProgram(Airctl(words)).out);
    lines += nlohmann::json{{"name", name}, {"said", said}}.dump() + "\n";
  }
  const Finished checked =
      RunProgram({"python3", "-c",
                  "import json, jsonschema, sys\n"
                  "schema = json.load(open(sys.argv[1]))\n"
                  "jsonschema.Draft202012Validator.check_schema(schema)\n"
                  "n = 0\n"
                  "for line in sys.stdin:\n"
                  "  one = json.loads(line)\n"
                  "  part = dict(schema, **{'$ref': '#/$defs/' + one['name']})\n"
                  "  jsonschema.Draft202012Validator(part).validate(one['said'])\n"
                  "  one['said']['more'] = 1\n"
                  "  assert not jsonschema.Draft202012Validator(part).is_valid(one['said']), one\n"
                  "  n += 1\n"
                  "print(n)\n",
                  host().Path("schema.json")},
                 {.input = lines});
  EXPECT_EQ(checked.code, 0) << checked.All();
  EXPECT_EQ(checked.out, std::to_string(std::size(commands)) + "\n");
}

TEST_F(Operate, StatsTellOfIntervals) {
  Use();
  Process watching(Airctl({"--json", "stats", "--interval", "0.3", "--count", "3"}),
                   {.output_file = host().Path("stats")});
  while (watching.running()) {
    for (int i = 0; i < 20; ++i) (void)Exists(At("none" + std::to_string(rand())));
  }
  std::istringstream lines(ReadFile(host().Path("stats")));
  uint64_t reports = 0, requests = 0, misses = 0;
  for (std::string line; std::getline(lines, line); ++reports) {
    const auto report = nlohmann::json::parse(line);
    EXPECT_GE(report.at("interval_ms"), 200);
    const auto& stats = report.at("mounts").at(0);
    requests += stats.at("requests").get<uint64_t>();
    misses += stats.at("operations").at("lookup").at("count").get<uint64_t>();
  }
  EXPECT_EQ(reports, 3u);
  EXPECT_GT(requests, 20u);
  EXPECT_GT(misses, 20u);
  const Finished once = RunProgram(Airctl({"stats"}));
  EXPECT_EQ(once.code, 0) << once.All();
  EXPECT_NE(once.out.find(mount()), std::string::npos) << once.out;
}

// In a real terminal, of both sizes; it says what is going on, takes keys, and leaves the terminal
// as it was.
TEST_F(Operate, TopIsDrawnInATerminal) {
  if (!Have("tmux")) GTEST_SKIP() << "tmux is not installed";
  Use();
  std::string server;
  const auto run = [&](Arguments words) {
    words.insert(words.begin(), {"tmux", "-f", "/dev/null", "-S", host().Path(server)});
    return RunProgram(words, {.env = {{"LC_ALL", "C.UTF-8"}, {"TERM", "xterm-256color"}}});
  };
  const auto screen = [&] { return run({"capture-pane", "-p", "-t", "top"}).out; };
  const auto shows = [&](const std::string& text) {
    const bool shown =
        WaitUntil(seconds(30), [&] { return screen().find(text) != std::string::npos; });
    EXPECT_TRUE(shown) << text << " is not on\n" << screen();
  };
  for (const auto& [columns, rows] : {std::pair{80, 24}, {200, 50}}) {
    server = "tmux" + std::to_string(columns);
    std::string command = "echo before; exec 3>&1;";
    for (const auto& word : Airctl({"top", "--interval", "0.2"})) command += " " + word;
    command += "; echo left with $?; sleep 100";
    const Finished made = run({"new-session", "-d", "-s", "top", "-x", std::to_string(columns),
                               "-y", std::to_string(rows), command});
    ASSERT_EQ(made.code, 0) << made.All();
    shows("OPS/S");
    shows("by requests");
    // tmux tells a line that is full from one that ran over.
    std::istringstream lines(screen());
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
      EXPECT_LE(line.size(), static_cast<size_t>(columns)) << line;
    }
    EXPECT_EQ(count, rows);
    EXPECT_EQ(screen().rfind("airstored ", 0), 0u) << screen();
    shows("work");
    shows("connected");
    if (columns == 200) shows(mount());
    run({"send-keys", "-t", "top", "n"});
    shows("by name");
    run({"send-keys", "-t", "top", "?"});
    shows("Keys");
    run({"send-keys", "-t", "top", "?"});
    shows("OPS/S");
    if (getenv("AIRSTORE_SHOW") != nullptr) std::cout << screen();
    run({"send-keys", "-t", "top", "q"});
    shows("left with 0");
    EXPECT_NE(screen().find("before"), std::string::npos) << screen();
    run({"kill-server"});
  }
}

TEST_F(Operate, TopWantsATerminal) {
  const Finished said = host().Airctl({"top"});
  EXPECT_EQ(said.code, 2) << said.All();
  EXPECT_NE(said.err.find("airctl stats --interval 1"), std::string::npos) << said.All();
}

class OperateGatewayLog : public MountTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.gateway_arguments.insert(options.gateway_arguments.end(), {"--log-format", "json"});
    return options;
  }
};

TEST_F(OperateGatewayLog, SaysWhatALineIsAbout) {
  host().StopGateway();
  std::map<std::string, nlohmann::json> said;  // by the first word, or two
  std::istringstream lines(ReadFile(host().Path("gateway.log")));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    ASSERT_TRUE(json.is_object()) << line;
    EXPECT_EQ(json.at("program"), "gateway");
    for (const char* key : {"time", "level", "pid", "message"}) EXPECT_TRUE(json.contains(key));
    const std::string message = json.at("message");
    for (const char* begin :
         {"airstore-gateway", "workspace work created", "session opened", "signal"}) {
      if (message.starts_with(begin)) said[begin] = json;
    }
  }
  EXPECT_EQ(said["workspace work created"].value("workspace", ""), "work");
  const auto& session = said["session opened"];
  EXPECT_EQ(session.value("workspace", ""), "work");
  EXPECT_EQ(session.value("principal", ""), "somebody");
  EXPECT_NE(session.value("client", ""), "");
  EXPECT_EQ(said["airstore-gateway"].value("data", ""), host().Path("gateway"));
  EXPECT_EQ(said["signal"].value("signal", ""), std::to_string(SIGTERM));
}

// The only file with a token is the session's manifest.
class OperateLoud : public Operate {
 protected:
  HostOptions Options() const override {
    HostOptions options = Operate::Options();
    options.broker_arguments.insert(options.broker_arguments.end(), {"--log-level", "trace"});
    options.gateway_arguments.insert(options.gateway_arguments.end(), {"--log-level", "trace"});
    return options;
  }
};

TEST_F(OperateLoud, NothingThatIsWrittenHasAToken) {
  Use();
  const Arguments gateway = {"--gateway", host().gateway_address()};
  std::string said;
  const auto say = [&](Arguments words, const RunOptions& options = {}) {
    words.insert(words.end(), gateway.begin(), gateway.end());
    said += host().Airctl(words, options).All();
  };
  const std::string wrong = "wrong-token-0123456789";
  say({"workspace", "list"}, {.env = {{"AIRSTORE_TOKEN", wrong}}});
  say({"mount", host().Path("other"), "--allow-non-empty", "-v"},
      {.env = {{"AIRSTORE_TOKEN", wrong}}});
  std::filesystem::create_directory(host().Path("other"));
  say({"mount", host().Path("other"), "-v"}, {.env = {{"AIRSTORE_TOKEN", wrong}}});
  host().KillGateway();
  WriteFile(At("unsent"), "content");
  say({"mount", host().Path("other")}, {.env = {{"AIRSTORE_TOKEN", wrong}}});
  said += host().Airctl({"--json", "status"}).All() + host().Airctl({"doctor"}).All();
  said += Scrape(host());
  host().KillBroker();
  host().StartGateway();
  host().StartBroker();
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "60"}).code, 0);
  for (const char* log : {"broker.log", "gateway.log"}) said += ReadFile(host().Path(log));
  size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(host().Path("state"))) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_symlink() && !entry.is_socket() && !name.starts_with("program-")) {
      EXPECT_EQ(Stat(entry.path().string()).st_mode & 077, 0u) << entry.path();
    }
    if (!entry.is_regular_file() || entry.path().filename() == "session.json") continue;
    said += ReadFile(entry.path().string());
    ++files;
  }
  EXPECT_GT(files, 3u);
  EXPECT_NE(said.find("session on workspace work"), std::string::npos) << "it has been said much";
  for (const std::string& file : {host().Path("work.token"), host().admin_token_file()}) {
    const std::string token = ReadFile(file);
    EXPECT_EQ(said.find(token.substr(0, token.find('\n'))), std::string::npos) << file;
  }
  EXPECT_EQ(said.find(wrong), std::string::npos);
}

// A broker that hangs is said to hang.
TEST_F(Operate, DoctorDoesNotHangWithItsBroker) {
  const auto found = host().Airctl({"doctor"});
  EXPECT_EQ(found.code, 0) << found.All();
  host().broker().Signal(SIGSTOP);
  const auto begun = Now();
  const auto hung = host().Airctl({"doctor"}, {.patience = seconds(60)});
  host().broker().Signal(SIGCONT);
  EXPECT_EQ(hung.code, 7) << hung.All();
  EXPECT_NE(hung.out.find("does not answer"), std::string::npos) << hung.All();
  EXPECT_LT(Now() - begun, seconds(20));
}

}  // namespace
}  // namespace airstore::e2e
