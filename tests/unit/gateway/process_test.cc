// SPDX-License-Identifier: Apache-2.0
//
// The real program, killed without warning while batches are on their way: what was answered is
// there afterwards, and what is sent again is applied once.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/unit/gateway/bench.h"
#include "tests/unit/gateway/client.h"

namespace airstore::gateway {
namespace {

class Program {
 public:
  explicit Program(const std::string& directory) : directory_(directory) { Start(); }
  ~Program() { Kill(SIGTERM); }

  void Start() {
    std::filesystem::remove(directory_ + "/socket");
    const std::string data = directory_ + "/data";
    const std::string listen = "unix:" + directory_ + "/socket";
    pid_ = fork();
    if (pid_ == 0) {
      execl(AIRSTORE_GATEWAY_PROGRAM, AIRSTORE_GATEWAY_PROGRAM, "--data", data.c_str(), "--listen",
            listen.c_str(), "--log-level", "warn", nullptr);
      _exit(127);
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!std::filesystem::exists(directory_ + "/socket") &&
           std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
  }
  int Kill(int signal_number) {
    if (pid_ <= 0) return 0;
    kill(pid_, signal_number);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }
  std::string address() const { return "unix:" + directory_ + "/socket"; }
  std::string AdminSecret() const {
    std::string secret;
    std::ifstream(directory_ + "/data/admin-token") >> secret;
    return secret;
  }

 private:
  const std::string directory_;
  pid_t pid_ = 0;
};

TEST(Program, AppliesEachMutationOnceOverKills) {
  TempDirectory directory;
  Program program(directory.path());
  const std::string session(16, 's');
  Client setup(program.address(), program.AdminSecret(), session);
  wire::CreateWorkspaceRequest create;
  wire::Workspace workspace;
  create.set_name("w");
  ASSERT_TRUE(setup.Call(&wire::Admin::Stub::CreateWorkspace, create, &workspace).ok());
  ASSERT_TRUE(setup.Open("w").ok());
  const uint64_t first_inode = setup.opened.inodes().first();

  std::vector<wire::ApplyRequest> batches;
  for (uint64_t i = 0; i < 12; ++i) {
    wire::ApplyRequest& batch = batches.emplace_back();
    for (uint64_t k = 0; k < 30; ++k) {
      const uint64_t n = i * 30 + k;
      setup.AddFile(&batch, "f" + std::to_string(n), first_inode + n,
                    "content of " + std::to_string(n));
    }
  }
  for (size_t i = 0; i < batches.size(); ++i) {
    // Killed at various moments: before, while and after the batch is applied.
    std::thread killer([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 700));
      program.Kill(SIGKILL);
    });
    wire::ApplyResponse response;
    bool answered = false;
    {
      Client c(program.address(), program.AdminSecret(), session);
      auto context = c.Context();
      context->set_wait_for_ready(false);
      answered = c.storage->Apply(context.get(), batches[i], &response).ok();
    }
    killer.join();
    program.Start();
    Client again(program.address(), program.AdminSecret(), session);
    ASSERT_TRUE(again.Open("w").ok());
    ASSERT_TRUE(again.opened.resumed());
    if (answered) {
      ASSERT_EQ(again.opened.last_applied_sequence(), (i + 1) * 60);
    }
    wire::ApplyResponse repeated;
    ASSERT_TRUE(again.Apply(batches[i], &repeated).ok());
    for (const auto& result : repeated.results()) ASSERT_EQ(result.error(), 0);
    if (answered) {
      ASSERT_EQ(repeated.SerializeAsString(), response.SerializeAsString());
    }
  }
  Client last(program.address(), program.AdminSecret(), session);
  for (int n = 0; n < 360; n += 7) {
    const auto found = last.Lookup("f" + std::to_string(n), 1000);
    ASSERT_EQ(found.entry().content(), "content of " + std::to_string(n));
    ASSERT_EQ(found.entry().attr().content_version(), 2u);
  }
}

TEST(Program, StopsCleanlyOnSigterm) {
  TempDirectory directory;
  Program program(directory.path());
  Client c(program.address(), program.AdminSecret(), std::string(16, 's'));
  wire::CreateWorkspaceRequest create;
  wire::Workspace workspace;
  create.set_name("w");
  ASSERT_TRUE(c.Call(&wire::Admin::Stub::CreateWorkspace, create, &workspace).ok());
  ASSERT_TRUE(c.Open("w").ok());
  wire::WatchRequest watch;
  watch.set_session_id(c.session_id);
  watch.set_cursor(c.opened.watch_cursor());
  auto context = c.Context();
  auto stream = c.storage->Watch(context.get(), watch);
  stream->WaitForInitialMetadata();
  const int status = program.Kill(SIGTERM);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  wire::WatchEvent event;
  EXPECT_FALSE(stream->Read(&event));
  EXPECT_FALSE(stream->Finish().ok());
}

}  // namespace
}  // namespace airstore::gateway
