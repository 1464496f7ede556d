// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/process.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "shm/base/fd.h"
#include "tests/e2e/support/tokens.h"

namespace airstore::e2e {
namespace {

constexpr int kCannotStart = 127;

int CodeOf(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// Everything the child needs, made before the fork: after it, no memory is taken.
struct Prepared {
  std::vector<std::string> env_texts;
  std::vector<char*> argv;
  std::vector<char*> envp;
  std::string program;
  UniqueFd mount_namespace;
};

std::string FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* variable = getenv("PATH");
  const std::string path = variable != nullptr ? variable : "/usr/bin:/bin";
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    std::string candidate = path.substr(at, end - at) + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  throw std::runtime_error("there is no program " + name);
}

Prepared Prepare(const Arguments& argv, const RunOptions& options) {
  Prepared out;
  out.program = FindProgram(argv.at(0));
  for (const auto& word : argv) out.argv.push_back(const_cast<char*>(word.c_str()));
  out.argv.push_back(nullptr);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    if (!options.env.contains(name)) out.env_texts.push_back(text);
  }
  for (const auto& [name, value] : options.env) out.env_texts.push_back(name + "=" + value);
  for (auto& text : out.env_texts) out.envp.push_back(text.data());
  out.envp.push_back(nullptr);
  if (options.mount_namespace_of != 0) {
    const std::string path = "/proc/" + std::to_string(options.mount_namespace_of) + "/ns/mnt";
    out.mount_namespace.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!out.mount_namespace) throw std::runtime_error("open " + path + ": " + strerror(errno));
  }
  return out;
}

[[noreturn]] void Become(const Prepared& prepared, const RunOptions& options, int in, int out,
                         int err) {
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  bool ok = dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2;
  if (prepared.mount_namespace) {
    ok = ok && setns(prepared.mount_namespace.get(), CLONE_NEWNS) == 0;
  }
  if (options.uid) {
    ok = ok && setgroups(0, nullptr) == 0 && setgid(*options.uid) == 0 && setuid(*options.uid) == 0;
  }
  if (!options.directory.empty()) ok = ok && chdir(options.directory.c_str()) == 0;
  if (ok) execve(prepared.program.c_str(), prepared.argv.data(), prepared.envp.data());
  constexpr char kSorry[] = "test: the program could not be started\n";
  (void)!write(2, kSorry, sizeof kSorry - 1);
  _exit(kCannotStart);
}

pid_t Start(const Arguments& argv, const RunOptions& options, int in, int out, int err) {
  const Prepared prepared = Prepare(argv, options);
  const pid_t pid = fork();
  if (pid < 0) throw std::runtime_error(std::string("fork: ") + strerror(errno));
  if (pid == 0) Become(prepared, options, in, out, err);
  return pid;
}

struct Pipe {
  UniqueFd read, write;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
};

// False at the end.
bool Append(int fd, std::string& to) {
  std::array<char, 65536> buffer;
  const ssize_t got = read(fd, buffer.data(), buffer.size());
  if (got > 0) to.append(buffer.data(), static_cast<size_t>(got));
  return got > 0 || (got < 0 && errno == EINTR);
}

// airctl prints the secret of a token that it has made, and no other.
void CheckOutput(const Arguments& argv, const Finished& finished) {
  if (!argv.front().ends_with("/airctl")) return;
  const bool makes = std::find(argv.begin(), argv.end(), "create") != argv.end();
  if (HasToken(finished.err) || (HasToken(finished.out) && !makes)) {
    ADD_FAILURE() << argv.at(std::min<size_t>(3, argv.size() - 1)) << " prints a token";
  }
}

}  // namespace

std::chrono::steady_clock::time_point Now() { return std::chrono::steady_clock::now(); }

void Pause() {
  const timespec little{0, 5'000'000};
  nanosleep(&little, nullptr);
}

std::string Finished::All() const {
  return "exit code " + std::to_string(code) + "\nstdout: " + out + "\nstderr: " + err;
}

Finished RunProgram(const Arguments& argv, const RunOptions& options) {
  Pipe in, out, err;
  const pid_t pid = Start(argv, options, in.read.get(), out.write.get(), err.write.get());
  in.read.reset();
  out.write.reset();
  err.write.reset();
  Finished finished;
  // Small enough for the pipe.
  if (!options.input.empty()) {
    (void)!write(in.write.get(), options.input.data(), options.input.size());
  }
  in.write.reset();
  const auto deadline = Now() + options.patience;
  bool killed = false;
  while (out.read || err.read) {
    std::array<pollfd, 2> polled{pollfd{out.read ? out.read.get() : -1, POLLIN, 0},
                                 pollfd{err.read ? err.read.get() : -1, POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Now());
    if (left.count() <= 0 && !killed) {
      kill(-pid, SIGKILL);
      killed = true;
    }
    poll(polled.data(), polled.size(), killed ? 1000 : static_cast<int>(left.count()) + 1);
    if (polled[0].revents != 0 && !Append(out.read.get(), finished.out)) out.read.reset();
    if (polled[1].revents != 0 && !Append(err.read.get(), finished.err)) err.read.reset();
    if (killed && Now() > deadline + std::chrono::seconds(5)) break;
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  finished.code = CodeOf(status);
  if (killed) finished.err += "\n(killed: it took too long)";
  CheckOutput(argv, finished);
  return finished;
}

std::string RunOk(const Arguments& argv, const RunOptions& options) {
  Finished finished = RunProgram(argv, options);
  if (finished.code != 0) {
    std::string line;
    for (const auto& word : argv) line += word + " ";
    throw std::runtime_error(line + "failed: " + finished.All());
  }
  return std::move(finished.out);
}

Process::Process(const Arguments& argv, const RunOptions& options) {
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  UniqueFd log;
  if (!options.output_file.empty()) {
    log.reset(open(options.output_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  }
  const int out = log ? log.get() : null.get();
  pid_ = Start(argv, options, null.get(), out, out);
}

Process Process::Watching(pid_t pid) {
  Process process;
  process.pid_ = pid;
  process.child_ = false;
  return process;
}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    Kill();
    pid_ = std::exchange(other.pid_, -1);
    child_ = other.child_;
  }
  return *this;
}

Process::~Process() { Kill(); }

bool Process::running() { return pid_ > 0 && !Wait(std::chrono::milliseconds(0)); }

void Process::Signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

std::optional<int> Process::Wait(std::chrono::milliseconds patience) {
  if (pid_ <= 0) return 0;
  int status = 0;
  const bool ended = WaitUntil(patience, [&] { return Gone(&status); });
  if (!ended) return {};
  pid_ = -1;
  return CodeOf(status);
}

void Process::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  int status = 0;
  while (!Gone(&status)) Pause();
  pid_ = -1;
}

bool Process::Gone(int* status) const {
  if (!child_) {
    // Who has adopted it may let it be a zombie for long.
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string text;
    std::getline(file, text);
    const size_t name_end = text.rfind(") ");
    return name_end == std::string::npos || text[name_end + 2] == 'Z';
  }
  return waitpid(pid_, status, WNOHANG) == pid_;
}

}  // namespace airstore::e2e
