// SPDX-License-Identifier: Apache-2.0
//
// The broker has many threads (gRPC's among them), so the child of the fork makes only system
// calls until it is another program: everything it needs is laid out before. _Fork() runs no
// at-fork handlers of libraries. Not posix_spawn: it can neither change the user nor set
// no_new_privs.
#include "broker/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string_view>

namespace airstore::broker {
namespace {

constexpr int kChannelFd = 3;
constexpr int kProgramFd = 4;

// What went wrong in the child, over a pipe that a successful exec closes.
struct Report {
  int code = 0;
  int step = 0;
};
enum Step { kStdio, kChannel, kGroups, kGid, kUid, kNoNewPrivs, kExec };
constexpr std::array<const char*, 7> kStepNames = {
    "set up stdio", "hand over the channel", "drop groups", "set gid",
    "set uid",      "set no_new_privs",      "execute"};

// A frontend never sees the broker's secrets: only these variables pass.
bool Passes(std::string_view variable) {
  for (const std::string_view prefix :
       {"PATH=", "LANG=", "LC_", "TZ=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=",
        "LSAN_OPTIONS=", "AIRSTORE_FRONTEND_", "AIRSTORE_FAULT="}) {
    if (variable.substr(0, prefix.size()) == prefix) return true;
  }
  return false;
}

struct ChildPlan {
  const char* program = nullptr;
  char* const* argv = nullptr;
  char* const* envp = nullptr;
  int null_fd = -1;
  int channel = -1;
  int report = -1;
  int program_fd = -1;
  bool change_user = false;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

[[noreturn]] void Fail(int report, Step step) {
  const Report message{errno, step};
  (void)!write(report, &message, sizeof message);
  _exit(127);
}

// Runs between fork and exec: async-signal-safe calls only.
[[noreturn]] void Child(const ChildPlan& plan) {
  // Of its own session, so that a Ctrl-C meant for the broker does not end mounts.
  setsid();
  // Above every number that is set up below.
  const int report = fcntl(plan.report, F_DUPFD_CLOEXEC, 10);
  const int channel = fcntl(plan.channel, F_DUPFD_CLOEXEC, 10);
  const int program = plan.program_fd < 0 ? -1 : fcntl(plan.program_fd, F_DUPFD_CLOEXEC, 10);
  if (report < 0 || channel < 0) Fail(plan.report, kChannel);
  if (dup2(plan.null_fd, STDIN_FILENO) < 0) Fail(report, kStdio);
  for (const int out : {STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(out, F_GETFD) < 0 && dup2(plan.null_fd, out) < 0) Fail(report, kStdio);
  }
  if (dup2(channel, kChannelFd) < 0) Fail(report, kChannel);
  // All that is ours is close-on-exec; this is for what libraries opened without.
  const int first_other = program < 0 ? kChannelFd + 1 : kProgramFd + 1;
  if (program >= 0 && dup3(program, kProgramFd, O_CLOEXEC) < 0) Fail(report, kExec);
  if (report > first_other) syscall(SYS_close_range, first_other, report - 1, 0);
  syscall(SYS_close_range, report + 1, ~0u, 0);
  (void)!chdir("/");

  if (plan.change_user) {
    // The system calls, not libc's wrappers: those signal threads that do not exist here.
    if (syscall(SYS_setgroups, 0, nullptr) != 0) Fail(report, kGroups);
    if (syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid) != 0) Fail(report, kGid);
    if (syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid) != 0) Fail(report, kUid);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail(report, kNoNewPrivs);

  // Ignored signals would stay ignored in the new program.
  struct sigaction by_default {};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &by_default, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (program >= 0) {
    syscall(SYS_execveat, kProgramFd, "", plan.argv, plan.envp, AT_EMPTY_PATH);
  } else {
    execve(plan.program, plan.argv, plan.envp);
  }
  Fail(report, kExec);
}

// Blocks every signal for its life: the child must not run the broker's handlers.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

Result<FrontendProcess> Launch(const LaunchOptions& options) {
  std::vector<std::string> arguments = {options.program};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (Passes(*entry)) envp.push_back(*entry);
  }
  envp.push_back(nullptr);

  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return SysError("socketpair");
  }
  UniqueFd ours(sockets[0]);
  const UniqueFd theirs(sockets[1]);
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) return SysError("pipe");
  const UniqueFd report(pipes[0]);
  UniqueFd report_end(pipes[1]);
  const UniqueFd null_fd(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_fd) return SysError("open /dev/null");

  ChildPlan plan;
  plan.program = options.program.c_str();
  plan.argv = argv.data();
  plan.envp = envp.data();
  plan.null_fd = null_fd.get();
  plan.channel = theirs.get();
  plan.report = report_end.get();
  plan.program_fd = options.program_fd;
  plan.change_user = geteuid() == 0 && options.uid != 0;
  plan.uid = options.uid;
  plan.gid = options.gid;

  FrontendProcess process;
  {
    const SignalsBlocked blocked;
    process.pid = _Fork();
    if (process.pid == 0) Child(plan);
  }
  if (process.pid < 0) return SysError("fork");
  // The pid cannot be reused before we reap it.
  process.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  const int pidfd_errno = errno;
  report_end.reset();

  Report failed;
  ssize_t got = 0;
  do {
    got = read(report.get(), &failed, sizeof failed);
  } while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof failed)) {
    while (waitpid(process.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    const auto step = static_cast<size_t>(failed.step);
    const std::string what = step < kStepNames.size() ? kStepNames[step] : "start";
    return SysError(what + " " + options.program, failed.code);
  }
  if (!process.pidfd) {
    kill(process.pid, SIGKILL);
    waitpid(process.pid, nullptr, 0);
    return SysError("pidfd_open", pidfd_errno);
  }
  process.channel = std::move(ours);
  return process;
}

void Kill(const FrontendProcess& process) {
  (void)syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
}

ProcessEnd Reap(const FrontendProcess& process) {
  siginfo_t info{};
  int rc = 0;
  do {
    rc = waitid(P_PIDFD, static_cast<id_t>(process.pidfd.get()), &info, WEXITED);
  } while (rc != 0 && errno == EINTR);
  ProcessEnd end;
  if (rc != 0) {
    end.text = "ended, status unknown";
  } else if (info.si_code == CLD_EXITED) {
    end.status = info.si_status;
    end.text = "exit status " + std::to_string(info.si_status);
  } else {
    end.signal = info.si_status;
    end.text = "killed by signal " + std::to_string(info.si_status);
    if (info.si_code == CLD_DUMPED) end.text += " (core dumped)";
  }
  return end;
}

uint64_t PrivateResidentBytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  uint64_t total = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    uint64_t kib = 0;
    if (words >> key >> kib && key.rfind("Private_", 0) == 0) total += kib * 1024;
  }
  return total;
}

}  // namespace airstore::broker
