// SPDX-License-Identifier: Apache-2.0
#include "broker/control_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <map>

#include "broker/control_connection.h"
#include "broker/control_convert.h"
#include "broker/control_socket.h"
#include "broker/log_limit.h"
#include "broker/utf8_text.h"
#include "shm/base/wipe.h"

namespace airstore::broker {
namespace {

namespace wire = control::v1;
using Protocol = boost::asio::local::stream_protocol;

constexpr std::chrono::seconds kPatience{30};
constexpr size_t kMostConnections = 512;
constexpr size_t kMostOfAUser = 64;
constexpr size_t kKeptForGovernors = 64;
constexpr std::chrono::milliseconds kAcceptPause{100};

std::optional<Caller> PeerOf(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return std::nullopt;
  Caller caller{peer.uid, peer.gid, static_cast<uint32_t>(peer.pid)};
  length = 0;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, nullptr, &length) != 0 && errno == ERANGE) {
    caller.groups.resize(length / sizeof(gid_t));
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, caller.groups.data(), &length) != 0) {
      caller.groups.clear();
    }
  }
  return caller;
}

void LogGarbage(const Caller& caller, const char* what) {
  static LogLimit limit(std::chrono::seconds(10));
  if (!limit.Due()) return;
  spdlog::warn("control: uid {} pid {}: {}; connection closed", caller.uid, caller.pid, what);
}

}  // namespace

struct ControlServer::State {
  State(const boost::asio::any_io_executor& executor, ControlSocket file, BrokerApi& api,
        AdminFactory admin)
      : loop(executor),
        socket_file(std::move(file)),
        acceptor(executor, Protocol(), socket_file.fd.release()),
        requests(api, std::move(admin)) {}

  const boost::asio::any_io_executor loop;
  ControlSocket socket_file;
  Protocol::acceptor acceptor;
  ControlRequests requests;
  // Empty: there is room for another one of the caller's.
  std::string NoRoom(const Caller& caller) const {
    if (Governs(caller)) return "";
    const auto own = by_user.find(caller.uid);
    if (own != by_user.end() && own->second >= kMostOfAUser) {
      return "you have " + std::to_string(kMostOfAUser) + " requests open, which is the most";
    }
    return connections + kKeptForGovernors < kMostConnections ? ""
                                                              : "the broker is busy with others";
  }

  size_t connections = 0;
  std::map<uint32_t, size_t> by_user;
};

ControlServer::ControlServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

ControlServer::~ControlServer() {
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  state_->socket_file.Remove();
}

const std::string& ControlServer::path() const { return state_->socket_file.path; }
int ControlServer::fd() const { return state_->acceptor.native_handle(); }

Result<std::unique_ptr<ControlServer>> ControlServer::Listen(
    const boost::asio::any_io_executor& loop, const std::string& path, BrokerApi& api,
    AdminFactory admin) {
  auto socket = ListenOnControlSocket(path);
  if (!socket) return socket.error();
  return Serve(loop, std::move(*socket), api, std::move(admin));
}

Result<std::unique_ptr<ControlServer>> ControlServer::Adopt(
    const boost::asio::any_io_executor& loop, UniqueFd fd, BrokerApi& api, AdminFactory admin) {
  auto socket = AdoptControlSocket(std::move(fd));
  if (!socket) return socket.error();
  return Serve(loop, std::move(*socket), api, std::move(admin));
}

std::unique_ptr<ControlServer> ControlServer::Serve(const boost::asio::any_io_executor& loop,
                                                    ControlSocket socket, BrokerApi& api,
                                                    AdminFactory admin) {
  auto state = std::make_shared<State>(loop, std::move(socket), api, std::move(admin));
  Spawn(loop, Accept(state));
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(state)));
}

Task<void> ControlServer::Accept(std::shared_ptr<State> state) {
  while (state->acceptor.is_open()) {
    boost::system::error_code error;
    Protocol::socket socket = co_await state->acceptor.async_accept(
        boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (!state->acceptor.is_open()) co_return;
    if (error || state->connections >= kMostConnections) {
      // Out of descriptors, for one: those who wait in the queue wait a little longer.
      static LogLimit limit(std::chrono::seconds(10));
      if (limit.Due()) {
        spdlog::warn("control: {}", error ? error.message() : "too many connections");
      }
      boost::system::error_code ignored;
      socket.close(ignored);
      boost::asio::steady_timer pause(state->loop, kAcceptPause);
      co_await pause.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
      continue;
    }
    Spawn(state->loop, Serve(state, socket.release()));
  }
}

Task<void> ControlServer::Serve(std::shared_ptr<State> state, int fd) {
  const auto connection =
      std::make_shared<ControlConnection>(Protocol::socket(state->loop, Protocol(), fd));
  auto caller = PeerOf(fd);
  if (!caller) co_return;
  if (const std::string why = state->NoRoom(*caller); !why.empty()) {
    wire::Response refusal;
    ToWire(Failure{FailureKind::kBusy, why, "end some of them, or try again later"},
           refusal.mutable_failure());
    const std::string frame = control::MakeFrame(refusal.SerializeAsString());
    (void)send(fd, frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    co_return;
  }
  ++state->connections;
  ++state->by_user[caller->uid];
  for (;;) {
    bool oversized = false;
    auto frame = co_await connection->Read(kPatience, oversized);
    if (oversized) LogGarbage(*caller, "a frame beyond the limit");
    if (!frame) break;
    wire::Request request;
    const bool understood = request.ParseFromString(*frame);
    Wipe(*frame);  // it may hold a token
    if (!understood) {
      LogGarbage(*caller, "a frame that is no request");
      break;
    }
    // Who holds on to the function after the answer reports into the void.
    const auto answering = std::make_shared<bool>(true);
    ProgressFn progress = [weak = std::weak_ptr(connection), answering](
                              const std::string& message, uint64_t done, uint64_t total) {
      const auto open = weak.lock();
      if (!open || !*answering) return;
      wire::Response response;
      response.mutable_progress()->set_message(AsUtf8(message));
      response.mutable_progress()->set_done(done);
      response.mutable_progress()->set_total(total);
      open->Send(response.SerializeAsString(), true);
    };
    const auto gone = std::make_shared<bool>(false);
    caller->gone = gone;
    connection->WatchEnd(gone);
    wire::Response response =
        co_await state->requests.Answer(*caller, std::move(request), std::move(progress));
    *answering = false;
    connection->EndWatch();
    MakeText(&response);
    for (wire::Response& part : InParts(std::move(response))) {
      std::string body = part.SerializeAsString();
      if (body.size() > control::kGreatestFrameBytes) {
        part.Clear();
        part.mutable_failure()->set_message("the answer is too long");
        part.mutable_failure()->set_advice("ask for less, for instance one mount point");
        body = part.SerializeAsString();
      }
      connection->Send(body, false);
    }
    co_await connection->Drain(kPatience);
    if (!connection->socket().is_open()) break;
  }
  connection->Close();
  --state->connections;
  if (--state->by_user[caller->uid] == 0) state->by_user.erase(caller->uid);
}

}  // namespace airstore::broker
