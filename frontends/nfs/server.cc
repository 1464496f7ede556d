// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <thread>
#include <utility>

#include "frontends/nfs/worker_memory.h"
#include "frontends/volume/stopwatch.h"
#include "shm/base/fault.h"

namespace airstore::nfs {
namespace {

// With nothing to do for so long, a worker gives memory back, or goes.
constexpr int kIdleMs = 1000;
// By then clients have noticed that their connections broke, and have sent again what they had to.
constexpr uint64_t kRepeatedNs = 120'000'000'000;

// Nobody's: what is closed here was opened for clients that are through with it.
class HouseRequest final : public volume::Request {
 public:
  volume::Caller caller() const override { return {}; }
  bool Interrupted() override { return false; }
  void StartWait() override {}
  void EndWait() override {}
};

}  // namespace

// A reply of the call that this worker serves. Its connection is this worker's until the call takes
// longer, when it goes back to whoever is free.
class Server::Sender final : public ReplySender {
 public:
  Sender(Server* server, Connection* connection) : server_(*server), connection_(*connection) {}
  void Send(std::span<const char> head, const iovec* payload, int count) override {
    Reach(FaultPoint::kFrontendBeforeReply);
    connection_.SendReply(head, payload, count);
    Reach(FaultPoint::kFrontendAfterReply);
  }

  void LetOthersGoOn() override {
    if (!std::exchange(given_back_, true)) server_.Watch(EPOLL_CTL_MOD, connection_.socket());
  }
  bool given_back() const { return given_back_; }

 private:
  Server& server_;
  Connection& connection_;
  bool given_back_ = false;
};

class Server::Worker {
 public:
  // `stays`: it is the thread that must not end.
  Worker(Server* server, bool stays) : server_(*server), stays_(stays) {}

  // Until it is not needed any more. An errno, or 0.
  int Run() {
    if (!memory_) return ENOMEM;
    for (;;) {
      epoll_event event{};
      server_.idle_.fetch_add(1);
      const int got = epoll_wait(server_.epoll_.get(), &event, 1, rested_ ? -1 : kIdleMs);
      const int left = server_.idle_.fetch_sub(1) - 1;
      if (got < 0 && errno != EINTR) return errno;
      if (got == 0) {
        if (Rest()) return 0;
      } else if (got > 0) {
        rested_ = false;
        if (left == 0) server_.SpawnWorker();
        Serve(event);
      }
    }
  }

 private:
  // True: it is one too many.
  bool Rest() {
    memory_.GiveBack();
    rested_ = !server_.KeepHouse();
    int workers = server_.workers_.load(std::memory_order_relaxed);
    // While the others wait for the gateway, somebody has to take what comes.
    while (workers > kKeptWorkers && !stays_ && server_.idle_.load() != 0) {
      if (server_.workers_.compare_exchange_weak(workers, workers - 1)) return true;
    }
    return false;
  }

  void Serve(const epoll_event& event) {
    if (event.data.fd == server_.listener_.get()) {
      // Nobody shuts it down but who ends the mount.
      if ((event.events & (EPOLLHUP | EPOLLERR)) != 0) return server_.on_ended_();
      server_.Accept();
      server_.Watch(EPOLL_CTL_MOD, event.data.fd);
      return;
    }
    const ConnectionPtr connection = server_.Find(event.data.fd);
    if (connection == nullptr) return;
    // Calls that come close upon each other are served here while each is quick: handing every one
    // to another thread would cost more than serving it.
    for (;;) {
      const auto record = connection->ReadRecord(memory_.record());
      if (record.empty()) return server_.Drop(event.data.fd);
      server_.service_.volume.CountRequest();
      Sender sender(&server_, connection.get());
      if (!server_.dispatcher_.Serve(record, connection->peer(), memory_.reply(), sender)) {
        connection->End();
      }
      if (sender.given_back()) return;
      if (!connection->HasMore()) return sender.LetOthersGoOn();
    }
  }

  Server& server_;
  const bool stays_;
  const WorkerMemory memory_;
  bool rested_ = false;
};

Server::Server(Service* service, Dispatcher* dispatcher, UniqueFd listener, Peers peers,
               std::function<void()> on_ended)
    : service_(*service),
      dispatcher_(*dispatcher),
      listener_(std::move(listener)),
      on_ended_(std::move(on_ended)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      peers_(std::move(peers)),
      started_ns_(volume::ClockNs(CLOCK_MONOTONIC)) {}

int Server::Run() {
  if (!epoll_ || !Watch(EPOLL_CTL_ADD, listener_.get())) return errno;
  workers_.store(1, std::memory_order_relaxed);
  return Worker(this, true).Run();
}

bool Server::KeepHouse() {
  HouseRequest request;
  const bool writers = service_.writers.CloseIdle(request);
  const bool more = service_.listings.DropIdle() || writers;
  if (!dispatcher_.repeats()) return more;
  if (volume::ClockNs(CLOCK_MONOTONIC) - started_ns_ < kRepeatedNs) return true;
  dispatcher_.NoMoreRepeated();
  return more;
}

bool Server::Watch(int operation, int fd) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.fd = fd;
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

void Server::Accept() {
  UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return;
  const auto uid = peers_.UidOf(socket.get());
  if (!uid || (*uid != 0 && *uid != service_.options.owner_uid)) return;
  const int fd = socket.get();
  auto connection = std::make_shared<Connection>(std::move(socket), Peer{*uid});
  const std::lock_guard lock(mutex_);
  if (connections_.size() >= kMostConnections) return;
  if (Watch(EPOLL_CTL_ADD, fd)) connections_.emplace(fd, std::move(connection));
}

Server::ConnectionPtr Server::Find(int fd) {
  const std::lock_guard lock(mutex_);
  const auto found = connections_.find(fd);
  return found == connections_.end() ? nullptr : found->second;
}

// The socket is closed when the last reply to it has failed; its number is not used again before.
void Server::Drop(int fd) {
  const std::lock_guard lock(mutex_);
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  found->second->End();
  connections_.erase(found);
}

void Server::SpawnWorker() {
  int workers = workers_.load(std::memory_order_relaxed);
  do {
    if (workers >= kMostWorkers) return;
  } while (!workers_.compare_exchange_weak(workers, workers + 1));
  try {
    std::thread([this] { Worker(this, false).Run(); }).detach();
  } catch (const std::system_error&) {
    workers_.fetch_sub(1, std::memory_order_relaxed);  // those that are there have to do
  }
}

}  // namespace airstore::nfs
