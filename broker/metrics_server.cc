// SPDX-License-Identifier: Apache-2.0
#include "broker/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using Protocol = boost::asio::generic::stream_protocol;
using Stream = beast::basic_stream<Protocol, boost::asio::any_io_executor>;

constexpr auto kPatience = std::chrono::seconds(10);
constexpr size_t kMostConnections = 16;
constexpr uint32_t kMostHeaderBytes = 8192;
constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

Result<UniqueFd> ListenOnPath(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return Error{EEXIST, path + ": there is something else"};
    unlink(path.c_str());
  }
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return SysError("socket");
  const mode_t others = umask(0117);
  const int bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int code = errno;
  umask(others);
  if (bound != 0) return SysError("bind " + path, code);
  return fd;
}

Result<UniqueFd> ListenOnPort(const MetricsAddress& address, uint16_t* port) {
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_loopback;
  v6.sin6_port = htons(address.port);
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  v4.sin_port = htons(address.port);
  auto* name = address.v6 ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
  socklen_t length = address.v6 ? sizeof v6 : sizeof v4;
  UniqueFd fd(socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return SysError("socket");
  const int on = 1;
  // A broker that is being replaced still listens.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (bind(fd.get(), name, length) != 0) {
    return SysError("bind port " + std::to_string(address.port));
  }
  if (getsockname(fd.get(), name, &length) != 0) return SysError("getsockname");
  *port = ntohs(address.v6 ? v6.sin6_port : v4.sin_port);
  return fd;
}

http::response<http::string_body> Answer(const http::request<http::empty_body>& request,
                                         const MetricsServer::Render& render) {
  http::response<http::string_body> answer{http::status::ok, request.version()};
  answer.set(http::field::content_type, kContentType);
  answer.keep_alive(request.keep_alive());
  const auto target = request.target().substr(0, request.target().find('?'));
  if (request.method() != http::verb::get) {
    answer.result(http::status::method_not_allowed);
    answer.set(http::field::allow, "GET");
  } else if (target == "/metrics") {
    answer.body() = render();
  } else {
    answer.result(http::status::not_found);
    answer.body() = "metrics are at /metrics\n";
  }
  answer.prepare_payload();
  return answer;
}

}  // namespace

struct MetricsServer::State {
  State(const boost::asio::any_io_executor& executor, Render text)
      : loop(executor), listener(executor), render(std::move(text)) {}

  const boost::asio::any_io_executor loop;
  boost::asio::posix::stream_descriptor listener;
  const Render render;
  std::string address;
  std::string path;  // of the socket file
  ino_t inode = 0;
  size_t connections = 0;
};

MetricsServer::MetricsServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

MetricsServer::~MetricsServer() {
  boost::system::error_code ignored;
  state_->listener.close(ignored);
  struct stat info {};
  const bool ours = !state_->path.empty() && lstat(state_->path.c_str(), &info) == 0 &&
                    info.st_ino == state_->inode;
  if (ours) unlink(state_->path.c_str());
}

const std::string& MetricsServer::address() const { return state_->address; }

Result<std::unique_ptr<MetricsServer>> MetricsServer::Listen(
    const boost::asio::any_io_executor& loop, const MetricsAddress& address, Render render) {
  auto state = std::make_shared<State>(loop, std::move(render));
  uint16_t port = 0;
  auto fd = address.path.empty() ? ListenOnPort(address, &port) : ListenOnPath(address.path);
  if (!fd) return fd.error();
  if (listen(fd->get(), SOMAXCONN) != 0) return SysError("listen for metrics");
  if (address.path.empty()) {
    state->address = std::string("http://") + (address.v6 ? "[::1]:" : "127.0.0.1:") +
                     std::to_string(port) + "/metrics";
  } else {
    struct stat info {};
    if (lstat(address.path.c_str(), &info) == 0) state->inode = info.st_ino;
    state->path = address.path;
    state->address = "unix:" + address.path;
  }
  state->listener.assign(fd->release());
  Spawn(loop, Accept(state));
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(state)));
}

Task<void> MetricsServer::Accept(std::shared_ptr<State> state) {
  while (state->listener.is_open()) {
    boost::system::error_code error;
    co_await state->listener.async_wait(
        boost::asio::posix::stream_descriptor::wait_read,
        boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error || !state->listener.is_open()) co_return;
    UniqueFd peer(
        accept4(state->listener.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    // Who is one too many is let go.
    if (!peer || state->connections >= kMostConnections) continue;
    Spawn(state->loop, Serve(state, peer.release()));
  }
}

Task<void> MetricsServer::Serve(std::shared_ptr<State> state, int fd) {
  ++state->connections;
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
  Stream stream(Protocol::socket(state->loop, Protocol(name.ss_family, 0), fd));
  beast::flat_buffer buffer;
  boost::system::error_code error;
  for (bool again = true; again && !error;) {
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMostHeaderBytes);
    stream.expires_after(kPatience);
    co_await http::async_read(stream, buffer, parser,
                              boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error) break;
    const auto answer = Answer(parser.get(), state->render);
    again = answer.keep_alive();
    stream.expires_after(kPatience);
    co_await http::async_write(stream, answer,
                               boost::asio::redirect_error(boost::asio::use_awaitable, error));
  }
  --state->connections;
}

}  // namespace airstore::broker
