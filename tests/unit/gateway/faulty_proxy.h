// SPDX-License-Identifier: Apache-2.0
//
// A proxy before a real service that does to connections what networks and busy services do. Each
// new connection takes the next fault of a list; without one it passes everything on. Connections
// that are kept are closed when a fault is added, so that the next request meets it.
//
// Threads: the test's, and one for each connection.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "shm/base/fd.h"

namespace airstore::gateway {

enum class Fault {
  kNone,
  kSlowDown,     // 503 with S3's code for throttling
  kServerError,  // 500 without a body
  kNoSuchPage,   // 404 with a page for people
  kReset,        // the connection is reset when the request has come
  kSilence,      // no answer at all
  kDrip,         // the answer comes a few bytes a second
  kCut,          // half of the answer, then the end
  kDamage,       // the last byte of the answer is another one
};

class FaultyProxy {
 public:
  explicit FaultyProxy(int upstream_port);
  ~FaultyProxy();

  int port() const { return port_; }
  void Add(Fault fault, int times = 1);
  // Faults that nobody has met yet.
  void Clear();
  // Whether connections are closed at once, also those that there are.
  void Break(bool broken);
  // Requests that met a fault so far: shows that it was hit.
  int hit() const { return hit_.load(); }

 private:
  struct Connection {
    UniqueFd client, server;
    std::thread thread;
    std::atomic<bool> done{false};
  };
  void Accept();
  void Serve(Connection& connection);
  bool Misbehave(Connection& connection, Fault fault);
  Fault Next();

  const int upstream_port_;
  UniqueFd listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> broken_{false};
  std::atomic<int> hit_{0};
  std::mutex mu_;
  // Guarded by mu_.
  std::deque<Fault> faults_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::thread thread_;
};

}  // namespace airstore::gateway
