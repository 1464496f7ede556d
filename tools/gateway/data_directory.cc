// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>

#include "tools/gateway/store_url.h"

namespace airstore::gateway {
namespace {

std::string UrlOf(const char* scheme, const std::string& directory, const char* name) {
  return std::string(scheme) + "://" +
         UriEncode(std::filesystem::absolute(directory).string() + name, true);
}

}  // namespace

Result<UniqueFd> LockDataDirectory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return SysError("data directory " + directory);
  }
  const std::string path = directory + "/lock";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return SysError("data directory " + directory);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SysError("lock " + path);
    return Error{EBUSY, "another gateway serves " + directory};
  }
  return fd;
}

std::string MetadataIn(const std::string& directory) {
  return UrlOf("sqlite", directory, "/metadata.sqlite");
}
std::string BlocksIn(const std::string& directory) { return UrlOf("file", directory, "/blocks"); }

}  // namespace airstore::gateway
