// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/tool_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <set>

#include "broker/control_frame.h"
#include "broker/log_limit.h"
#include "broker/names.h"
#include "broker/virtual/tool_frame.h"

namespace airstore::broker {
namespace {

using Protocol = boost::asio::local::stream_protocol;

constexpr size_t kMostRuns = 1024;
constexpr std::chrono::seconds kRequestPatience{10};
constexpr std::chrono::milliseconds kAcceptPause{100};

}  // namespace

// One connection.
struct Run {
  explicit Run(Protocol::socket of) : socket(std::move(of)), timer(socket.get_executor()) {}

  Protocol::socket socket;
  boost::asio::steady_timer timer;
  std::unique_ptr<ToolRun> tool;
  bool over = false;
  bool watching = false;  // for the end of the connection

  void End() {
    over = true;
    if (tool) tool->Cancel();
    boost::system::error_code ignored;
    timer.cancel();
    socket.close(ignored);
  }
};

struct ToolServer::State {
  State(const boost::asio::any_io_executor& executor, Tasks* of, ControlSocket file,
        std::string proof, std::shared_ptr<GatewayServices> from)
      : loop(executor),
        tasks(of),
        socket_file(std::move(file)),
        acceptor(executor, Protocol(), socket_file.fd.release()),
        ticket(std::move(proof)),
        services(std::move(from)) {}

  const boost::asio::any_io_executor loop;
  Tasks* const tasks;
  ControlSocket socket_file;
  Protocol::acceptor acceptor;
  const std::string ticket;
  const std::shared_ptr<GatewayServices> services;
  std::set<std::shared_ptr<Run>> runs;
};

namespace {

// Without an end that depends on how much of it was right.
bool SameTicket(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned char differ = 0;
  for (size_t i = 0; i < a.size(); ++i) differ |= static_cast<unsigned char>(a[i] ^ b[i]);
  return differ == 0;
}

Task<std::optional<tool::Message>> ReadRequest(Run* run) {
  control::FrameHeader header{};
  boost::system::error_code error;
  co_await boost::asio::async_read(run->socket, boost::asio::buffer(header),
                                   boost::asio::redirect_error(boost::asio::use_awaitable, error));
  const uint32_t length = error ? 0 : control::FrameLength(header);
  if (length == 0 || length > control::kGreatestFrameBytes) co_return std::nullopt;
  std::string body;
  constexpr size_t kStep = 64u << 10;
  while (body.size() < length) {
    const size_t before = body.size();
    body.resize(std::min<size_t>(length, before + kStep));
    co_await boost::asio::async_read(
        run->socket, boost::asio::buffer(body.data() + before, body.size() - before),
        boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error) co_return std::nullopt;
  }
  co_return tool::Decode(body);
}

Task<bool> Send(Run* run, tool::Kind kind, std::vector<std::string> fields) {
  const std::vector<std::string_view> views(fields.begin(), fields.end());
  const std::string frame = control::MakeFrame(tool::Encode(kind, views));
  boost::system::error_code error;
  co_await boost::asio::async_write(run->socket, boost::asio::buffer(frame),
                                    boost::asio::redirect_error(boost::asio::use_awaitable, error));
  co_return !error;
}

Task<bool> SendData(Run* run, ToolOutput::Stream stream, std::string data) {
  const tool::Kind kind = stream == ToolOutput::Stream::kErr ? tool::Kind::kErr : tool::Kind::kOut;
  for (size_t at = 0; at < data.size(); at += tool::kMostData) {
    std::vector<std::string> piece(1, data.substr(at, tool::kMostData));
    if (!co_await Send(run, kind, std::move(piece))) co_return false;
  }
  co_return true;
}

Task<void> SendExit(Run* run, int status, std::string error) {
  std::vector<std::string> fields(1, std::to_string(status));
  fields.push_back(std::move(error));
  (void)co_await Send(run, tool::Kind::kExit, std::move(fields));
}

// The first services have no way to pass it on.
constexpr char kAboutInput[] = "\nIt runs at the gateway, and reads no standard input.\n";

// For people who run a tool.
std::string Explain(const Error& error) {
  switch (error.code) {
    case EAGAIN:
      return "the gateway is not reached (" + error.message + "); try again later";
    case ENOSYS:
      return "the gateway runs no tools";
    case EACCES:
      return "the gateway refuses the workspace's token (" + error.message + ")";
    default:
      return error.message;
  }
}

Task<void> Relay(GatewayServices* services, Run* run, tool::Message request) {
  // A gateway that gets anything else says that it has no such call.
  if (!std::all_of(request.fields.begin(), request.fields.end(), IsUtf8)) {
    co_await SendExit(run, 1, "the arguments are no UTF-8 text, and gateways take nothing else");
    co_return;
  }
  std::string name = std::move(request.fields[1]);
  if (request.kind == tool::Kind::kHelp) {
    auto help = co_await services->ToolHelp(std::move(name));
    if (run->over) co_return;
    if (!help) {
      co_await SendExit(run, 1, Explain(help.error()));
    } else if (co_await SendData(run, ToolOutput::Stream::kOut, *help + "\n" + kAboutInput)) {
      co_await SendExit(run, 0, "");
    }
    co_return;
  }
  std::vector<std::string> arguments(std::make_move_iterator(request.fields.begin() + 2),
                                     std::make_move_iterator(request.fields.end()));
  run->tool = services->RunTool(std::move(name), std::move(arguments));
  for (;;) {
    auto output = co_await run->tool->Next();
    if (run->over) co_return;
    if (!output) {
      co_await SendExit(run, 1, Explain(output.error()));
      co_return;
    }
    if (output->done) {
      co_await SendExit(run, output->exit_code, std::move(output->error));
      co_return;
    }
    if (!co_await SendData(run, output->stream, std::move(output->data))) co_return;
  }
}

// The shim sends nothing more: what can be read is the end.
Task<void> WatchEnd(std::shared_ptr<Run> run) {
  char byte = 0;
  boost::system::error_code error;
  co_await run->socket.async_read_some(
      boost::asio::buffer(&byte, 1),
      boost::asio::redirect_error(boost::asio::use_awaitable, error));
  if (!run->over) run->End();
}

Task<void> Limit(std::shared_ptr<Run> run) {
  run->timer.expires_after(kRequestPatience);
  boost::system::error_code error;
  co_await run->timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, error));
  if (!error && !run->watching) run->End();
}

}  // namespace

