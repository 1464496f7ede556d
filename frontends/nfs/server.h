// SPDX-License-Identifier: Apache-2.0
//
// Server: takes connections and serves what comes on them.
//
// libtirpc's svc_run is not used: it reads and answers in one thread, so a COMMIT that waits for
// the gateway would hold up everybody; it copies each record through its own stream, and gives a
// reply no bytes that it has not copied. Here a worker takes whatever connection has a record,
// reads that one, serves the call to its end, and leaves the connection to the next worker before
// the call can take long. There are as many workers as calls wait, and a few more; what is not
// needed goes. Threads: Run blocks and makes the workers. Owns: the listening socket, the
// connections.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "frontends/nfs/connection.h"
#include "frontends/nfs/dispatcher.h"
#include "frontends/nfs/peers.h"

namespace airstore::nfs {

class Server {
 public:
  // `on_ended`: the listening socket was shut down, by who ends the mount. From any worker.
  Server(Service* service, Dispatcher* dispatcher, UniqueFd listener, Peers peers,
         std::function<void()> on_ended);

  // Serves; returns only when it cannot: an errno.
  int Run();

 private:
  static constexpr int kMostWorkers = 96;  // below the number of hazard slots
  static constexpr int kKeptWorkers = 4;
  static constexpr size_t kMostConnections = 64;

  class Sender;
  class Worker;
  using ConnectionPtr = std::shared_ptr<Connection>;

  bool Watch(int operation, int fd);
  void Accept();
  ConnectionPtr Find(int fd);
  void Drop(int fd);
  void SpawnWorker();
  // What is to be done now and then. False: no more for now.
  bool KeepHouse();

  Service& service_;
  Dispatcher& dispatcher_;
  const UniqueFd listener_;
  const std::function<void()> on_ended_;
  const UniqueFd epoll_;
  Peers peers_;  // used by who has the listener
  const uint64_t started_ns_;
  std::atomic<int> workers_{0};
  std::atomic<int> idle_{0};
  std::mutex mutex_;
  std::unordered_map<int, ConnectionPtr> connections_;  // guarded by mutex_
};

}  // namespace airstore::nfs
