// SPDX-License-Identifier: Apache-2.0
//
// DelayProxy: a stream proxy that behaves like a longer wire. Bytes come out a fixed time after
// they went in; how many may be under way is bounded only by a generous buffer, so throughput stays
// what it was. An optional bandwidth makes all connections share one link per direction.
//
// Why not tc/netem: it needs privileges and a network namespace, and cannot slow one unix socket.
// Connecting is not delayed, only bytes and the end of the stream are.
// Threads: Run() is the only thread that touches connections; Stop() may be called from any thread
// and from a signal handler.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "shm/base/fd.h"
#include "shm/base/result.h"

namespace airstore::bench {

class DelayProxy {
 public:
  struct Options {
    std::string listen;                   // HOST:PORT (0: chosen by the kernel) or unix:PATH
    std::string connect;                  // the same
    std::chrono::microseconds delay{0};   // one way
    uint64_t bandwidth_mbit = 0;          // 0: not limited
    uint64_t buffer_bytes = 64ULL << 20;  // per connection and direction
  };

  static Result<std::unique_ptr<DelayProxy>> Create(Options options);
  virtual ~DelayProxy() = default;

  // Serves until Stop().
  virtual Result<void> Run() = 0;
  virtual void Stop() = 0;
  // Of a TCP listener, else 0.
  virtual uint16_t port() const = 0;
};

}  // namespace airstore::bench
