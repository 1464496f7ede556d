// SPDX-License-Identifier: Apache-2.0
#include "broker/durable_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/fd.h"

namespace airstore::broker {

Result<void> WriteDurably(const std::string& directory, const std::string& name,
                          const std::string& text) {
  const std::string path = directory + "/" + name;
  const std::string draft = path + ".new";
  const UniqueFd file(open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                           S_IRUSR | S_IWUSR));
  if (!file) return SysError("create " + draft);
  const ssize_t written = write(file.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    return SysError("write " + draft, written < 0 ? errno : ENOSPC);
  }
  if (fsync(file.get()) != 0) return SysError("write " + draft);
  if (rename(draft.c_str(), path.c_str()) != 0) return SysError("name " + path);
  return SyncDirectory(directory);
}

Result<void> SyncDirectory(const std::string& path) {
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || fsync(directory.get()) != 0) return SysError("write " + path);
  return {};
}

}  // namespace airstore::broker
