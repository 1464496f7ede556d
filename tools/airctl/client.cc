// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "broker/control_frame.h"
#include "shm/base/wipe.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

constexpr int kTickMs = 200;

// What systemctl and journalctl need for a user's own broker.
std::string Whose(const std::string& path) {
  return geteuid() == 0 || path.starts_with("/run/airstore/") ? "" : "--user ";
}

Failure NotRunning(const std::string& path, int code) {
  if (code == EACCES || code == EPERM) {
    return {wire::FAILURE_KIND_PERMISSION, "you may not connect to the broker at " + path,
            "--socket or AIRSTORE_SOCKET names another one"};
  }
  return {wire::FAILURE_KIND_UNREACHABLE,
          "the broker is not running (" + path + ": " + strerror(code) + ")",
          "start it ('systemctl " + Whose(path) +
              "start airstored', or run 'airstored'), or name its socket with --socket"};
}

}  // namespace

Outcome<BrokerClient> BrokerClient::Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Failure{wire::FAILURE_KIND_USAGE, "the socket's path is too long: " + path, ""};
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd)
    return Failure{wire::FAILURE_KIND_INTERNAL, std::string("socket: ") + strerror(errno), ""};
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return NotRunning(path, errno);
  }
  return BrokerClient(std::move(fd), path);
}

Failure BrokerClient::Lost() {
  if (Late()) {
    return {wire::FAILURE_KIND_UNREACHABLE, "the broker at " + path_ + " does not answer",
            "look whether it hangs, and what its log says ('journalctl " + Whose(path_) +
                "-u airstored')"};
  }
  lost_ = true;
  return {wire::FAILURE_KIND_UNREACHABLE, "the broker at " + path_ + " ended before it answered",
          "look into its log ('journalctl " + Whose(path_) + "-u airstored')"};
}

bool BrokerClient::Late() const {
  return patience_.count() != 0 && std::chrono::steady_clock::now() >= deadline_;
}

bool BrokerClient::ReadExactly(char* to, size_t bytes, Progress& progress) {
  size_t have = 0;
  while (have < bytes) {
    pollfd wait{fd_.get(), POLLIN, 0};
    const int ready = poll(&wait, 1, kTickMs);
    if (ready < 0 && errno != EINTR) return false;
    progress.Tick();
    if (Late() || (given_up_ && given_up_())) return false;
    if (ready <= 0) continue;
    const ssize_t got = recv(fd_.get(), to + have, bytes - have, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    have += static_cast<size_t>(got);
  }
  return true;
}

Outcome<wire::Response> BrokerClient::Call(const wire::Request& request, Progress& progress) {
  deadline_ = std::chrono::steady_clock::now() + patience_;
  std::string body = request.SerializeAsString();  // with tokens
  const WipeAtEnd wipe_body(body);
  if (body.size() > control::kGreatestFrameBytes) {
    return Failure{wire::FAILURE_KIND_USAGE, "the request is too long", ""};
  }
  std::string frame = control::MakeFrame(body);
  const WipeAtEnd wipe_frame(frame);
  for (size_t sent = 0; sent < frame.size();) {
    const ssize_t wrote = send(fd_.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return Lost();
    sent += static_cast<size_t>(wrote);
  }
  wire::Response whole;
  for (;;) {
    control::FrameHeader header{};
    if (!ReadExactly(reinterpret_cast<char*>(header.data()), header.size(), progress)) {
      return Lost();
    }
    const uint32_t length = control::FrameLength(header);
    std::string answer;
    wire::Response response;
    if (length <= control::kGreatestFrameBytes) answer.resize(length);
    if (length <= control::kGreatestFrameBytes &&
        !ReadExactly(answer.data(), answer.size(), progress)) {
      return Lost();
    }
    if (length > control::kGreatestFrameBytes || !response.ParseFromString(answer)) {
      return Failure{wire::FAILURE_KIND_INTERNAL,
                     "what listens at " + path_ + " does not answer as a broker does", ""};
    }
    if (response.has_progress()) {
      progress.Update(response.progress().message(), response.progress().done(),
                      response.progress().total());
      continue;
    }
    if (response.has_failure()) {
      return Failure{response.failure().kind(), response.failure().message(),
                     response.failure().advice()};
    }
    const bool more = response.more();
    response.clear_more();
    if (!more && whole.what_case() == wire::Response::WHAT_NOT_SET) return response;
    whole.MergeFrom(response);
    if (!more) return whole;
  }
}

}  // namespace airstore::airctl
