// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/command_line.h"

#include "tools/airctl/since.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <vector>

#include "tests/unit/broker/temp_dir.h"
#include "tools/airctl/completion.h"

namespace airstore::airctl {
namespace {

class CommandLineTest : public testing::Test {
 protected:
  Parsed Parse(std::vector<const char*> words) {
    words.insert(words.begin(), "airctl");
    return ParseCommandLine(static_cast<int>(words.size()), words.data(), Environment());
  }
  GetEnv Environment() {
    return [this](const char* name) -> const char* {
      const auto found = environment_.find(name);
      return found == environment_.end() ? nullptr : found->second.c_str();
    };
  }

  std::map<std::string, std::string> environment_;
};

TEST_F(CommandLineTest, WorkspaceOfAMountMayBeLeftOut) {
  auto parsed = Parse({"mount", "/mnt"});
  ASSERT_TRUE(parsed.invocation) << parsed.text;
  EXPECT_EQ(parsed.invocation->command, Command::kMount);
  EXPECT_EQ(parsed.invocation->mountpoint, "/mnt");
  EXPECT_EQ(parsed.invocation->workspace, "");
  parsed = Parse({"mount", "demo", "/mnt"});
  EXPECT_EQ(parsed.invocation->mountpoint, "/mnt");
  EXPECT_EQ(parsed.invocation->workspace, "demo");
  parsed = Parse({"mount"});
  ASSERT_TRUE(parsed.invocation) << parsed.text;
  EXPECT_EQ(parsed.invocation->mountpoint, "") << "the default one";
  EXPECT_FALSE(Parse({"mount", "a", "b", "c"}).invocation);
}

TEST_F(CommandLineTest, SaysInWordsWhatIsWrong) {
  const struct {
    std::vector<const char*> words;
    const char* says;
  } cases[] = {
      {{"moutn", "a"}, "there is no command 'moutn'"},
      {{"--json", "workspace", "lst"}, "there is no command 'lst'"},
      {{"mount", "a", "b", "c"}, "a workspace and a directory, and no more"},
      {{"flush", "--timeout", "0"}, "\"0\" is not a time in seconds"},
      {{"stats", "--interval", "nan"}, "\"nan\" is not a time in seconds"},
      {{"workspace", "create", "w", "--quota-bytes", "-1"}, "--quota-bytes"},
      {{"workspace", "set", "w"}, "say --quota-bytes or --quota-inodes"},
      {{"mount", "a", "--uid", "-1"}, "is not a number from 0"},
  };
  for (const auto& each : cases) {
    const auto parsed = Parse(each.words);
    EXPECT_FALSE(parsed.invocation) << each.says;
    EXPECT_NE(parsed.text.find(each.says), std::string::npos) << parsed.text;
  }
  EXPECT_EQ(Parse({"mount", "a", "--uid", "010"}).invocation->uid, 10u) << "not octal";
}

TEST_F(CommandLineTest, ReadsEveryFlagOfMount) {
  const auto parsed = Parse({"mount",
                             "w",
                             "/m",
                             "--token-file",
                             "f",
                             "--gateway",
                             "g:1",
                             "--uid",
                             "0",
                             "--gid",
                             "7",
                             "--read-only",
                             "--backend",
                             "nfs",
                             "--serve-only",
                             "--root-squash",
                             "--passthrough",
                             "off",
                             "--virtual",
                             "on",
                             "--compression",
                             "strip",
                             "--session",
                             "s-1",
                             "--access-log",
                             "off",
                             "--allow-non-empty",
                             "-v"});
  ASSERT_TRUE(parsed.invocation) << parsed.text;
  const Invocation& got = *parsed.invocation;
  EXPECT_EQ(got.token_file, "f");
  EXPECT_EQ(got.gateway, "g:1");
  EXPECT_EQ(got.uid, 0u);
  EXPECT_EQ(got.gid, 7u);
  EXPECT_TRUE(got.read_only);
  EXPECT_EQ(got.backend, "nfs");
  EXPECT_TRUE(got.serve_only);
  EXPECT_TRUE(got.root_squash);
  EXPECT_EQ(got.passthrough, "off");
  EXPECT_EQ(got.virtual_nodes, "on");
  EXPECT_EQ(got.compression, "strip");
  EXPECT_EQ(got.access_session, "s-1");
  EXPECT_EQ(got.access_log, "off");
  EXPECT_TRUE(got.allow_non_empty);
  EXPECT_TRUE(got.verbose);
}

TEST_F(CommandLineTest, KnowsEveryCommand) {
  EXPECT_EQ(Parse({"unmount", "/m", "--force"}).invocation->command, Command::kUnmount);
  EXPECT_EQ(Parse({"status"}).invocation->command, Command::kStatus);
  EXPECT_EQ(Parse({"status", "/m"}).invocation->mountpoint, "/m");
  EXPECT_EQ(Parse({"workspace", "create", "n"}).invocation->command, Command::kWorkspaceCreate);
  EXPECT_EQ(Parse({"workspace", "list"}).invocation->command, Command::kWorkspaceList);
  EXPECT_EQ(Parse({"workspace", "delete", "n"}).invocation->name, "n");
  const auto token = Parse({"token", "create", "w", "--principal", "p", "--read-only"});
  EXPECT_EQ(token.invocation->command, Command::kTokenCreate);
  EXPECT_EQ(token.invocation->workspace, "w");
  EXPECT_EQ(token.invocation->principal, "p");
  EXPECT_TRUE(token.invocation->read_only);
  EXPECT_EQ(Parse({"token", "list"}).invocation->command, Command::kTokenList);
  EXPECT_EQ(Parse({"token", "revoke", "id"}).invocation->name, "id");
  const auto trace = Parse({"trace", "/m", "--slow", "0.5", "--op", "open,read", "--for", "3"});
  EXPECT_EQ(trace.invocation->command, Command::kTrace);
  EXPECT_EQ(trace.invocation->slow_ms, 0.5);
  EXPECT_EQ(trace.invocation->ops, (std::vector<std::string>{"open", "read"}));
  const auto unknown = Parse({"trace", "/m", "--op", "open,reed"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_NE(unknown.text.find("\"reed\" is no operation; there are copy_file_range, "),
            std::string::npos)
      << unknown.text;
  EXPECT_EQ(trace.invocation->timeout_seconds, 3);
  const auto log =
      Parse({"access-log", "w", "--path", "p", "--since", "1970-01-02", "--limit", "7"});
  EXPECT_EQ(log.invocation->command, Command::kAccessLog);
  EXPECT_EQ(log.invocation->workspace, "w");
  EXPECT_EQ(log.invocation->path, "p");
  EXPECT_EQ(log.invocation->since_ms, 86'400'000);
  EXPECT_EQ(log.invocation->limit, 7u);
  EXPECT_FALSE(Parse({"access-log", "w", "--since", "soon"}).invocation);
  EXPECT_EQ(Parse({"version"}).invocation->command, Command::kVersion);
  EXPECT_EQ(Parse({"completion", "fish"}).invocation->command, Command::kCompletion);
}

TEST(ParseSince, UnderstandsAgesDaysAndTimes) {
  constexpr int64_t kNow = 1'000'000'000'000;
  EXPECT_EQ(ParseSince("0s", kNow), kNow);
  EXPECT_EQ(ParseSince("90s", kNow), kNow - 90'000);
  EXPECT_EQ(ParseSince("10m", kNow), kNow - 600'000);
  EXPECT_EQ(ParseSince("2h", kNow), kNow - 7'200'000);
  EXPECT_EQ(ParseSince("3d", kNow), kNow - 259'200'000);
  EXPECT_EQ(ParseSince("2026-01-31", kNow), 1769817600000);
  EXPECT_EQ(ParseSince("2026-01-31T11:00:00Z", kNow), 1769857200000);
  for (const char* text :
       {"", "10", "m", "10x", "-5m", "2026-13-01", "2026-01-31T", "999999999d"}) {
    EXPECT_FALSE(ParseSince(text, kNow)) << text;
  }
}

TEST_F(CommandLineTest, GlobalFlagsStandAnywhere) {
  for (const auto& words : std::vector<std::vector<const char*>>{
           {"--json", "--socket", "/s", "status"}, {"status", "--json", "--socket", "/s"}}) {
    const auto parsed = Parse(words);
    ASSERT_TRUE(parsed.invocation) << parsed.text;
    EXPECT_TRUE(parsed.invocation->json);
    EXPECT_EQ(parsed.invocation->socket, "/s");
  }
  EXPECT_TRUE(Parse({"token", "list", "--json"}).invocation->json);
}

TEST_F(CommandLineTest, EnvironmentIsWeakerThanFlags) {
  environment_["AIRSTORE_SOCKET"] = "/env";
  environment_["AIRSTORE_GATEWAY"] = "env:1";
  EXPECT_EQ(Parse({"status"}).invocation->socket, "/env");
  EXPECT_EQ(Parse({"mount", "/m"}).invocation->gateway, "env:1");
  environment_["AIRSTORE_MOUNT_BACKEND"] = "nfs";
  EXPECT_EQ(Parse({"mount", "/m"}).invocation->backend, "nfs");
  EXPECT_EQ(Parse({"mount", "/m", "--backend", "fuse"}).invocation->backend, "fuse");
  EXPECT_EQ(Parse({"status", "--socket", "/flag"}).invocation->socket, "/flag");
}

TEST_F(CommandLineTest, DefaultSocketIsRootsOrOnesOwn) {
  const TempDir runtime;
  std::filesystem::create_directory(runtime / "airstore");
  environment_["XDG_RUNTIME_DIR"] = runtime.path();
  EXPECT_EQ(DefaultSocket(Environment()), "/run/airstore/control.sock");
  const std::string own = runtime.Write("airstore/control.sock", "");
  EXPECT_EQ(DefaultSocket(Environment()), geteuid() == 0 ? "/run/airstore/control.sock" : own);
}

TEST_F(CommandLineTest, WrongUseExitsWithTwo) {
  for (const auto& words :
       std::vector<std::vector<const char*>>{{},
                                             {"bogus"},
                                             {"mount", "/m", "--uid", "x"},
                                             {"mount", "/m", "--uid", "-1"},
                                             {"mount", "/m", "--backend", "smb"},
                                             {"mount", "/m", "--token", "secret"},
                                             {"unmount"},
                                             {"workspace"},
                                             {"workspace", "create"},
                                             {"completion", "csh"}}) {
    const auto parsed = Parse(words);
    EXPECT_FALSE(parsed.invocation);
    EXPECT_EQ(parsed.exit_code, 2);
    EXPECT_EQ(parsed.text.rfind("airctl: ", 0), 0u) << parsed.text;
  }
  const auto parsed = Parse({"bogus", "--json"});
  EXPECT_EQ(parsed.exit_code, 2);
  EXPECT_NE(parsed.text.find("\"kind\": \"usage\""), std::string::npos) << parsed.text;
}

TEST_F(CommandLineTest, HelpAndVersionExitWithZero) {
  for (const auto& words : std::vector<std::vector<const char*>>{
           {"--help"}, {"--version"}, {"mount", "--help"}, {"token", "create", "--help"}}) {
    const auto parsed = Parse(words);
    EXPECT_FALSE(parsed.invocation);
    EXPECT_EQ(parsed.exit_code, 0);
    EXPECT_FALSE(parsed.text.empty());
  }
  EXPECT_NE(Parse({"--help"}).text.find("Exit status"), std::string::npos);
}

void CollectFlags(const CLI::App& app, std::set<std::string>& flags) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.insert("--" + name);
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    CollectFlags(*command, flags);
  }
}

TEST_F(CommandLineTest, EveryFlagIsInTheManualPageAndTheCompletions) {
  Invocation unused;
  std::set<std::string> flags;
  CollectFlags(*MakeParser(unused), flags);
  EXPECT_GE(flags.size(), 15u);
  std::ifstream file(AIRSTORE_MAN_DIR "/airctl.1");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  for (const std::string& flag : flags) {
    std::string roff;
    for (const char c : flag) roff += c == '-' ? std::string("\\-") : std::string(1, c);
    EXPECT_NE(page.find(roff), std::string::npos) << flag;
    EXPECT_NE(CompletionScript("bash").find(flag), std::string::npos) << flag;
    EXPECT_NE(CompletionScript("zsh").find(flag), std::string::npos) << flag;
    EXPECT_NE(CompletionScript("fish").find("-l " + flag.substr(2)), std::string::npos) << flag;
  }
}

}  // namespace
}  // namespace airstore::airctl
