// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/force_unmount.h"

#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "tools/airctl/mount_checks.h"

namespace airstore::airctl {
namespace {

Failure CannotDetach(const std::string& mountpoint, const std::string& why) {
  return {control::v1::FAILURE_KIND_INTERNAL, "cannot detach " + mountpoint + ": " + why,
          "as root: umount -l " + mountpoint};
}

}  // namespace

Outcome<bool> DetachHere(const std::string& mountpoint) {
  if (!IsAirstoreMount(mountpoint)) {
    return Failure{control::v1::FAILURE_KIND_NOT_FOUND,
                   "there is no airstore mount at " + mountpoint, ""};
  }
  if (geteuid() == 0) {
    if (umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return true;
    return CannotDetach(mountpoint, strerror(errno));
  }
  std::string path = mountpoint;
  char program[] = "fusermount3", unmount[] = "-u", lazy[] = "-z", end[] = "--";
  char* const argv[] = {program, unmount, lazy, end, path.data(), nullptr};
  pid_t pid = -1;
  if (const int code = posix_spawnp(&pid, program, nullptr, nullptr, argv, environ); code != 0) {
    return Failure{control::v1::FAILURE_KIND_HOST,
                   "cannot start fusermount3: " + std::string(strerror(code)),
                   "install the package fuse3"};
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  return CannotDetach(mountpoint, "fusermount3 failed");
}

}  // namespace airstore::airctl
