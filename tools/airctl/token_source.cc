// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/token_source.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

#include "shm/base/fd.h"

namespace airstore::airctl {
namespace {

constexpr size_t kLongest = 8192;

Outcome<std::string> Trimmed(std::string text, const std::string& from) {
  const char* blanks = " \t\r\n";
  text.erase(0, text.find_first_not_of(blanks));
  if (const size_t end = text.find_last_not_of(blanks); end != std::string::npos) {
    text.erase(end + 1);
  }
  if (text.empty()) {
    return Failure{control::v1::FAILURE_KIND_USAGE, "there is no token in " + from, ""};
  }
  if (text.find_first_of(blanks) != std::string::npos || text.size() > kLongest) {
    return Failure{control::v1::FAILURE_KIND_USAGE, "what is in " + from + " is no token",
                   "it is one word on one line"};
  }
  return text;
}

Outcome<std::string> ReadFrom(int fd, const std::string& name) {
  std::string text;
  text.reserve(kLongest + 2048);  // no copies are left behind by growing
  char buffer[1024];
  struct Wiping {
    char (&buffer)[1024];
    ~Wiping() { explicit_bzero(buffer, sizeof buffer); }
  } const wiping{buffer};
  for (;;) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return Failure{control::v1::FAILURE_KIND_USAGE,
                     "cannot read " + name + ": " + strerror(errno), ""};
    }
    if (got == 0 || text.size() > kLongest) return Trimmed(std::move(text), name);
    text.append(buffer, static_cast<size_t>(got));
  }
}

}  // namespace

Outcome<std::string> ReadToken(const std::string& file, const char* variable) {
  if (file == "-") return ReadFrom(STDIN_FILENO, "stdin");
  if (file.empty()) {
    if (variable != nullptr && *variable != '\0') return Trimmed(variable, "AIRSTORE_TOKEN");
    return Failure{control::v1::FAILURE_KIND_USAGE, "no token was given",
                   "put it into a file of mode 600 and give --token-file FILE, or set "
                   "AIRSTORE_TOKEN"};
  }
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  struct stat info {};
  if (!fd || fstat(fd.get(), &info) != 0) {
    return Failure{control::v1::FAILURE_KIND_USAGE,
                   "cannot read the token file " + file + ": " + strerror(errno), ""};
  }
  // Pipes (process substitution) have no readers of that kind.
  if (S_ISREG(info.st_mode) && (info.st_mode & 077) != 0) {
    return Failure{control::v1::FAILURE_KIND_PERMISSION,
                   "the token file " + file + " can be read by other users", "chmod 600 " + file};
  }
  return ReadFrom(fd.get(), file);
}

}  // namespace airstore::airctl
