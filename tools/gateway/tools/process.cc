// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tools/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "tools/gateway/clock.h"

namespace airstore::gateway {
namespace {

constexpr std::chrono::seconds kTermGrace{2};
constexpr size_t kChunkBytes = 64 << 10;

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SysError("pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::vector<std::string> Environment(const ProcessSpec& spec) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string name(text.substr(0, text.find('=')));
    const bool own = name.starts_with("AIRSTORE_") || name.starts_with("AWS_");
    if (!own && !spec.environment.contains(name)) all.emplace_back(text);
  }
  for (const auto& [name, value] : spec.environment) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// What posix_spawn is told; freed with it.
struct SpawnPlan {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    // The gateway blocks and ignores some.
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
};

}  // namespace

Cancel::Cancel() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { AIRSTORE_CHECK(event_); }

void Cancel::Raise() {
  const uint64_t one = 1;
  (void)!write(event_.get(), &one, sizeof one);
}

bool Cancel::raised() const {
  pollfd poll_fd{event_.get(), POLLIN, 0};
  return poll(&poll_fd, 1, 0) == 1;
}

Result<Process> Process::Start(const ProcessSpec& spec) {
  if (spec.command.empty()) return Error{EINVAL, "no command"};
  Process process;
  auto out = MakePipe();
  if (!out) return out.error();
  auto err = MakePipe();
  if (!err) return err.error();
  UniqueFd in, in_other;
  SpawnPlan plan;
  if (spec.with_stdin) {
    // Not a pipe: writing to one that nobody reads raises a signal.
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return SysError("socketpair");
    in.reset(fds[0]);
    in_other.reset(fds[1]);
    posix_spawn_file_actions_adddup2(&plan.actions, in_other.get(), STDIN_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&plan.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  }
  posix_spawn_file_actions_adddup2(&plan.actions, out->write.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&plan.actions, err->write.get(), STDERR_FILENO);
  if (!spec.directory.empty()) {
    posix_spawn_file_actions_addchdir_np(&plan.actions, spec.directory.c_str());
  }
  std::vector<std::string> arguments = spec.command;
  std::vector<std::string> environment = Environment(spec);
  const int error =
      posix_spawnp(&process.pid_, spec.command.front().c_str(), &plan.actions, &plan.attributes,
                   Pointers(arguments).data(), Pointers(environment).data());
  if (error != 0) {
    process.pid_ = -1;
    return SysError("start " + spec.command.front(), error);
  }
  process.pidfd_.reset(static_cast<int>(syscall(SYS_pidfd_open, process.pid_, 0)));
  if (!process.pidfd_) return SysError("pidfd_open");
  process.in_ = std::move(in);
  process.out_ = std::move(out->read);
  process.err_ = std::move(err->read);
  return process;
}

Process::~Process() {
  if (pid_ <= 0) return;
  {
    const std::lock_guard lock(signal_mu_);
    if (reaped_) return;
  }
  SignalGroup(SIGKILL);
  Reap();
}

void Process::SignalGroup(int signal) const {
  const std::lock_guard lock(signal_mu_);
  if (!reaped_) (void)kill(-pid_, signal);
}

int Process::Reap() {
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  // As long as it is not reaped nobody else can have its number: now for the rest of the group.
  SignalGroup(SIGKILL);
  const std::lock_guard lock(signal_mu_);
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0 && errno == EINTR) {
  }
  reaped_ = true;
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

Result<int> RunProcess(const ProcessSpec& spec, const Output& output, const Cancel& cancel,
                       const std::function<void(pid_t)>& begun,
                       std::optional<std::chrono::milliseconds> limit) {
  if (cancel.raised()) return Error{ECANCELED, "cancelled"};
  auto started = Process::Start(spec);
  if (!started) return started.error();
  Process& process = *started;
  if (begun) begun(process.pid());
  std::array<char, kChunkBytes> buffer;
  bool cancelled = false;
  bool late = false;
  bool exited = false;
  const SteadyTime deadline = SteadyNow() + limit.value_or(std::chrono::milliseconds(0));
  SteadyTime kill_at{};
  // One read; false: nothing is there (any more).
  const auto pass_on = [&](UniqueFd& fd, Stream stream) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n <= 0) {
      fd.reset();
      return false;
    }
    if (!cancelled && !output(stream, {buffer.data(), static_cast<size_t>(n)})) {
      process.SignalGroup(SIGTERM);
      cancelled = true;
      kill_at = SteadyNow() + kTermGrace;
    }
    return true;
  };
  fcntl(process.out().get(), F_SETFL, O_NONBLOCK);
  fcntl(process.err().get(), F_SETFL, O_NONBLOCK);
  while (!exited) {
    pollfd fds[] = {{process.out() ? process.out().get() : -1, POLLIN, 0},
                    {process.err() ? process.err().get() : -1, POLLIN, 0},
                    {process.pidfd(), POLLIN, 0},
                    {cancelled ? -1 : cancel.fd(), POLLIN, 0}};
    int wait_ms = -1;
    if (limit && !cancelled) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - SteadyNow()).count();
      if (left <= 0) {
        process.SignalGroup(SIGTERM);
        cancelled = late = true;
        kill_at = SteadyNow() + kTermGrace;
        fds[3].fd = -1;
      }
      wait_ms = static_cast<int>(left) + 1;
    }
    if (cancelled) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(kill_at - SteadyNow()).count();
      if (left <= 0) process.SignalGroup(SIGKILL);
      wait_ms = left <= 0 ? -1 : static_cast<int>(left) + 1;
    }
    if (poll(fds, std::size(fds), wait_ms) < 0 && errno != EINTR) return SysError("poll");
    if (fds[0].revents != 0) pass_on(process.out(), Stream::kOut);
    if (fds[1].revents != 0) pass_on(process.err(), Stream::kErr);
    if (fds[3].revents != 0) {
      process.SignalGroup(SIGTERM);
      cancelled = true;
      kill_at = SteadyNow() + kTermGrace;
    }
    exited = fds[2].revents != 0;
  }
  // Its last words. Pipes that others still hold open, in groups of their own, are not waited for,
  // and no more is read than a pipe holds.
  process.SignalGroup(SIGKILL);
  constexpr int kMostReads = 32;
  for (int i = 0; i < kMostReads && process.out() && pass_on(process.out(), Stream::kOut); ++i) {
  }
  for (int i = 0; i < kMostReads && process.err() && pass_on(process.err(), Stream::kErr); ++i) {
  }
  const int code = process.Reap();
  if (late) return Error{ETIMEDOUT, spec.command.front() + " takes too long"};
  if (cancelled) return Error{ECANCELED, "cancelled"};
  return code;
}

}  // namespace airstore::gateway
