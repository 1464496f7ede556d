// SPDX-License-Identifier: Apache-2.0
#include "broker/stopped_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace airstore::broker {
namespace {

constexpr int kStopMs = 5000;
constexpr int kEndMs = 2000;
constexpr timespec kPause{0, 1'000'000};

std::string ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Fields behind the command's name, which may hold anything.
std::istringstream FieldsOf(const std::string& path) {
  const std::string line = ReadLine(path);
  const size_t name_end = line.rfind(')');
  return std::istringstream(name_end == std::string::npos ? "" : line.substr(name_end + 1));
}

// When it was started: tells a number that is used again. 0: there is none.
uint64_t StartOf(pid_t pid) {
  auto fields = FieldsOf("/proc/" + std::to_string(pid) + "/stat");
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  uint64_t start = 0;
  fields >> start;
  return start;
}

bool AllStopped(pid_t pid) {
  std::error_code failed;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", failed)) {
    char state = 0;
    auto fields = FieldsOf(task.path() / "stat");
    fields >> state;
    if (state != 'T' && state != 't' && state != 0) return false;
  }
  return !failed;
}

void Signal(int pidfd, int number) {
  (void)syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0);
}

void KeepOnly(int a, int b) {
  const auto lower = static_cast<unsigned>(std::min(a, b));
  const auto upper = static_cast<unsigned>(std::max(a, b));
  if (lower > 3) syscall(SYS_close_range, 3, lower - 1, 0);
  if (upper > lower + 1) syscall(SYS_close_range, lower + 1, upper - 1, 0);
  syscall(SYS_close_range, upper + 1, ~0u, 0);
}

// Its end of a pipe: when the other one is closed, the process goes on. Twice forked, so that it is
// nobody's child of ours.
Result<UniqueFd> Guard(int pidfd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SysError("pipe");
  UniqueFd ours(ends[1]);
  const UniqueFd theirs(ends[0]);
  const pid_t child = fork();
  if (child < 0) return SysError("fork");
  if (child == 0) {
    if (fork() != 0) _exit(0);
    setsid();
    KeepOnly(pidfd, theirs.get());
    char none = 0;
    while (read(theirs.get(), &none, 1) < 0 && errno == EINTR) {
    }
    Signal(pidfd, SIGCONT);
    _exit(0);
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return ours;
}

}  // namespace

Result<void> StoppedProcess::WriteNote(const std::string& note, pid_t pid) {
  const UniqueFd file(open(note.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  const std::string text =
      std::to_string(pid) + " " + std::to_string(pid == 0 ? 0 : StartOf(pid)) + "\n";
  if (!file || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return SysError("write " + note);
  }
  return {};
}

Result<StoppedProcess> StoppedProcess::Stop(pid_t pid, int pidfd, const std::string& note) {
  UniqueFd own(fcntl(pidfd, F_DUPFD_CLOEXEC, 0));
  if (!own) return SysError("dup");
  AIRSTORE_TRY(WriteNote(note, pid));
  auto guarded = Guard(pidfd);
  if (!guarded) return guarded.error();
  Signal(pidfd, SIGSTOP);
  for (int waited = 0; !AllStopped(pid); ++waited) {
    if (waited == kStopMs) {
      Continue(note);
      return Error{ETIMEDOUT, "a frontend (process " + std::to_string(pid) + ") does not stop"};
    }
    nanosleep(&kPause, nullptr);
  }
  return StoppedProcess(std::move(own), std::move(*guarded));
}

void StoppedProcess::Continue(const std::string& note) {
  pid_t pid = 0;
  uint64_t start = 0;
  std::istringstream(ReadLine(note)) >> pid >> start;
  if (pid > 0 && start != 0) {
    const UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (pidfd && StartOf(pid) == start) Signal(pidfd.get(), SIGCONT);
  }
  (void)unlink(note.c_str());
}

void StoppedProcess::End() {
  Signal(pidfd_.get(), SIGKILL);
  pollfd ended{pidfd_.get(), POLLIN, 0};
  (void)poll(&ended, 1, kEndMs);
}

}  // namespace airstore::broker
