// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/mount_checks.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <thread>

#include "broker/proc_mounts.h"
#include "broker/shell_word.h"

namespace airstore::airctl {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{2};
constexpr int kMostLinks = 40;

// stat(2) of what may be a mount without a server: ETIMEDOUT when it does not answer. The thread
// that hangs then ends with the process.
int StatSoon(const std::string& path, struct stat& info) {
  auto promise = std::make_shared<std::promise<std::pair<int, struct stat>>>();
  auto answer = promise->get_future();
  std::thread([promise, path] {
    struct stat found {};
    const int code = stat(path.c_str(), &found) == 0 ? 0 : errno;
    promise->set_value({code, found});
  }).detach();
  if (answer.wait_for(kPatience) != std::future_status::ready) return ETIMEDOUT;
  const auto [code, found] = answer.get();
  info = found;
  return code;
}

bool IsStaleCode(int code) { return code == ENOTCONN || code == ECONNABORTED; }

Failure Stale(const std::string& path) {
  return {control::v1::FAILURE_KIND_BUSY, path + " is a stale mount that nobody serves",
          "airctl unmount --force " + ShellWord(path)};
}

bool IsEmpty(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return true;  // the broker will say what is wrong
  bool empty = true;
  while (const dirent* entry = readdir(directory)) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) empty = false;
  }
  closedir(directory);
  return empty;
}

std::string WithoutLinksAbove(const std::string& path) {
  std::error_code error;
  fs::path full = fs::absolute(path, error).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();  // "/mnt/x/"
  const fs::path parent = fs::canonical(full.parent_path(), error);
  return error || !full.has_filename() ? full.string() : (parent / full.filename()).string();
}

}  // namespace

std::string AbsoluteMountPoint(const std::string& path) {
  std::string at = path;
  for (int links = 0; links < kMostLinks; ++links) {
    at = WithoutLinksAbove(at);
    if (IsAirstoreMount(at)) break;  // it may hang
    char target[PATH_MAX];
    const ssize_t length = readlink(at.c_str(), target, sizeof target);
    if (length <= 0) break;
    at = (fs::path(at).parent_path() / std::string(target, static_cast<size_t>(length))).string();
  }
  return at;
}

bool IsInAirstoreMount(const std::string& path) {
  const broker::MountedFs* in = nullptr;
  const auto mounts = broker::MountedFileSystems();
  for (const broker::MountedFs& mount : mounts) {
    const std::string below = mount.path == "/" ? "/" : mount.path + "/";
    if ((path + "/").compare(0, below.size(), below) != 0) continue;
    if (in == nullptr || mount.path.size() >= in->path.size()) in = &mount;
  }
  return in != nullptr && (in->type == broker::kFuseType || broker::IsOurNfs(*in));
}

bool IsAirstoreMount(const std::string& path) {
  const auto mounted = broker::MountedAt(path);
  return (mounted && mounted->type == broker::kFuseType) || broker::IsOurNfs(mounted);
}

bool IsStaleMount(const std::string& path) {
  struct stat info {};
  return IsAirstoreMount(path) && IsStaleCode(StatSoon(path, info));
}

bool IsServed(const std::string& path) {
  struct stat info {};
  const int code = StatSoon(path, info);
  // Of FUSE the kernel knows; an NFS client waits for a server that is gone.
  if (broker::IsOurNfs(broker::MountedAt(path))) return code != ETIMEDOUT && code != ESTALE;
  return !IsStaleCode(code);
}

// Where everybody may make names, somebody else's directory or link is no place of ours.
Outcome<std::string> MakeMountPoint(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || IsAirstoreMount(path)) return path;
  const int code = errno;
  struct stat info {};
  if (code != EEXIST || lstat(path.c_str(), &info) != 0) {
    return Failure{control::v1::FAILURE_KIND_USAGE, path + ": " + strerror(code),
                   "name a directory to mount on"};
  }
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid()) {
    return Failure{control::v1::FAILURE_KIND_PERMISSION, path + " is not a directory of yours",
                   "name another one to mount on"};
  }
  return path;
}

Outcome<std::string> CheckMountPoint(const std::string& path, const MountPointNeeds& needs) {
  std::string full = AbsoluteMountPoint(path);
  struct stat info {};
  if (IsAirstoreMount(full)) {
    const int code = StatSoon(full, info);
    if (IsStaleCode(code)) return Stale(full);
    return full;  // the broker knows whether it is to get another token
  }
  switch (const int code = StatSoon(full, info)) {
    case 0:
      break;
    case ENOENT:
      return Failure{control::v1::FAILURE_KIND_NOT_FOUND, full + " does not exist",
                     "mkdir -p " + ShellWord(full)};
    case ENOTCONN:
    case ECONNABORTED:
      return Failure{control::v1::FAILURE_KIND_BUSY,
                     full + " is a stale mount of another file system",
                     "unmount it: umount -l " + ShellWord(full)};
    case EACCES:
      return Failure{control::v1::FAILURE_KIND_PERMISSION, full + " may not be looked at by you",
                     ""};
    default:
      return Failure{control::v1::FAILURE_KIND_USAGE, full + ": " + strerror(code), ""};
  }
  // The last component may be a symbolic link.
  if (char resolved[PATH_MAX]; realpath(full.c_str(), resolved) != nullptr) full = resolved;
  if (IsAirstoreMount(full)) {
    return Failure{control::v1::FAILURE_KIND_BUSY, full + " is already an airstore mount",
                   "airctl unmount " + ShellWord(full)};
  }
  if (!S_ISDIR(info.st_mode)) {
    return Failure{control::v1::FAILURE_KIND_USAGE, full + " is not a directory",
                   "give an empty directory"};
  }
  if (geteuid() != 0 && info.st_uid != geteuid()) {
    return Failure{control::v1::FAILURE_KIND_PERMISSION, full + " is not yours",
                   "mount on a directory that you own"};
  }
  if (!needs.allow_non_empty && !IsEmpty(full)) {
    return Failure{control::v1::FAILURE_KIND_BUSY, full + " is not empty",
                   "its files would be hidden: give an empty directory, or --allow-non-empty"};
  }
  return full;
}

}  // namespace airstore::airctl
