// SPDX-License-Identifier: Apache-2.0
//
// airstore-shim: runs a tool at the gateway of a mount's workspace. It asks the broker, through the
// socket of the mount's session; who ends it ends the tool. It has no token.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "broker/control_frame.h"
#include "broker/virtual/tool_frame.h"
#include "shm/base/fd.h"
#include "tools/shim/request.h"

namespace airstore::shim {
namespace {

constexpr int kFailed = 1;
constexpr int kNotFound = 127;

int Fail(int status, const std::string& what) {
  fprintf(stderr, "error: %s\n", what.c_str());
  return status;
}

// False: errno.
bool WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool ReadAll(int fd, void* out, size_t bytes) {
  char* at = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t got = read(fd, at, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

int Run(const Request& request) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (request.socket.size() >= sizeof address.sun_path) {
    return Fail(kFailed, "connect: " + request.socket + ": too long");
  }
  memcpy(address.sun_path, request.socket.c_str(), request.socket.size() + 1);
  const UniqueFd broker(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!broker ||
      connect(broker.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Fail(kFailed, "connect: " + request.socket + ": " + strerror(errno) +
                             " (is airstored running, and the mount there?)");
  }
  std::vector<std::string_view> fields{request.ticket, request.tool};
  if (!request.help)
    fields.insert(fields.end(), request.arguments.begin(), request.arguments.end());
  const std::string body =
      tool::Encode(request.help ? tool::Kind::kHelp : tool::Kind::kRun, fields);
  if (body.size() > control::kGreatestFrameBytes)
    return Fail(kFailed, "the arguments are too long");
  if (!WriteAll(broker.get(), control::MakeFrame(body))) {
    return Fail(kFailed, std::string("connect: ") + strerror(errno));
  }
  std::string frame;
  for (;;) {
    control::FrameHeader header{};
    if (!ReadAll(broker.get(), header.data(), header.size())) break;
    const uint32_t length = control::FrameLength(header);
    if (length > control::kGreatestFrameBytes)
      return Fail(kFailed, "stream: what comes makes no sense");
    frame.resize(length);
    if (!ReadAll(broker.get(), frame.data(), length)) break;
    const auto message = tool::Decode(frame);
    if (!message || message->fields.empty()) {
      return Fail(kFailed, "stream: what comes makes no sense");
    }
    switch (message->kind) {
      case tool::Kind::kOut:
      case tool::Kind::kErr: {
        const int to = message->kind == tool::Kind::kOut ? STDOUT_FILENO : STDERR_FILENO;
        if (!WriteAll(to, message->fields[0])) {
          return Fail(kFailed, std::string("write: ") + strerror(errno));
        }
        break;
      }
      case tool::Kind::kExit: {
        if (message->fields.size() > 1 && !message->fields[1].empty()) {
          fprintf(stderr, "error: %s\n", message->fields[1].c_str());
        }
        return static_cast<int>(strtol(message->fields[0].c_str(), nullptr, 10)) & 0xff;
      }
      default:
        return Fail(kFailed, "stream: what comes makes no sense");
    }
  }
  return Fail(kFailed, "stream: airstored has ended the connection; the tool has been stopped");
}

}  // namespace
}  // namespace airstore::shim

int main(int argc, char** argv) {
  using namespace airstore::shim;
  auto request = ParseRequest(std::vector<std::string>(argv, argv + argc), getenv);
  if (!request) {
    const bool usage = request.error().code == EINVAL;
    return Fail(usage ? 2 : kNotFound,
                usage ? request.error().message : request.error().ToString());
  }
  return Run(*request);
}
