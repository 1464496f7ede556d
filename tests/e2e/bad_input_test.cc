// SPDX-License-Identifier: Apache-2.0
//
// What people do wrong, and what they are told.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {
namespace {

using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

class BadInput : public HostTest {
 protected:
  // A broker that dies with the write lease is waited for so long.
  HostOptions Options() const override { return {.gateway_arguments = {"--session-seconds", "5"}}; }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    token_ = host().CreateWorkspace("work");
    directory_ = host().Path("mnt");
    mkdir(directory_.c_str(), 0755);
  }
  // On one line on stderr, nothing on stdout.
  static AssertionResult Says(const Finished& finished, int code, const std::string& text) {
    if (finished.code != code) {
      return AssertionFailure() << "expected exit code " << code << ", found " << finished.All();
    }
    if (finished.err.find(text) == std::string::npos) {
      return AssertionFailure() << "expected \"" << text << "\", found " << finished.All();
    }
    if (!finished.out.empty()) return AssertionFailure() << "on stdout: " << finished.out;
    return AssertionSuccess();
  }
  Finished Mount(const std::string& where, const Arguments& extra = {}) {
    Arguments words = {"mount", where, "--token-file", token_};
    words.insert(words.end(), extra.begin(), extra.end());
    return host().Airctl(words);
  }
  Finished MountWithToken(const std::string& text, mode_t mode = 0600) {
    const std::string file = host().Path("bad.token");
    WriteFile(file, text);
    chmod(file.c_str(), mode);
    return host().Airctl({"mount", directory_, "--token-file", file});
  }
  std::string token_;
  std::string directory_;
};

TEST_F(BadInput, UnknownFlags) {
  EXPECT_TRUE(Says(Mount(directory_, {"--nonsense"}), 2, "--nonsense"));
  EXPECT_TRUE(Says(RunProgram({Program("airstored"), "--nonsense"}), 2, "--nonsense"));
  EXPECT_EQ(RunProgram({Program("airstore-gateway"), "--nonsense"}).code, 2);
  EXPECT_EQ(host().Airctl({}).code, 2);
  EXPECT_TRUE(Says(host().Airctl({"mount", directory_, "--backend", "smb"}), 2, "smb"));
}

TEST_F(BadInput, MountPoints) {
  EXPECT_TRUE(Says(Mount(host().Path("missing")), 3, "does not exist"));
  WriteFile(host().Path("file"), "x");
  EXPECT_TRUE(Says(Mount(host().Path("file")), 2, "is not a directory"));
  WriteFile(directory_ + "/f", "x");
  EXPECT_TRUE(Says(Mount(directory_), 4, "is not empty"));
  EXPECT_EQ(Mount(directory_, {"--allow-non-empty"}).code, 0);
  EXPECT_TRUE(Says(Mount(directory_), 4, "already"));
}

TEST_F(BadInput, UnmountOfWhatIsNoMount) {
  EXPECT_TRUE(Says(host().Airctl({"unmount", directory_}), 3, "is not a mount"));
  EXPECT_TRUE(Says(host().Airctl({"status", directory_}), 3, "is not a mount"));
}

TEST_F(BadInput, BusyMounts) {
  ASSERT_EQ(Mount(directory_).code, 0);
  WriteFile(directory_ + "/f", "x");
  const UniqueFd open = Open(directory_ + "/f", O_RDONLY);
  EXPECT_TRUE(Says(host().Airctl({"unmount", directory_}), 4, "in use"));
  EXPECT_EQ(ReadFile(directory_ + "/f"), "x");
  EXPECT_EQ(host().Airctl({"unmount", "--force", directory_}).code, 0);
}

TEST_F(BadInput, StaleMounts) {
  ASSERT_EQ(Mount(directory_).code, 0);
  const auto frontend = host().MountStatus(directory_).at("frontend_pid").get<pid_t>();
  kill(host().broker().pid(), SIGKILL);
  kill(frontend, SIGKILL);
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(10), [&] {
    struct stat info {};
    return ErrnoOf(stat(directory_.c_str(), &info)) == ENOTCONN;
  }));
  host().WipeBrokerState();  // a broker that knows of the mount would have detached it
  host().StartBroker();
  EXPECT_TRUE(Says(Mount(directory_), 4, "stale"));
  EXPECT_TRUE(Says(host().Airctl({"unmount", directory_}), 3, "stale"));
  EXPECT_EQ(host().Airctl({"unmount", "--force", directory_}).code, 0);
  EXPECT_EQ(Mount(directory_).code, 0);
}

