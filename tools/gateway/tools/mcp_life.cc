// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/tools/mcp_life.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>

#include "broker/log_event.h"
#include "tools/gateway/clock.h"
#include "tools/gateway/json_depth.h"

namespace airstore::gateway {
namespace {

using nlohmann::json;

constexpr size_t kMaxLineBytes = 64u << 20;
constexpr std::chrono::seconds kSendPatience{10};

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Result<std::shared_ptr<McpServer::Life>> McpServer::Life::Start(const CommandConfig& config) {
  ProcessSpec spec;
  spec.command = config.command;
  spec.directory = config.directory;
  spec.environment = config.environment;
  spec.with_stdin = true;
  auto process = Process::Start(spec);
  if (!process) return process.error();
  broker::LogEvent(spdlog::level::info,
                   {{"tool", config.name}, {"child", std::to_string(process->pid())}},
                   "MCP server {}: started, pid {}", config.name, process->pid());
  return std::make_shared<Life>(std::move(*process), config.name);
}

McpServer::Life::Life(Process process, std::string name)
    : name_(std::move(name)), process_(std::move(process)) {
  for (UniqueFd* fd : {&process_.in(), &process_.out(), &process_.err()}) {
    fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }
  reader_ = std::thread([this] { Read(); });
}

McpServer::Life::~Life() {
  stop_.Raise();
  process_.SignalGroup(SIGTERM);
  reader_.join();
}

Result<void> McpServer::Life::Send(const json& message) {
  const std::string line = Dump(message) + "\n";
  std::lock_guard lock(send_mu_);
  std::string_view rest = line;
  const SteadyTime deadline = SteadyNow() + kSendPatience;
  while (!rest.empty()) {
    const ssize_t n = send(process_.in().get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n > 0) {
      rest.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN && SteadyNow() < deadline) {
      pollfd room{process_.in().get(), POLLOUT, 0};
      (void)poll(&room, 1, 100);
      continue;
    }
    // Half a message is as bad as none: nothing that follows could be understood.
    process_.SignalGroup(SIGKILL);
    return Error{EPIPE, "the server does not listen"};
  }
  return {};
}

Result<void> McpServer::Life::Notify(const std::string& method, json params) {
  json message = {{"jsonrpc", "2.0"}, {"method", method}};
  if (!params.is_null()) message["params"] = std::move(params);
  return Send(message);
}

Result<json> McpServer::Life::Request(const std::string& method, json params, const Cancel& cancel,
                                      std::optional<std::chrono::seconds> limit) {
  auto pending = std::make_shared<Pending>();
  int64_t id = 0;
  {
    std::lock_guard lock(mu_);
    if (ended_) return Error{EPIPE, "the server has ended"};
    id = ++last_id_;
    pending_[id] = pending;
  }
  auto sent = Send({{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", params}});
  pollfd fds[] = {{pending->done.fd(), POLLIN, 0}, {cancel.fd(), POLLIN, 0}};
  const SteadyTime deadline = SteadyNow() + limit.value_or(std::chrono::seconds(0));
  int ready = 0;
  while (sent && (fds[0].revents | fds[1].revents) == 0) {
    int wait_ms = -1;
    if (limit) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - SteadyNow()).count();
      if (left <= 0) break;
      wait_ms = static_cast<int>(left) + 1;
    }
    ready = poll(fds, 2, wait_ms);
    if (ready < 0 && errno != EINTR) break;
  }
  {
    std::lock_guard lock(mu_);
    pending_.erase(id);
  }
  if (!sent) return sent.error();
  if (fds[0].revents != 0) return std::move(pending->result);
  (void)Notify("notifications/cancelled", {{"requestId", id}, {"reason", "not waited for"}});
  if (fds[1].revents != 0) return Error{ECANCELED, "cancelled"};
  return Error{ETIMEDOUT, "the server does not answer to " + method};
}

void McpServer::Life::AnswerServer(const json& request) {
  json answer = {{"jsonrpc", "2.0"}, {"id", request["id"]}};
  if (request["method"] == "ping") {
    answer["result"] = json::object();
  } else {
    answer["error"] = {{"code", -32601}, {"message", "this client offers nothing to servers"}};
  }
  (void)Send(answer);
}

void McpServer::Life::Take(std::string_view line) {
  // Of what nests too deep only the upper part is looked at: for whose answer it is.
  const bool deep = NestsTooDeep(line);
  const auto shallow = [](int depth, json::parse_event_t, json&) { return depth <= 1; };
  const json message = deep ? json::parse(line, shallow, false) : json::parse(line, nullptr, false);
  if (!message.is_object()) {
    broker::LogEvent(spdlog::level::warn, {{"tool", name_}},
                     "MCP server {}: a line that is no message", name_);
    return;
  }
  if (message.contains("method")) {
    if (message.contains("id")) {
      AnswerServer(message);
    } else if (message["method"] == "notifications/tools/list_changed") {
      std::lock_guard lock(tools_mu_);
      tools_.reset();
    }
    return;
  }
  const auto id = message.find("id");
  if (id == message.end() || !id->is_number_integer()) return;
  std::lock_guard lock(mu_);
  const auto found = pending_.find(id->get<int64_t>());
  if (found == pending_.end()) return;  // cancelled, or never asked
  if (deep) {
    found->second->result = Error{EPROTO, "an answer that nests too deep"};
  } else if (const auto error = message.find("error"); error != message.end()) {
    const bool told =
        error->is_object() && error->contains("message") && (*error)["message"].is_string();
    found->second->result =
        Error{EREMOTEIO, told ? (*error)["message"].get<std::string>() : Dump(*error)};
  } else if (const auto result = message.find("result"); result != message.end()) {
    found->second->result = Result<json>(*result);
  } else {
    found->second->result = Error{EPROTO, "an answer without result or error"};
  }
  found->second->done.Raise();
}

void McpServer::Life::Read() {
  std::string line;
  std::array<char, 64 << 10> buffer;
  bool open = true;
  while (open) {
    pollfd fds[] = {{process_.out().get(), POLLIN, 0},
                    {process_.err() ? process_.err().get() : -1, POLLIN, 0},
                    {stop_.fd(), POLLIN, 0}};
    if (poll(fds, std::size(fds), -1) < 0 && errno != EINTR) break;
    if (fds[2].revents != 0) break;
    if (fds[1].revents != 0) {
      const ssize_t n = read(process_.err().get(), buffer.data(), buffer.size());
      if (n > 0) {
        broker::LogEvent(spdlog::level::debug, {{"tool", name_}}, "MCP server {}: {}", name_,
                         std::string_view(buffer.data(), static_cast<size_t>(n)));
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        process_.err().reset();
      }
    }
    if (fds[0].revents == 0) continue;
    const ssize_t n = read(process_.out().get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    open = n > 0;
    std::string_view rest(buffer.data(), open ? static_cast<size_t>(n) : 0);
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      line.append(rest.substr(0, end));
      rest.remove_prefix(end + 1);
      if (!line.empty() && line != "\r") Take(line);
      line.clear();
    }
    line.append(rest);
    open = open && line.size() <= kMaxLineBytes;
  }
  process_.SignalGroup(SIGKILL);
  const int code = process_.Reap();
  if (!stop_.raised()) {
    broker::LogEvent(spdlog::level::warn, {{"tool", name_}}, "MCP server {}: ended with {}", name_,
                     code);
  }
  std::lock_guard lock(mu_);
  ended_ = true;
  for (const auto& [id, pending] : pending_) pending->done.Raise();
}

}  // namespace airstore::gateway
