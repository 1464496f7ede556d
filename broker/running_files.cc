// SPDX-License-Identifier: Apache-2.0
#include "broker/running_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cctype>
#include <memory>
#include <string>

namespace airstore::broker {

bool IsRun(uint32_t minor, uint64_t inode) {
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(opendir("/proc"), closedir);
  if (!processes) return false;
  while (const dirent* entry = readdir(processes.get())) {
    if (!isdigit(static_cast<unsigned char>(entry->d_name[0]))) continue;
    const std::string program = std::string(entry->d_name) + "/exe";
    struct statx info {};
    // What the kernel has of it will do, so nobody is asked who waits for us.
    if (statx(dirfd(processes.get()), program.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &info) == 0 &&
        info.stx_dev_major == 0 && info.stx_dev_minor == minor && info.stx_ino == inode) {
      return true;
    }
  }
  return false;
}

}  // namespace airstore::broker
