// SPDX-License-Identifier: Apache-2.0
#include "broker/options.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <vector>

#include "broker/options_keys.h"
#include "tests/unit/broker/temp_dir.h"

namespace airstore::broker {
namespace {

std::string Installed(const std::string& name) {
  std::ifstream file(AIRSTORE_PACKAGING_DIR "/" + name);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

class OptionsTest : public testing::Test {
 protected:
  CommandLine Parse(std::vector<std::string> words) {
    // Never what this host has configured.
    if (!environment_.count("AIRSTORE_CONFIG") && !config_.empty()) {
      environment_["AIRSTORE_CONFIG"] = config_;
    }
    words.insert(words.begin(), "airstored");
    std::vector<const char*> argv;
    for (const auto& word : words) argv.push_back(word.c_str());
    return ParseCommandLine(static_cast<int>(argv.size()), argv.data(), [this](const char* name) {
      const auto found = environment_.find(name);
      return found == environment_.end() ? nullptr : found->second.c_str();
    });
  }
  void Configure(const std::string& text) { config_ = dir_.Write("airstored.toml", text); }

  TempDir dir_;
  std::string config_ = dir_.Write("empty.toml", "");
  std::map<std::string, std::string> environment_;
};

TEST_F(OptionsTest, HasDefaultsForRootAndForUsers) {
  environment_["XDG_STATE_HOME"] = "/s";
  environment_["XDG_RUNTIME_DIR"] = "/r";
  const auto line = Parse({});
  ASSERT_EQ(line.action, CommandLine::Action::kRun) << line.text;
  const bool root = geteuid() == 0;
  EXPECT_EQ(line.options.state_dir, root ? "/var/lib/airstore" : "/s/airstore");
  EXPECT_EQ(line.options.socket, root ? "/run/airstore/control.sock" : "/r/airstore/control.sock");
  EXPECT_EQ(line.options.slab_limit, 512u << 20);
  EXPECT_FALSE(line.options.frontend_dir.empty());
}

TEST_F(OptionsTest, LaterSourcesWin) {
  Configure("log_level = \"warn\"\ngateway = \"file:1\"\nslab_limit = \"64MiB\"\n");
  environment_["AIRSTORE_GATEWAY"] = "env:1";
  environment_["AIRSTORE_SLAB_LIMIT"] = "65MiB";
  const auto line = Parse({"--slab-limit", "66MiB"});
  ASSERT_EQ(line.action, CommandLine::Action::kRun) << line.text;
  EXPECT_EQ(line.options.log_level, "warn");
  EXPECT_EQ(line.options.gateway, "env:1");
  EXPECT_EQ(line.options.slab_limit, 66u << 20);
}

TEST_F(OptionsTest, ReadsEveryKindFromTheFile) {
  Configure(
      "io_timeout = \"2m\"\nwrite_debounce_ms = 100\nfuse_passthrough = false\n"
      "content_limit = 1048576\ninode_limit = 5000\n");
  const auto line = Parse({});
  ASSERT_EQ(line.action, CommandLine::Action::kRun) << line.text;
  EXPECT_EQ(line.options.io_timeout, std::chrono::minutes(2));
  EXPECT_EQ(line.options.write_debounce, std::chrono::milliseconds(100));
  EXPECT_FALSE(line.options.fuse_passthrough);
  EXPECT_EQ(line.options.content_limit, 1u << 20);
  EXPECT_EQ(line.options.inode_limit, 5000u);
}

TEST_F(OptionsTest, TraceMayBeNumbersAndWords) {
  EXPECT_NE(Parse({"--check-config"})
                .text.find("fuse_trace = off\nfuse_trace_interval = 2s\nfuse_trace_slow_ms = 50\n"),
            std::string::npos);
  Configure("fuse_trace = true\nfuse_trace_interval = \"1m30s\"\nfuse_trace_slow_ms = 7\n");
  environment_.erase("AIRSTORE_CONFIG");  // of what was parsed before
  // The variables are read as they always were.
  environment_["AIRSTORE_FUSE_TRACE_INTERVAL"] = "2 seconds";
  environment_["AIRSTORE_FUSE_TRACE_SLOW_MS"] = "abc";
  const auto line = Parse({"--check-config"});
  ASSERT_EQ(line.exit_code, 0) << line.text;
  EXPECT_NE(
      line.text.find("fuse_trace = true\nfuse_trace_interval = 1m30s\nfuse_trace_slow_ms = 7\n"),
      std::string::npos)
      << line.text;
  EXPECT_EQ(Parse({"--fuse-trace-interval", "2 seconds"}).exit_code, 2);
  EXPECT_EQ(Parse({"--fuse-trace-slow-ms", "abc"}).exit_code, 2);
}

TEST_F(OptionsTest, OwnStateDirMeansOwnSocket) {
  EXPECT_EQ(Parse({"--state-dir", "/tmp/x"}).options.socket, "/tmp/x/control.sock");
  EXPECT_EQ(Parse({"--state-dir", "/tmp/x", "--socket", "/tmp/s"}).options.socket, "/tmp/s");
}

TEST_F(OptionsTest, FlagsCanBeTurnedOff) {
  EXPECT_FALSE(Parse({"--no-fuse-passthrough"}).options.fuse_passthrough);
  EXPECT_TRUE(Parse({"--fuse-passthrough"}).options.fuse_passthrough);
  EXPECT_TRUE(Parse({"--gateway-insecure"}).options.gateway_insecure);
  environment_["AIRSTORE_GATEWAY_INSECURE"] = "true";
  EXPECT_FALSE(Parse({"--no-gateway-insecure"}).options.gateway_insecure);
}

struct BadFile {
  const char* text;
  const char* complaint;
};
class OptionsFileTest : public OptionsTest, public testing::WithParamInterface<BadFile> {};

TEST_P(OptionsFileTest, SaysWhatIsWrongWhere) {
  Configure(GetParam().text);
  const auto line = Parse({});
  EXPECT_EQ(line.action, CommandLine::Action::kExit);
  EXPECT_EQ(line.exit_code, 2);
  EXPECT_NE(line.text.find("airstored.toml:"), std::string::npos) << line.text;
  EXPECT_NE(line.text.find(GetParam().complaint), std::string::npos) << line.text;
}

INSTANTIATE_TEST_SUITE_P(
    Bad, OptionsFileTest,
    testing::Values(BadFile{"\nfoo = 1\n", ":2: foo: there is no such key"},
                    BadFile{"slab_limit = true\n", ":1: slab_limit: expected a size"},
                    BadFile{"slab_limit = \"12XB\"\n", ":1: slab_limit: expected a size"},
                    BadFile{"inode_limit = \"1MiB\"\n", ":1: inode_limit: expected a number"},
                    BadFile{"fuse_passthrough = \"yes\"\n", "expected true or false"},
                    BadFile{"gateway = 5\n", ":1: gateway: expected a string"},
                    BadFile{"log_level = \"loud\"\n", "expected one of trace"},
                    BadFile{"io_timeout = \"soon\"\n", "expected a time"},
                    BadFile{"write_debounce_ms = -1\n", "expected milliseconds"},
                    BadFile{"fuse_trace = 5\n", ":1: fuse_trace: expected 1, true, yes"},
                    BadFile{"fuse_trace_interval = \"2 seconds\"\n", "interval: expected a time"},
                    BadFile{"fuse_trace_interval = 2\n", "interval: expected a time"},
                    BadFile{"fuse_trace_slow_ms = \"abc\"\n", "slow_ms: expected milliseconds"},
                    BadFile{"[table]\nx = 1\n", ":1: table: there is no such key"},
                    BadFile{"gateway = \n", ":1: "}));

TEST_F(OptionsTest, RefusesWhatContradictsItself) {
  EXPECT_EQ(Parse({"--write-debounce-ms", "5000"}).exit_code, 2);
  EXPECT_EQ(Parse({"--gateway-cert-file", "/dev/null"}).exit_code, 2);
  EXPECT_EQ(Parse({"--gateway-ca-file", "/nonexistent"}).exit_code, 2);
  EXPECT_EQ(Parse({"--gateway", "nonsense"}).exit_code, 2);
  EXPECT_EQ(Parse({"--gateway", "a:1,,b:2"}).exit_code, 2);
  EXPECT_EQ(Parse({"--gateway", "unix:relative"}).exit_code, 2);
  EXPECT_EQ(Parse({"--socket", "/" + std::string(200, 's')}).exit_code, 2);
  EXPECT_EQ(Parse({"--io-timeout", "0"}).exit_code, 2);
  EXPECT_EQ(Parse({"--fuse-trace", "maybe"}).exit_code, 2);
  EXPECT_EQ(Parse({"--frontend-dir", "here"}).exit_code, 2);
  EXPECT_EQ(Parse({"--check-config", "--log-file", "/nonexistent/log"}).exit_code, 2);
  EXPECT_EQ(Parse({"--check-config", "--store-dir", "/dev/null/below"}).exit_code, 2);
  EXPECT_EQ(Parse({"--state-dir", "relative"}).exit_code, 2);
  EXPECT_EQ(Parse({"--slab-limit", "1KiB"}).exit_code, 2);
  EXPECT_EQ(Parse({"--bogus"}).exit_code, 2);
  environment_["AIRSTORE_IO_TIMEOUT"] = "x";
  const auto line = Parse({});
  EXPECT_NE(line.text.find("AIRSTORE_IO_TIMEOUT"), std::string::npos);
}

TEST_F(OptionsTest, MissingNamedFileIsAnError) {
  EXPECT_EQ(Parse({"--config", dir_ / "none.toml"}).exit_code, 2);
}

TEST_F(OptionsTest, CheckConfigPrintsWhatHolds) {
  const auto line = Parse({"--check-config", "--slab-limit", "1GiB"});
  EXPECT_EQ(line.action, CommandLine::Action::kExit);
  EXPECT_EQ(line.exit_code, 0);
  EXPECT_NE(line.text.find("slab_limit = 1GiB\n"), std::string::npos);
}

TEST_F(OptionsTest, SizesAndDurationsParse) {
  EXPECT_EQ(*ParseSize("0"), 0u);
  EXPECT_EQ(*ParseSize("3KiB"), 3072u);
  EXPECT_EQ(*ParseSize("2G"), 2ull << 30);
  EXPECT_EQ(*ParseSize("2TiB"), 2ull << 40);
  for (const char* bad :
       {"", "x", "-1", "1 MiB", "99999999999999999999", "99999999999TiB", "1KBB"}) {
    EXPECT_FALSE(ParseSize(bad)) << bad;
  }
  const std::chrono::milliseconds second(1000);
  EXPECT_EQ(*ParseDuration("5", second), 5 * second);
  EXPECT_EQ(*ParseDuration("5ms", second), std::chrono::milliseconds(5));
  EXPECT_EQ(*ParseDuration("2h", second), std::chrono::hours(2));
  for (const char* bad : {"", "s", "5 s", "5d", "99999999999h"}) {
    EXPECT_FALSE(ParseDuration(bad, second)) << bad;
  }
  EXPECT_EQ(FormatSize(512u << 20), "512MiB");
  EXPECT_EQ(FormatSize(1025), "1025B");
}

TEST_F(OptionsTest, EveryFlagIsInTheManualPage) {
  const auto line = Parse({"--help"});
  ASSERT_EQ(line.exit_code, 0);
  const std::string page = Installed("man/airstored.8");
  const std::string keys = Installed("man/airstored.toml.5");
  const std::regex flag("--[a-z][a-z-]+");
  std::set<std::string> flags;
  for (std::sregex_iterator it(line.text.begin(), line.text.end(), flag), end; it != end; ++it) {
    flags.insert(it->str());
  }
  EXPECT_GT(flags.size(), 15u);
  for (const std::string& name : flags) {
    EXPECT_NE(page.find(std::regex_replace(name, std::regex("-"), "\\-")), std::string::npos)
        << name;
  }
  size_t described = 0;
  for (size_t at = 0; (at = keys.find("\n.BI ", at)) != std::string::npos; ++at) ++described;
  EXPECT_EQ(described, OptionKeys().size());
  for (const OptionKey& key : OptionKeys()) {
    EXPECT_NE(keys.find("\n.BI " + std::string(key.name) + " \" = "), std::string::npos)
        << key.name;
  }
}

// What is a comment there is the default, so all of it is valid.
TEST_F(OptionsTest, TheInstalledFileSaysTheDefaults) {
  const std::regex names("\"/etc/airstore/[a-z]+\\.[a-z]+\"");
  const std::regex comment("(^|\n)#([a-z_]+ = )");
  const std::string text =
      std::regex_replace(Installed("config/airstored.toml"), names, "\"/dev/null\"");
  EXPECT_EQ(Parse({"--config", dir_.Write("as_is.toml", text)}).options.gateway, Options().gateway);
  const auto line =
      Parse({"--config", dir_.Write("all.toml", std::regex_replace(text, comment, "$1$2"))});
  ASSERT_EQ(line.action, CommandLine::Action::kRun) << line.text;
  const Options defaults;
  EXPECT_EQ(line.options.gateway, "localhost:1993");
  EXPECT_EQ(line.options.inode_limit, defaults.inode_limit);
  EXPECT_EQ(line.options.slab_limit, defaults.slab_limit);
  EXPECT_EQ(line.options.content_limit, defaults.content_limit);
  EXPECT_EQ(line.options.spool_limit, defaults.spool_limit);
  EXPECT_EQ(line.options.io_timeout, defaults.io_timeout);
  EXPECT_EQ(line.options.log_level, defaults.log_level);
}

}  // namespace
}  // namespace airstore::broker