ToolServer::ToolServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

ToolServer::~ToolServer() { Stop(); }

void ToolServer::Stop() {
  if (!state_->acceptor.is_open()) return;
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
  state_->socket_file.Remove();
  for (const auto& run : std::set<std::shared_ptr<Run>>(state_->runs)) run->End();
}

Result<std::unique_ptr<ToolServer>> ToolServer::Listen(const boost::asio::any_io_executor& loop,
                                                       Tasks* tasks, const std::string& path,
                                                       std::string ticket,
                                                       std::shared_ptr<GatewayServices> services) {
  auto socket = ListenOnControlSocket(path);
  if (!socket) return socket.error();
  auto state = std::make_shared<State>(loop, tasks, std::move(*socket), std::move(ticket),
                                       std::move(services));
  tasks->Spawn(Accept(state));
  return std::unique_ptr<ToolServer>(new ToolServer(std::move(state)));
}

Task<void> ToolServer::Accept(std::shared_ptr<State> state) {
  while (state->acceptor.is_open()) {
    boost::system::error_code error;
    Protocol::socket socket = co_await state->acceptor.async_accept(
        boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (!state->acceptor.is_open()) co_return;
    if (error || state->runs.size() >= kMostRuns) {
      boost::system::error_code ignored;
      socket.close(ignored);
      boost::asio::steady_timer pause(state->loop, kAcceptPause);
      co_await pause.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
      continue;
    }
    state->tasks->Spawn(Serve(state, socket.release()));
  }
}

Task<void> ToolServer::Serve(std::shared_ptr<State> state, int fd) {
  const auto run = std::make_shared<Run>(Protocol::socket(state->loop, Protocol(), fd));
  state->runs.insert(run);
  state->tasks->Spawn(Limit(run));
  auto request = co_await ReadRequest(run.get());
  run->watching = true;
  run->timer.cancel();
  const bool sound = request && request->fields.size() >= 2 &&
                     (request->kind == tool::Kind::kRun || request->kind == tool::Kind::kHelp);
  if (!run->over && sound && !SameTicket(request->fields[0], state->ticket)) {
    static LogLimit limit(std::chrono::seconds(10));
    if (limit.Due()) spdlog::warn("a tool was asked for with a ticket that is not this mount's");
    co_await SendExit(run.get(), 126,
                      "this tool belongs to a mount that has ended, or is not yours");
  } else if (!run->over && sound) {
    state->tasks->Spawn(WatchEnd(run));
    co_await Relay(state->services.get(), run.get(), std::move(*request));
  }
  run->End();
  state->runs.erase(run);
}

}  // namespace airstore::broker
