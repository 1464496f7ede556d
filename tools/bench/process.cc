// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/process.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "shm/base/fd.h"

namespace airstore::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPoll{5};
constexpr milliseconds kMountTimeout{10'000};
constexpr milliseconds kStopTimeout{5'000};

[[noreturn]] void Exec(std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  pointers.reserve(argv.size() + 1);
  for (std::string& word : argv) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execvp(pointers[0], pointers.data());
  _exit(127);
}

bool IsMountpoint(const std::string& path) {
  struct stat here;
  struct stat above;
  return stat(path.c_str(), &here) == 0 && stat((path + "/..").c_str(), &above) == 0 &&
         here.st_dev != above.st_dev;
}

// True when the child has ended within the time.
bool AwaitExit(pid_t pid, milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  while (waitpid(pid, nullptr, WNOHANG) == 0) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

}  // namespace

Result<void> RunCommand(std::vector<std::string> argv) {
  const pid_t pid = fork();
  if (pid < 0) return SysError("fork");
  if (pid == 0) {
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    Exec(argv);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return SysError("wait for " + argv[0]);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    std::string line;
    for (const std::string& word : argv) line += word + " ";
    return Error{EIO, "command failed: " + line};
  }
  return {};
}

std::string SiblingProgram(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / name).string();
}

Result<std::unique_ptr<MountedServer>> MountedServer::Start(std::vector<std::string> argv,
                                                            std::string mountpoint) {
  const pid_t pid = fork();
  if (pid < 0) return SysError("fork");
  if (pid == 0) {
    // The mount must not outlive us, whatever ends us.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    Exec(argv);
  }
  std::unique_ptr<MountedServer> server(new MountedServer(pid, std::move(mountpoint)));
  AIRSTORE_TRY(server->AwaitMount());
  return server;
}

Result<void> MountedServer::AwaitMount() {
  const auto deadline = steady_clock::now() + kMountTimeout;
  while (!IsMountpoint(mountpoint_)) {
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return Error{EIO, "the server for " + mountpoint_ + " ended before it mounted"};
    }
    if (steady_clock::now() > deadline) return Error{ETIMEDOUT, "mount on " + mountpoint_};
    std::this_thread::sleep_for(kPoll);
  }
  return {};
}

MountedServer::~MountedServer() {
  if (pid_ < 0) return;
  kill(pid_, SIGTERM);
  if (!AwaitExit(pid_, kStopTimeout)) {
    umount2(mountpoint_.c_str(), MNT_DETACH);
    kill(pid_, SIGKILL);
    AwaitExit(pid_, kStopTimeout);
  }
  if (IsMountpoint(mountpoint_)) umount2(mountpoint_.c_str(), MNT_DETACH);
}

}  // namespace airstore::bench