TEST_F(BadInput, Tokens) {
  EXPECT_TRUE(Says(host().Airctl({"mount", directory_}), 2, "no token"));
  EXPECT_TRUE(Says(host().Airctl({"mount", directory_, "--token-file", "/none"}), 2, "/none"));
  EXPECT_TRUE(Says(MountWithToken(""), 2, "no token"));
  EXPECT_TRUE(Says(MountWithToken("two words"), 2, "is no token"));
  EXPECT_TRUE(Says(MountWithToken("word", 0644), 5, "other users"));
  EXPECT_TRUE(Says(MountWithToken("unknown-to-the-gateway"), 5, "token"));
  EXPECT_TRUE(Says(MountWithToken("caf\xc3\xa9"), 5, "token"));
}

TEST_F(BadInput, RevokedTokens) {
  const auto tokens =
      host().AirctlJson({"token", "list", "work", "--gateway", host().gateway_address(),
                         "--token-file", host().admin_token_file()});
  const auto id = tokens.at("tokens").at(0).at("id").get<std::string>();
  (void)host().AirctlJson({"token", "revoke", id, "--gateway", host().gateway_address(),
                           "--token-file", host().admin_token_file()});
  EXPECT_TRUE(Says(Mount(directory_), 5, "token"));
}

TEST_F(BadInput, TokensOfOtherWorkspaces) {
  host().CreateWorkspace("other");
  const Finished finished = host().Airctl({"mount", "other", directory_, "--token-file", token_});
  EXPECT_TRUE(finished.code == 3 || finished.code == 5) << finished.All();
  EXPECT_NE(finished.err.find("this workspace"), std::string::npos) << finished.All();
}

TEST_F(BadInput, GatewayAddresses) {
  EXPECT_TRUE(Says(Mount(directory_, {"--gateway", "host:notaport"}), 2, "host:notaport"));
  EXPECT_TRUE(Says(Mount(directory_, {"--gateway", "unix:relative"}), 2, "unix:relative"));
  // Port 1 of this host: nobody listens.
  EXPECT_TRUE(Says(Mount(directory_, {"--gateway", "127.0.0.1:1"}), 6, "127.0.0.1:1"));
  // The broker goes on.
  EXPECT_EQ(Mount(directory_).code, 0);
}

TEST_F(BadInput, ConfigurationFiles) {
  const std::string file = host().Path("airstored.toml");
  const auto check = [&](const std::string& text) {
    WriteFile(file, text);
    return RunProgram({Program("airstored"), "--config", file, "--check-config"});
  };
  EXPECT_TRUE(
      Says(check("# comment\nlog_level = \"info\"\ngatewy = \"x\"\n"), 2, file + ":3: gatewy"));
  EXPECT_TRUE(Says(check("slab_limit = \"much\"\n"), 2, file + ":1: slab_limit"));
  EXPECT_TRUE(Says(check("a = [\n"), 2, file + ":"));
  EXPECT_TRUE(Says(RunProgram({Program("airstored"), "--config", "/none"}), 2, "/none"));
  EXPECT_EQ(check("log_level = \"info\"\n").code, 0);
}

TEST_F(BadInput, NoBroker) {
  host().StopBroker();
  EXPECT_TRUE(Says(host().Airctl({"status"}), 6, "airstored"));
  EXPECT_TRUE(Says(Mount(directory_), 6, "airstored"));
  EXPECT_EQ(host().Airctl({"version"}).code, 0);
}

TEST_F(BadInput, TwoBrokersOnOneState) {
  const Finished second = RunProgram({Program("airstored"), "--state-dir", host().Path("state"),
                                      "--socket", host().Path("second.sock")},
                                     {.patience = std::chrono::seconds(20)});
  EXPECT_EQ(second.code, 1) << second.All();
  EXPECT_EQ(host().Airctl({"status"}).code, 0);
}

TEST_F(BadInput, FailuresAsJson) {
  const Finished finished = host().Airctl({"--json", "mount", host().Path("missing")});
  EXPECT_EQ(finished.code, 3);
  const auto json = nlohmann::json::parse(finished.out);
  EXPECT_EQ(json.at("error").at("kind"), "not_found");
  EXPECT_NE(json.at("error").at("advice"), "");
}

}  // namespace
}  // namespace airstore::e2e
