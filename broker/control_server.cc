// SPDX-License-Identifier: Apache-2.0
#include "broker/control_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include "broker/control_connection.h"
#include "broker/control_socket.h"
#include "broker/log_limit.h"
#include "shm/base/wipe.h"

namespace airstore::broker {
namespace {

namespace wire = control::v1;
using Protocol = boost::asio::local::stream_protocol;

constexpr std::chrono::seconds kPatience{30};
constexpr size_t kMostConnections = 512;
constexpr std::chrono::milliseconds kAcceptPause{100};

std::optional<Caller> PeerOf(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return std::nullopt;
  return Caller{peer.uid, peer.gid, static_cast<uint32_t>(peer.pid)};
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
  size_t connections = 0;
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
  const auto caller = PeerOf(fd);
  if (!caller) co_return;
  ++state->connections;
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
      response.mutable_progress()->set_message(message);
      response.mutable_progress()->set_done(done);
      response.mutable_progress()->set_total(total);
      open->Send(response.SerializeAsString(), true);
    };
    wire::Response response =
        co_await state->requests.Answer(*caller, std::move(request), std::move(progress));
    *answering = false;
    std::string body = response.SerializeAsString();
    if (body.size() > control::kGreatestFrameBytes) {
      response.Clear();
      response.mutable_failure()->set_message("the answer is too long");
      response.mutable_failure()->set_advice("ask for less, for instance one mount point");
      body = response.SerializeAsString();
    }
    connection->Send(body, false);
    co_await connection->Drain(kPatience);
    if (!connection->socket().is_open()) break;
  }
  connection->Close();
  --state->connections;
}

}  // namespace airstore::broker
