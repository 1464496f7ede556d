// SPDX-License-Identifier: Apache-2.0
#include "broker/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace airstore::broker {
namespace {

constexpr int kGivenFd = 3;
constexpr size_t kMostOutput = 4096;

// Until it says no more, or the time is over. True: it is.
bool ReadOutput(int from, const ProgramSpec& spec, std::string* text) {
  const auto begun = std::chrono::steady_clock::now();
  for (;;) {
    int wait_ms = -1;
    if (spec.patience) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          begun + *spec.patience - std::chrono::steady_clock::now());
      if (left.count() <= 0) return true;
      wait_ms = static_cast<int>(left.count());
    }
    pollfd readable{from, POLLIN, 0};
    const int ready = poll(&readable, 1, wait_ms);
    if (ready < 0 && errno != EINTR) return false;
    if (ready <= 0) continue;
    char buffer[512];
    const ssize_t got = read(from, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    if (text->size() < kMostOutput) text->append(buffer, static_cast<size_t>(got));
  }
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& text : strings) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<ProgramRun> RunProgram(ProgramSpec spec) {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) return SysError("pipe");
  const UniqueFd said(pipes[0]);
  UniqueFd speak(pipes[1]);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (text.rfind("PATH=", 0) == 0 || text.rfind("LANG=", 0) == 0) {
      spec.environment.emplace_back(text);
    }
  }
  const std::vector<char*> argv = Pointers(spec.arguments);
  const std::vector<char*> envp = Pointers(spec.environment);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // In this order: the pipe's end may itself be number 3.
  posix_spawn_file_actions_adddup2(&actions, speak.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, speak.get(), STDERR_FILENO);
  if (spec.at_three) posix_spawn_file_actions_adddup2(&actions, spec.at_three.get(), kGivenFd);
  posix_spawn_file_actions_addclosefrom_np(&actions, spec.at_three ? kGivenFd + 1 : kGivenFd);
  pid_t pid = -1;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return SysError("start " + spec.arguments[0], failed);
  spec.at_three.reset();
  speak.reset();

  if (spec.on_started) spec.on_started();
  ProgramRun run;
  run.late = ReadOutput(said.get(), spec, &run.output);
  if (run.late) (void)kill(pid, SIGKILL);
  std::replace(run.output.begin(), run.output.end(), '\n', ' ');
  while (!run.output.empty() && run.output.back() == ' ') run.output.pop_back();
  int status = 0;
  pid_t reaped = 0;
  while ((reaped = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
  }
  // Somebody else reaped it (SIGCHLD ignored): what it said tells how it went.
  run.success = reaped < 0 ? run.output.empty() : WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return run;
}

}  // namespace airstore::broker
