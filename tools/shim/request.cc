// SPDX-License-Identifier: Apache-2.0
#include "tools/shim/request.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "shm/base/fd.h"

namespace airstore::shim {
namespace {

constexpr char kOwnName[] = "airstore-shim";
constexpr char kNameInMount[] = "tool-shim";
constexpr size_t kMostConfig = 64u << 10;

std::string BaseName(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string Text(const GetEnv& getenv, const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

Result<std::string> ReadFile(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return SysError("open " + path);
  std::string text(kMostConfig, '\0');
  const ssize_t got = read(file.get(), text.data(), text.size());
  if (got < 0) return SysError("read " + path);
  text.resize(static_cast<size_t>(got));
  return text;
}

}  // namespace

std::string JsonString(const std::string& json, const std::string& key) {
  size_t at = json.find("\"" + key + "\"");
  if (at == std::string::npos) return "";
  at = json.find_first_not_of(" \t\r\n", at + key.size() + 2);
  if (at == std::string::npos || json[at] != ':') return "";
  at = json.find_first_not_of(" \t\r\n", at + 1);
  if (at == std::string::npos || json[at] != '"') return "";
  std::string value;
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    if (json[at] == '\\' && ++at == json.size()) return "";
    value += json[at];
  }
  return at < json.size() ? value : "";
}

Result<Request> ParseRequest(const std::vector<std::string>& arguments, const GetEnv& getenv) {
  Request request;
  size_t next = 1;
  const std::string self = arguments.empty() ? kOwnName : arguments[0];
  request.tool = BaseName(self);
  if (request.tool == kOwnName || request.tool == kNameInMount) {
    if (arguments.size() < 3 || arguments[1] != "--") {
      return Error{EINVAL,
                   "usage: airstore-shim -- TOOL [ARGUMENT...]\n"
                   "Files in a mount's Tools/ run it."};
    }
    request.tool = arguments[2];
    next = 3;
  }
  request.arguments.assign(
      arguments.begin() + static_cast<ptrdiff_t>(std::min(next, arguments.size())),
      arguments.end());
  // In front of others it may be the tool's own, as of psql.
  const bool only_h = request.arguments.size() == 1 && request.arguments[0] == "-h";
  request.help = only_h || (!request.arguments.empty() && request.arguments[0] == "--help");
  request.socket = Text(getenv, "AIRSTORE_TOOL_SOCKET");
  request.ticket = Text(getenv, "AIRSTORE_TOOL_TICKET");
  if (!request.socket.empty()) return request;

  std::string config = Text(getenv, "AIRSTORE_CONFIG_PATH");
  if (config.empty()) {
    const size_t slash = self.rfind('/');
    config = (slash == std::string::npos ? "." : self.substr(0, slash)) + "/../.airstore/config";
  }
  auto json = ReadFile(config);
  if (!json) return json.error();
  request.socket = JsonString(*json, "socket");
  request.ticket = JsonString(*json, "ticket");
  if (request.socket.empty()) return Error{EINVAL, config + " does not say where the broker is"};
  return request;
}

}  // namespace airstore::shim
