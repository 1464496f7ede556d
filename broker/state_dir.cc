// SPDX-License-Identifier: Apache-2.0
#include "broker/state_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace airstore::broker {
namespace {

Result<void> WritePid(int lock, const std::string& path) {
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(lock, 0) != 0 ||
      pwrite(lock, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return SysError("write " + path + "/lock");
  }
  return {};
}

}  // namespace

Result<void> MakeDirectories(const std::string& path, unsigned mode) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) {
    return S_ISDIR(info.st_mode) ? Result<void>() : Result<void>(Error{ENOTDIR, path});
  }
  const size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash > 0) {
    AIRSTORE_TRY(MakeDirectories(path.substr(0, slash), mode));
  }
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return SysError("create " + path);
  return {};
}

Result<StateDir> StateDir::Open(const std::string& path) {
  AIRSTORE_TRY(MakeDirectories(path, 0700));
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return SysError("open state directory " + path);
  struct stat info {};
  if (fstat(directory.get(), &info) != 0) return SysError("stat " + path);
  if (info.st_uid != geteuid()) {
    return Error{EPERM, "state directory " + path + " belongs to uid " +
                            std::to_string(info.st_uid) +
                            ": give another with --state-dir, or change its owner"};
  }
  if ((info.st_mode & 077) != 0 && fchmod(directory.get(), 0700) != 0) {
    return SysError("make " + path + " private");
  }

  UniqueFd lock(openat(directory.get(), "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return SysError("open " + path + "/lock");
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SysError("lock " + path);
    char pid[32] = {};
    const ssize_t got = pread(lock.get(), pid, sizeof pid - 1, 0);
    const std::string who = got > 0 ? " (pid " + std::string(pid, strcspn(pid, "\n")) + ")" : "";
    return Error{EBUSY, "another airstored" + who + " uses " + path +
                            ": stop it, or give this one another --state-dir"};
  }
  AIRSTORE_TRY(WritePid(lock.get(), path));
  if (mkdirat(directory.get(), "spool", 0700) != 0 && errno != EEXIST) {
    return SysError("create " + path + "/spool");
  }
  return StateDir(path, std::move(lock));
}

Result<StateDir> StateDir::Adopt(const std::string& path, UniqueFd lock) {
  // The same open file, so the same lock: this says only that it is still held.
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return SysError("lock " + path);
  AIRSTORE_TRY(WritePid(lock.get(), path));
  return StateDir(path, std::move(lock));
}

}  // namespace airstore::broker
