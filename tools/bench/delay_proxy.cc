// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/delay_proxy.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "tools/bench/delayed_pipe.h"
#include "tools/bench/stream_address.h"

namespace airstore::bench {
namespace {

using std::chrono::nanoseconds;

constexpr size_t kScratchBytes = 256 << 10;
constexpr uint64_t kLeastBuffer = 256 << 10;

// epoll's data word: the two sockets of a connection are 2*id and 2*id+1.
constexpr uint64_t kStopWord = 0;
constexpr uint64_t kListenWord = 1;
constexpr uint64_t kFirstId = 1;

struct Connection {
  Connection(UniqueFd accepted, UniqueFd upstream, std::array<Link, 2>* links)
      : client(std::move(accepted)),
        server(std::move(upstream)),
        up(client.get(), server.get(), &(*links)[0]),
        down(server.get(), client.get(), &(*links)[1]) {}

  const UniqueFd client;
  const UniqueFd server;
  DelayedPipe up;    // client to server
  DelayedPipe down;  // server to client
};

class EpollDelayProxy final : public DelayProxy {
 public:
  EpollDelayProxy(Options options, UniqueFd listener, UniqueFd epoll, UniqueFd stop)
      : options_(std::move(options)),
        listener_(std::move(listener)),
        epoll_(std::move(epoll)),
        stop_(std::move(stop)),
        scratch_(kScratchBytes) {
    for (Link& link : links_) {
      link.delay = options_.delay;
      link.bytes_per_ns = static_cast<double>(options_.bandwidth_mbit) / 8e3;
      link.buffer_bytes = options_.buffer_bytes;
      if (options_.bandwidth_mbit == 0) continue;
      // A router's queue is about what the link holds; a larger one would only hide back-pressure.
      const double held = link.bytes_per_ns * static_cast<double>(nanoseconds(link.delay).count());
      link.buffer_bytes = std::clamp(static_cast<uint64_t>(2 * held), kLeastBuffer,
                                     std::max(kLeastBuffer, options_.buffer_bytes));
    }
  }

  Result<void> Run() override;
  uint16_t port() const override { return BoundPort(listener_.get()); }
  void Stop() override {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(stop_.get(), &one, sizeof(one));
  }
  Result<void> Watch(int fd, uint32_t events, uint64_t word) {
    epoll_event event{.events = events, .data = {.u64 = word}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return SysError("epoll_ctl");
    return {};
  }

 private:
  void Accept();
  void Ready(const epoll_event& event);
  void PumpAll();
  int Wait(std::array<epoll_event, 64>* events);

  const Options options_;
  const UniqueFd listener_;
  const UniqueFd epoll_;
  const UniqueFd stop_;
  std::array<Link, 2> links_;
  std::vector<char> scratch_;
  std::map<uint64_t, Connection> connections_;
  uint64_t next_id_ = kFirstId;
  std::set<uint64_t> active_;  // to be pumped now
  // When to pump without an event; at most one entry per connection matters, stale ones are
  // harmless.
  std::set<std::pair<ProxyClock::time_point, uint64_t>> timers_;
};

int EpollDelayProxy::Wait(std::array<epoll_event, 64>* events) {
  std::optional<timespec> timeout;
  if (!active_.empty()) {
    timeout = timespec{};
  } else if (!timers_.empty()) {
    const nanoseconds left =
        std::max(nanoseconds(0), nanoseconds(timers_.begin()->first - ProxyClock::now()));
    timeout = timespec{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  }
  // Nanosecond timeouts: epoll_wait's milliseconds would add half of one to each delay.
  return epoll_pwait2(epoll_.get(), events->data(), static_cast<int>(events->size()),
                      timeout ? &*timeout : nullptr, nullptr);
}

Result<void> EpollDelayProxy::Run() {
  std::array<epoll_event, 64> events;
  while (true) {
    const int count = Wait(&events);
    if (count < 0 && errno != EINTR) return SysError("epoll_pwait2");
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.u64 == kStopWord) return {};
      if (event.data.u64 == kListenWord) {
        Accept();
      } else {
        Ready(event);
      }
    }
    const auto now = ProxyClock::now();
    while (!timers_.empty() && timers_.begin()->first <= now) {
      active_.insert(timers_.begin()->second);
      timers_.erase(timers_.begin());
    }
    PumpAll();
  }
}

void EpollDelayProxy::Accept() {
  while (true) {
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) return;
    SetNoDelay(client.get());
    auto server = StartConnect(options_.connect);
    if (!server) continue;  // closing the client is the answer it gets
    const uint64_t id = next_id_++;
    const int client_fd = client.get();
    const int server_fd = server->get();
    connections_.try_emplace(id, std::move(client), std::move(*server), &links_);
    // Edge-triggered: a hung-up socket whose data still waits would otherwise wake us for nothing.
    constexpr uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    if (!Watch(client_fd, kEvents, 2 * id) || !Watch(server_fd, kEvents, 2 * id + 1)) {
      connections_.erase(id);
    }
  }
}

void EpollDelayProxy::Ready(const epoll_event& event) {
  const uint64_t id = event.data.u64 / 2;
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  const bool is_client = event.data.u64 % 2 == 0;
  DelayedPipe& reads = is_client ? found->second.up : found->second.down;
  DelayedPipe& writes = is_client ? found->second.down : found->second.up;
  // Errors and hang-ups show themselves in the next recv or send.
  constexpr uint32_t kBroken = EPOLLERR | EPOLLHUP;
  if (event.events & (EPOLLIN | EPOLLRDHUP | kBroken)) reads.SetReadable();
  if (event.events & (EPOLLOUT | kBroken)) writes.SetWritable();
  active_.insert(id);
}

void EpollDelayProxy::PumpAll() {
  std::set<uint64_t> again;
  for (const uint64_t id : std::exchange(active_, {})) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) continue;
    Connection& connection = found->second;
    const bool more_up = connection.up.Pump(&scratch_);
    const bool more_down = connection.down.Pump(&scratch_);
    if (connection.up.done() && connection.down.done()) {
      connections_.erase(found);
      continue;
    }
    if (more_up || more_down) again.insert(id);
    for (const DelayedPipe* pipe : {&connection.up, &connection.down}) {
      if (const auto due = pipe->next_due()) timers_.emplace(*due, id);
    }
  }
  active_ = std::move(again);
}

}  // namespace

Result<std::unique_ptr<DelayProxy>> DelayProxy::Create(Options options) {
  auto listener = ListenOn(options.listen);
  if (!listener) return listener.error();
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return SysError("epoll_create1");
  UniqueFd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return SysError("eventfd");
  const int listen_fd = listener->get();
  const int stop_fd = stop.get();
  auto proxy = std::make_unique<EpollDelayProxy>(std::move(options), std::move(*listener),
                                                 std::move(epoll), std::move(stop));
  AIRSTORE_TRY(proxy->Watch(stop_fd, EPOLLIN, kStopWord));
  AIRSTORE_TRY(proxy->Watch(listen_fd, EPOLLIN, kListenWord));
  return std::unique_ptr<DelayProxy>(std::move(proxy));
}

}  // namespace airstore::bench
