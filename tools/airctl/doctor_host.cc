// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/doctor_host.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "shm/base/fd.h"

namespace airstore::airctl {
namespace {

constexpr rlim_t kLeastFiles = 4096;
constexpr int kPassthroughMajor = 6;
constexpr int kPassthroughMinor = 9;
constexpr int64_t kDay = 24 * 3600;

// Each of what airstored cannot do without.
Finding Kernel(const HostPaths& paths) {
  utsname name{};
  uname(&name);
  const std::string linux_is = std::string("Linux ") + name.release;
  std::string lacks;
  const UniqueFd memory(memfd_create("airstore-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) lacks += ", sealed memory files (memfd_create)";
  const UniqueFd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self) lacks += ", process descriptors (pidfd_open)";
  if (access(paths.sandbox.c_str(), F_OK) != 0) lacks += ", system call filters (seccomp)";
  if (!lacks.empty()) {
    return {"kernel", false, linux_is + " lacks " + lacks.substr(2),
            "boot Linux 5.15 or later; of a container: allow these system calls"};
  }
  return {"kernel", true, linux_is + " has what airstored needs", ""};
}

Finding Passthrough() {
  utsname name{};
  uname(&name);
  int major = 0;
  int minor = 0;
  sscanf(name.release, "%d.%d", &major, &minor);
  const bool can =
      major > kPassthroughMajor || (major == kPassthroughMajor && minor >= kPassthroughMinor);
  if (can) return {"passthrough", true, "this kernel can", ""};
  return {"passthrough", false, "needs Linux 6.9: reads and writes go through airstore-fuse",
          "apt install -t bookworm-backports linux-image-amd64", false};
}

Finding OpenFiles() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const std::string says = std::to_string(limit.rlim_max) + " may be open";
  if (limit.rlim_max >= kLeastFiles) return {"open files", true, says, ""};
  return {"open files", false, says,
          "set LimitNOFILE=524288 (systemctl edit airstored), or ulimit -Hn 524288"};
}

// A clock that lies behind the time at which this program was installed is certainly wrong.
Finding Clock() {
  struct stat self {};
  const time_t now = time(nullptr);
  const bool known = stat("/proc/self/exe", &self) == 0;
  if (known && now + kDay < self.st_mtime) {
    return {"clock", false, "it is behind: certificates and times of files will be wrong",
            "timedatectl set-ntp true"};
  }
  timex state{};
  const int verdict = adjtimex(&state);
  if (verdict == TIME_ERROR || (state.status & STA_UNSYNC) != 0) {
    return {"clock", false, "nothing says that it is synchronised", "timedatectl set-ntp true",
            false};
  }
  return {"clock", true, "it is synchronised", ""};
}

std::string BrokerProgram(const HostPaths& paths) {
  if (!paths.broker_program.empty()) return paths.broker_program;
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  for (const auto& candidate :
       {self.parent_path() / "airstored", self.parent_path().parent_path() / "sbin/airstored",
        std::filesystem::path("/usr/sbin/airstored")}) {
    if (access(candidate.c_str(), X_OK) == 0) return candidate.string();
  }
  return "";
}

// What it prints on stderr, if it does not like the file.
std::string ComplaintOf(const std::string& program, const std::string& file) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return "";
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = fork();
  if (child < 0) return "";
  if (child == 0) {
    dup2(to.get(), STDERR_FILENO);
    dup2(to.get(), STDOUT_FILENO);
    execl(program.c_str(), program.c_str(), "--config", file.c_str(), "--check-config", nullptr);
    _exit(127);
  }
  to.reset();
  std::string said;
  std::array<char, 4096> piece{};
  for (ssize_t got = 0; (got = read(from.get(), piece.data(), piece.size())) > 0;) {
    said.append(piece.data(), static_cast<size_t>(got));
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 127)) return "";
  while (!said.empty() && said.back() == '\n') said.pop_back();
  return said.empty() ? "airstored does not take it" : said;
}

std::vector<Finding> Configuration(const HostPaths& paths) {
  const std::string program = BrokerProgram(paths);
  if (access(paths.configuration.c_str(), R_OK) != 0 || program.empty()) return {};
  const std::string complaint = ComplaintOf(program, paths.configuration);
  if (complaint.empty()) return {{"configuration", true, paths.configuration + " is valid", ""}};
  return {{"configuration", false, complaint,
           "correct it; airstored --check-config looks at it again"}};
}

std::vector<Finding> Tokens(const HostPaths& paths) {
  std::error_code failed;
  std::string open_to_others;
  for (const auto& entry : std::filesystem::directory_iterator(paths.tokens, failed)) {
    struct stat info {};
    if (stat(entry.path().c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
        (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
      open_to_others += " " + entry.path().string();
    }
  }
  if (failed) return {};
  if (open_to_others.empty()) return {{"tokens", true, "nobody else may read them", ""}};
  return {{"tokens", false, "other users may read" + open_to_others, "chmod 600" + open_to_others}};
}

}  // namespace

std::string ConfigurationFile(const GetEnv& getenv) {
  const auto variable = [&](const char* name) {
    const char* value = getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string named = variable("AIRSTORE_CONFIG"); !named.empty()) return named;
  if (geteuid() == 0) return kHostConfiguration;
  std::string home = variable("XDG_CONFIG_HOME");
  if (home.empty()) home = variable("HOME") + "/.config";
  const std::string own = home + "/airstore/airstored.toml";
  return access(own.c_str(), F_OK) == 0 ? own : kHostConfiguration;
}

std::vector<Finding> LookAtHost(const HostPaths& paths) {
  std::vector<Finding> out = {Kernel(paths), Passthrough(), OpenFiles(), Clock()};
  for (auto* look : {&Configuration, &Tokens}) {
    for (Finding& finding : look(paths)) out.push_back(std::move(finding));
  }
  return out;
}

}  // namespace airstore::airctl
