// SPDX-License-Identifier: Apache-2.0
#include "broker/launcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace airstore::broker {
namespace {

FrontendProcess Start(const std::vector<std::string>& arguments, uint32_t uid = 0,
                      const std::string& program = "/bin/sh") {
  auto process = Launch({program, arguments, uid, uid});
  EXPECT_TRUE(process) << process.error().ToString();
  return process ? std::move(*process) : FrontendProcess();
}

// What a shell script writes to the channel, one packet per write.
std::string Said(FrontendProcess& process) {
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(process.channel.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

TEST(Launcher, SaysHowAProcessEnded) {
  EXPECT_EQ(Reap(Start({}, 0, "/bin/true")).text, "exit status 0");
  EXPECT_EQ(Reap(Start({"-c", "exit 3"})).text, "exit status 3");
  EXPECT_EQ(Reap(Start({"-c", "kill -9 $$"})).text, "killed by signal 9");
}

TEST(Launcher, PidfdBecomesReadableAtTheEnd) {
  auto process = Start({"-c", "read x <&3"});
  pollfd wait{process.pidfd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&wait, 1, 0), 0);
  process.channel.reset();
  EXPECT_EQ(poll(&wait, 1, 10'000), 1);
  Reap(process);
}

TEST(Launcher, ChannelIsDescriptorThreeAndAllThereIs) {
  // A descriptor that somebody opened without close-on-exec.
  const UniqueFd leaked(open("/dev/null", O_RDONLY));
  const UniqueFd high(fcntl(leaked.get(), F_DUPFD, 200));
  auto process = Start({"-c", "exec ls /proc/self/fd >&3"});
  // 4 is the directory that ls reads.
  EXPECT_EQ(Said(process), "0\n1\n2\n3\n4\n");
  Reap(process);
}

TEST(Launcher, MissingProgramIsAnError) {
  const auto process = Launch({"/nonexistent/frontend", {}, 0, 0});
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, ENOENT);
  EXPECT_EQ(process.error().message, "execute /nonexistent/frontend");
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "the child was not reaped";
}

TEST(Launcher, NeverGainsPrivilegesAndDropsToTheOwner) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  auto process = Start({"-c",
                        "exec >&3; id -u; id -g; id -G; grep -E 'NoNewPrivs|CapEff' "
                        "/proc/self/status; pwd"},
                       65534);
  EXPECT_EQ(Said(process), "65534\n65534\n65534\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n/\n");
  Reap(process);
}

TEST(Launcher, PassesNoSecrets) {
  setenv("AIRSTORE_TOKEN", "secret", 1);
  setenv("LC_ALL", "C", 1);
  auto process = Start({"-c", "env >&3"});
  const std::string environment = Said(process);
  unsetenv("AIRSTORE_TOKEN");
  Reap(process);
  EXPECT_EQ(environment.find("secret"), std::string::npos);
  EXPECT_NE(environment.find("LC_ALL=C"), std::string::npos);
}

TEST(Launcher, SignalsAreAsUsualInTheChild) {
  signal(SIGPIPE, SIG_IGN);
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
  auto process = Start({"-c", "grep -E 'SigBlk|SigIgn' /proc/self/status >&3"});
  EXPECT_EQ(Said(process), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr);
  signal(SIGPIPE, SIG_DFL);
  Reap(process);
}

TEST(Launcher, MeasuresPrivateMemory) {
  auto process = Start({"-c", "echo >&3; read x <&3"});
  char byte = 0;
  ASSERT_EQ(read(process.channel.get(), &byte, 1), 1);
  EXPECT_GT(PrivateResidentBytes(process.pid), 10'000u);
  process.channel.reset();
  Reap(process);
  EXPECT_EQ(PrivateResidentBytes(process.pid), 0u);
}

}  // namespace
}  // namespace airstore::broker
