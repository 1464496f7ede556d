// SPDX-License-Identifier: Apache-2.0
#include "broker/content_seal.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

bool SetImmutable(const std::string& path, bool immutable, int open_flags = 0) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | open_flags));
  int flags = 0;
  if (!file || ioctl(file.get(), FS_IOC_GETFLAGS, &flags) != 0) return false;
  const int wanted = immutable ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return wanted == flags || ioctl(file.get(), FS_IOC_SETFLAGS, &wanted) == 0;
}

}  // namespace

bool SealContentFile(const std::string& path) { return SetImmutable(path, true); }

void UnsealContentFile(const std::string& path) { SetImmutable(path, false); }

bool PendingSeal::Run() {
  const std::lock_guard lock(mutex_);
  if (called_off_) return true;
  running_.store(true);
  sealed_.store(SealContentFile(path_));
  running_.store(false);
  return sealed_.load();
}

void PendingSeal::CallOff() {
  const std::lock_guard lock(mutex_);
  CallOffLocked();
}

bool PendingSeal::TryCallOff() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return false;
  CallOffLocked();
  return true;
}

// REQUIRES: mutex_.
void PendingSeal::CallOffLocked() {
  called_off_ = true;
  UnsealContentFile(path_);
}

void UnsealContentFiles(const std::string& directory) {
  std::error_code failed;
  for (std::filesystem::directory_iterator at(directory, failed), end; !failed && at != end;
       at.increment(failed)) {
    // One with a lease that a dead broker has left is for who opens it (ContentFile::fd).
    if (at->is_regular_file(failed)) SetImmutable(at->path().string(), false, O_NONBLOCK);
  }
}

}  // namespace airstore::broker
