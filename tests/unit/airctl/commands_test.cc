// SPDX-License-Identifier: Apache-2.0
//
// Whole commands against a broker of a few lines.
#include "tools/airctl/commands.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "broker/control_frame.h"
#include "shm/base/fd.h"
#include "tests/unit/broker/temp_dir.h"
#include "tools/airctl/failure.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

class CommandsTest : public testing::Test {
 protected:
  ~CommandsTest() override {
    if (thread_.joinable()) thread_.join();
  }

  // Takes one request and sends these; an empty one is sent as garbage. That so many times.
  void Serve(std::vector<wire::Response> responses, int times = 1) {
    listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, (temp_ / "s").c_str());
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener_.get(), 1), 0);
    thread_ = std::thread([this, responses = std::move(responses), times] {
      for (int i = 0; i < times; ++i) ServeOne(responses);
    });
  }
  void ServeOne(const std::vector<wire::Response>& responses) {
    const UniqueFd peer(accept(listener_.get(), nullptr, nullptr));
    control::FrameHeader header{};
    recv(peer.get(), header.data(), header.size(), MSG_WAITALL);
    std::string body(control::FrameLength(header), '\0');
    recv(peer.get(), body.data(), body.size(), MSG_WAITALL);
    EXPECT_TRUE(request_.ParseFromString(body));
    for (const wire::Response& response : responses) {
      const std::string frame =
          control::MakeFrame(response.what_case() == 0 ? "\xff\xff" : response.SerializeAsString());
      send(peer.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
    }
  }
  int RunIt(Invocation invocation) {
    invocation.socket = temp_ / "s";
    return airctl::Run(invocation, {out_, err_,
                                    [this](const char* name) -> const char* {
                                      return std::string(name) == "AIRSTORE_TOKEN" &&
                                                     !token_.empty()
                                                 ? token_.c_str()
                                                 : nullptr;
                                    },
                                    false});
  }
  static Invocation Of(Command command) {
    Invocation invocation;
    invocation.command = command;
    return invocation;
  }
  static wire::Response Failed(wire::FailureKind kind) {
    wire::Response response;
    response.mutable_failure()->set_kind(kind);
    response.mutable_failure()->set_message("what");
    response.mutable_failure()->set_advice("do");
    return response;
  }

  TempDir temp_;
  TempDir empty_;
  std::string token_ = "top-secret";
  UniqueFd listener_;
  std::thread thread_;
  wire::Request request_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(CommandsTest, MountAsksAndTells) {
  wire::Response progress, done;
  progress.mutable_progress()->set_message("connecting");
  done.mutable_mount()->mutable_mount()->set_workspace("demo");
  done.mutable_mount()->mutable_mount()->set_mountpoint(empty_.path());
  Serve({progress, done});
  Invocation mount = Of(Command::kMount);
  mount.mountpoint = empty_.path();
  mount.workspace = "demo";
  mount.gid = 0;
  mount.passthrough = "off";
  EXPECT_EQ(RunIt(mount), 0) << err_.str();
  thread_.join();
  EXPECT_EQ(out_.str(), "mounted demo on " + empty_.path() + "\n");
  EXPECT_EQ(request_.mount().gateway().token(), "top-secret");
  EXPECT_EQ(request_.mount().mountpoint(), empty_.path());
  EXPECT_FALSE(request_.mount().has_uid());
  EXPECT_TRUE(request_.mount().has_gid());
  EXPECT_EQ(request_.mount().passthrough(), wire::PASSTHROUGH_OFF);
}

TEST_F(CommandsTest, MountWithoutTokenDoesNotAsk) {
  token_.clear();
  Invocation mount = Of(Command::kMount);
  mount.mountpoint = empty_.path();
  EXPECT_EQ(RunIt(mount), 2);
  EXPECT_NE(err_.str().find("--token-file"), std::string::npos);
}

TEST_F(CommandsTest, FailureOfTheBrokerIsTheExitCode) {
  Serve({Failed(wire::FAILURE_KIND_DIRTY)});
  Invocation unmount = Of(Command::kUnmount);
  unmount.mountpoint = empty_.path();
  EXPECT_EQ(RunIt(unmount), 8);
  EXPECT_EQ(err_.str(), "airctl: what: do\n");
}

TEST_F(CommandsTest, JsonErrorsGoToStdout) {
  Serve({Failed(wire::FAILURE_KIND_EXISTS)});
  Invocation create = Of(Command::kWorkspaceCreate);
  create.json = true;
  EXPECT_EQ(RunIt(create), 9);
  EXPECT_EQ(nlohmann::json::parse(out_.str())["error"]["kind"], "exists");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandsTest, NoBrokerIsSix) {
  EXPECT_EQ(RunIt(Of(Command::kStatus)), 6);
  EXPECT_NE(err_.str().find("not running"), std::string::npos);
  Invocation unmount = Of(Command::kUnmount);
  unmount.mountpoint = empty_.path();
  unmount.force = true;
  EXPECT_EQ(RunIt(unmount), 6) << "not a mount";
}

TEST_F(CommandsTest, BrokerThatDiesOrTalksNonsenseIsAFailure) {
  Serve({}, 2);
  EXPECT_EQ(RunIt(Of(Command::kStatus)), 6);
  EXPECT_NE(err_.str().find("ended before it answered"), std::string::npos);
}

TEST_F(CommandsTest, BrokerThatDiesOverAChangeIsNotAskedAgain) {
  Serve({}, 1);
  Invocation mount = Of(Command::kMount);
  mount.workspace = "demo";
  mount.mountpoint = empty_.path();
  mount.gateway = "unix:/nowhere";
  EXPECT_EQ(RunIt(mount), 6);
  EXPECT_NE(err_.str().find("ended before it answered"), std::string::npos);
}

TEST_F(CommandsTest, NonsenseIsAnInternalFailure) {
  Serve({wire::Response()});
  EXPECT_EQ(RunIt(Of(Command::kStatus)), 1);
}

TEST_F(CommandsTest, VersionWorksWithoutABroker) {
  EXPECT_EQ(RunIt(Of(Command::kVersion)), 0);
  EXPECT_NE(out_.str().find("not running"), std::string::npos);
  out_.str("");
  Invocation json = Of(Command::kVersion);
  json.json = true;
  EXPECT_EQ(RunIt(json), 0);
  EXPECT_TRUE(nlohmann::json::parse(out_.str())["broker"].is_null());
}

TEST_F(CommandsTest, OnlyTheSecretOfATokenGoesToStdout) {
  wire::Response created;
  created.mutable_token_created()->set_secret("shh");
  created.mutable_token_created()->mutable_token()->set_id("id7");
  Serve({created});
  Invocation create = Of(Command::kTokenCreate);
  create.workspace = "w";
  create.read_only = true;
  EXPECT_EQ(RunIt(create), 0);
  thread_.join();
  EXPECT_EQ(out_.str(), "shh\n");
  EXPECT_NE(err_.str().find("id7"), std::string::npos);
  EXPECT_TRUE(request_.token_create().read_only());
}

TEST_F(CommandsTest, StatusOfOneMountIsAskedByItsAbsolutePath) {
  wire::Response status;
  status.mutable_status()->mutable_broker()->set_pid(9);
  Serve({status});
  Invocation one = Of(Command::kStatus);
  one.mountpoint =
      empty_.path() + "/../" + std::filesystem::path(empty_.path()).filename().string();
  one.json = true;
  EXPECT_EQ(RunIt(one), 0);
  thread_.join();
  EXPECT_EQ(request_.status().mountpoint(), empty_.path());
  EXPECT_EQ(nlohmann::json::parse(out_.str())["broker"]["pid"], 9);
}

}  // namespace
}  // namespace airstore::airctl
