// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/token_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "shm/base/fd.h"
#include "shm/base/wipe.h"

namespace airstore::airctl {
namespace {

constexpr char kSystemDirectory[] = "/etc/airstore/tokens";

bool IsFileName(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos;
}

Failure Failed(const std::string& doing) {
  const int code = errno;
  return {code == EACCES || code == EPERM ? control::v1::FAILURE_KIND_PERMISSION
                                          : control::v1::FAILURE_KIND_HOST,
          doing + ": " + strerror(code), ""};
}

}  // namespace

std::string TokenDirectory(const GetEnv& getenv) {
  if (geteuid() == 0) return kSystemDirectory;
  const char* config = getenv("XDG_CONFIG_HOME");
  if (config != nullptr && *config != '\0') return std::string(config) + "/airstore/tokens";
  const char* home = getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.config/airstore/tokens";
}

Outcome<std::string> KeepToken(const std::string& directory, const std::string& workspace,
                               const std::string& token) {
  if (!IsFileName(workspace)) {
    return Failure{control::v1::FAILURE_KIND_USAGE, "\"" + workspace + "\" is no workspace", ""};
  }
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(directory).parent_path(), failed);
  if (mkdir(directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return Failed("create " + directory);
  }
  // Under another name first: there is never half a token.
  const std::string path = directory + "/" + workspace;
  const std::string unfinished = directory + "/." + workspace + "." + std::to_string(getpid());
  unlink(unfinished.c_str());
  const UniqueFd file(open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                           S_IRUSR | S_IWUSR));
  if (!file) return Failed("create " + unfinished);
  std::string line = token + "\n";
  const WipeAtEnd wipe(line);
  if (fchmod(file.get(), S_IRUSR | S_IWUSR) != 0 ||
      write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      fsync(file.get()) != 0 || rename(unfinished.c_str(), path.c_str()) != 0) {
    Failure failure = Failed("write " + path);
    unlink(unfinished.c_str());
    return failure;
  }
  return path;
}

std::string KeptToken(const std::string& directory, const std::string& workspace) {
  const std::string path = directory + "/" + workspace;
  return IsFileName(workspace) && access(path.c_str(), F_OK) == 0 ? path : "";
}

}  // namespace airstore::airctl
