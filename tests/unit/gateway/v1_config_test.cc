// SPDX-License-Identifier: Apache-2.0
//
// The gateway's configuration file: what it means, and that what makes no sense is said with its
// line; also by the program.
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>

#include "tests/unit/gateway/bench.h"
#include "tools/gateway/config.h"
#include "tools/gateway/tools/process.h"

namespace airstore::gateway {
namespace {

class ConfigFile : public testing::Test {
 protected:
  Result<Config> Read(const std::string& text) {
    path_ = directory_.path() + "/gateway.toml";
    std::ofstream(path_) << text;
    return ReadConfigFile(path_);
  }
  // The complaint without the path.
  std::string Complaint(const std::string& text) {
    const auto read = Read(text);
    if (read) return "none";
    EXPECT_TRUE(read.error().message.starts_with(path_)) << read.error().message;
    return read.error().message.substr(path_.size());
  }

  TempDirectory directory_;
  std::string path_;
};

TEST_F(ConfigFile, MayBeEmpty) {
  const auto config = Read("");
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->tools.empty());
  EXPECT_FALSE(config->tasks.enabled);
  EXPECT_FALSE(config->offset_zero_replaces);
}

TEST_F(ConfigFile, SaysWhatIsOffered) {
  const auto config = Read(R"(
v1_offset_zero_replaces = true
[[tools]]
name = "deploy"
command = ["/usr/bin/deploy", "--yes"]
help = "Deploys"
directory = "/srv"
environment = { STAGE = "test" }
workspaces = ["site", "docs"]
[[mcp]]
name = "files"
command = ["npx", "server"]
[[sources]]
name = "mail"
kind = "maildir"
path = "/var/mail/me"
title = "My mail"
[tasks]
enabled = true
most_running = 3
)");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->tools.size(), 1u);
  EXPECT_EQ(config->tools[0].what.command, (std::vector<std::string>{"/usr/bin/deploy", "--yes"}));
  EXPECT_EQ(config->tools[0].what.environment.at("STAGE"), "test");
  EXPECT_TRUE(config->tools[0].IsFor("docs"));
  EXPECT_FALSE(config->tools[0].IsFor("other"));
  EXPECT_TRUE(config->mcp.at(0).IsFor("other"));
  EXPECT_EQ(config->sources.at(0).what.title, "My mail");
  EXPECT_TRUE(config->tasks.enabled);
  EXPECT_EQ(config->tasks.most_running, 3u);
  EXPECT_EQ(config->tasks.shell, (std::vector<std::string>{"/bin/sh", "-c"}));
  EXPECT_TRUE(config->offset_zero_replaces);
}

TEST_F(ConfigFile, ComplainsWithTheLine) {
  EXPECT_EQ(Complaint("\nport = 7"), ":2: port: there is no such key here");
  EXPECT_EQ(Complaint("[[tools]]\nname = 7"), ":2: name: expected a text");
  EXPECT_EQ(Complaint("[[tools]]\nname = \"a\"\ncommand = \"b\""),
            ":3: command: expected an array of texts");
  EXPECT_EQ(Complaint("[[tools]]\nname = \"a\"").substr(0, 4), ":1: ");
  EXPECT_NE(Complaint("[[tools]]\nname = \"a/b\"\ncommand = [\"c\"]").find("expected a file name"),
            std::string::npos);
  EXPECT_NE(Complaint("[[tools]]\nname = \"a\"\ncommand = [\"c\"]\n[[mcp]]\nname = \"a\"\n"
                      "command = [\"c\"]")
                .find("'a' is taken"),
            std::string::npos);
  EXPECT_NE(Complaint("[[sources]]\nname = \"a\"\nkind = \"imap\"\npath = \"/x\"").find("maildir"),
            std::string::npos);
  EXPECT_EQ(Complaint("[tasks]\nmost_running = 0"),
            ":2: most_running: expected a number from 1 to 10000");
  EXPECT_EQ(Complaint("tasks = 1"), ":1: expected [tasks]");
  EXPECT_EQ(Complaint("x ="), Complaint("x ="));
  EXPECT_NE(Complaint("x ="), "none");
}

class ManualPage : public ConfigFile {
 protected:
  void SetUp() override {
    std::ifstream file(AIRSTORE_SOURCE "/packaging/man/airstore-gateway.conf.5");
    page_.assign(std::istreambuf_iterator<char>(file), {});
    page_ = std::regex_replace(page_, std::regex(R"(\\-)"), "-");
  }
  std::string page_;
};

TEST_F(ManualPage, SaysTheKeysThatThereAre) {
  std::map<std::string, std::set<std::string>> told;
  std::string table;
  std::istringstream lines(page_);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(".SS ")) table = line.substr(4);
    if (line.starts_with(".BI ")) told[table].insert(line.substr(4, line.find(' ', 4) - 4));
  }
  EXPECT_EQ(told, ConfigKeys());
  const TaskConfig tasks;
  for (const auto& [key, value] : {std::pair{"most_running", std::to_string(tasks.most_running)},
                                   {"log_bytes", std::to_string(tasks.log_bytes)},
                                   {"shell", tasks.shell[0] + " " + tasks.shell[1]}}) {
    const size_t at = page_.find(std::string(".BI ") + key);
    EXPECT_NE(page_.substr(at, page_.find(".BI", at + 1) - at).find("Default: " + value + "."),
              std::string::npos)
        << key;
  }
}

TEST_F(ManualPage, HasAnExampleThatHolds) {
  const size_t begin = page_.find(".nf\n") + 4;
  const auto config = Read(page_.substr(begin, page_.find(".fi", begin) - begin));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->tools.size(), 1u);
  EXPECT_EQ(config->mcp.size(), 1u);
  EXPECT_EQ(config->sources.size(), 1u);
  EXPECT_TRUE(config->tasks.enabled);
}

TEST_F(ConfigFile, TheProgramRefusesABadOne) {
  ASSERT_FALSE(Read("nonsense = 1"));
  std::string said;
  const Cancel never;
  const auto run = [&](std::vector<std::string> flags) {
    ProcessSpec spec;
    spec.command = {AIRSTORE_GATEWAY_PROGRAM, "--data", directory_.path() + "/data", "--listen",
                    "unix:" + directory_.path() + "/socket"};
    spec.command.insert(spec.command.end(), flags.begin(), flags.end());
    said.clear();
    const auto code = RunProcess(
        spec,
        [&](Stream, std::string_view text) {
          said += text;
          return true;
        },
        never);
    EXPECT_TRUE(code);
    return *code;
  };
  EXPECT_EQ(run({"--config", path_}), 2);
  EXPECT_NE(said.find(path_ + ":1: nonsense: there is no such key here"), std::string::npos)
      << said;
  EXPECT_EQ(run({"--config", directory_.path() + "/none"}), 2);
  EXPECT_EQ(run({"--protocol", "v3"}), 2);
  EXPECT_FALSE(std::filesystem::exists(directory_.path() + "/data"));
}

}  // namespace
}  // namespace airstore::gateway
