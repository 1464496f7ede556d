// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/janitor.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "tests/e2e/support/files.h"
#include "tests/e2e/support/mounts.h"
#include "tests/e2e/support/tokens.h"

namespace airstore::e2e {
namespace {

constexpr char kKeepMark[] = "/keep";

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Those with the directory in their command line or as their current one; nobody else's name
// contains it, so none of other tests is met.
bool KillAllOf(const std::string& directory) {
  bool found = false;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return false;
  while (const dirent* entry = readdir(proc)) {
    const pid_t pid = atoi(entry->d_name);
    if (pid <= 1 || pid == getpid()) continue;
    const std::string base = std::string("/proc/") + entry->d_name;
    char link[4096];
    const ssize_t length = readlink((base + "/cwd").c_str(), link, sizeof link);
    const std::string cwd(link, length > 0 ? static_cast<size_t>(length) : 0);
    if (ReadAll(base + "/cmdline").find(directory) == std::string::npos &&
        !IsBelow(cwd, directory)) {
      continue;
    }
    found = kill(pid, SIGKILL) == 0 || found;
  }
  closedir(proc);
  return found;
}

int RemoveOne(const char* path, const struct stat*, int, FTW*) {
  if (remove(path) == 0) return 0;
  MakeMutable(path);  // a content file that was being recovered
  (void)remove(path);
  return 0;
}

// A killed process with threads that wait for a mount is a zombie that keeps the pipe open.
bool IsZombie(pid_t pid) {
  const std::string stat = ReadAll("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || stat.compare(name_end, 3, ") Z") == 0;
}

void AwaitEnd(int leash, pid_t test) {
  constexpr int kLookEveryMs = 1000;
  for (;;) {
    pollfd polled{leash, POLLIN, 0};
    if (poll(&polled, 1, kLookEveryMs) > 0 || IsZombie(test)) return;
  }
}

[[noreturn]] void Clean(const std::string& directory) {
  // First of all the waiting calls, which would keep their processes from ending.
  for (const auto& where : MountsBelow(directory)) {
    (void)umount2(where.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW);
  }
  // Whoever was killed may have started another one just before.
  for (int round = 0; round < 100 && KillAllOf(directory); ++round) usleep(10'000);
  UnmountAllBelow(directory);
  const char* keep = getenv("AIRSTORE_E2E_KEEP");
  const bool wanted = access((directory + kKeepMark).c_str(), F_OK) == 0;
  if (!wanted && (keep == nullptr || *keep == '\0')) {
    // Never into something that is mounted still.
    nftw(directory.c_str(), RemoveOne, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
  }
  _exit(0);
}

}  // namespace

void UnmountAllBelow(const std::string& path) {
  for (const auto& where : MountsBelow(path)) {
    (void)umount2(where.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  }
}

Janitor::Janitor() {
  char name[] = "/tmp/airstore-e2e-XXXXXX";
  if (mkdtemp(name) == nullptr || chmod(name, 0755) != 0) {
    throw std::runtime_error(std::string("make a directory in /tmp: ") + strerror(errno));
  }
  directory_ = name;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const UniqueFd watched(ends[0]);
  leash_.reset(ends[1]);
  const pid_t test = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    setsid();
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_IGN);
    (void)chdir("/");
    leash_.reset();
    // Whoever reads our output (ctest) must not wait for the janitor.
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : {0, 1, 2}) dup2(null, fd);
    AwaitEnd(watched.get(), test);
    Clean(directory_);
  }
}

void Janitor::Keep() const { std::ofstream(directory_ + kKeepMark).put('\n'); }

Janitor::~Janitor() {
  for (const std::string& path : FilesWithTokens(directory_)) {
    ADD_FAILURE() << path << " has a token in it";
  }
  leash_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace airstore::e2e
