// SPDX-License-Identifier: Apache-2.0
//
// One direction of a proxied connection: bytes read from one socket wait in a queue until they are
// due, then go to the other. The end of the stream travels through the queue too, so that a
// half-close arrives after the data before it and as late as the data. Threads: the proxy's only.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace airstore::bench {

using ProxyClock = std::chrono::steady_clock;

// What a direction of the link does to bytes; shared by all connections.
struct Link {
  std::chrono::nanoseconds delay{0};
  double bytes_per_ns = 0;  // 0: not limited
  uint64_t buffer_bytes = 0;
  ProxyClock::time_point free_at{};  // when the last byte accepted has left

  ProxyClock::time_point Accept(ProxyClock::time_point now, size_t bytes);
  // Largest piece to read at once: on a slow link a piece must not arrive as one lump.
  size_t PieceBytes(size_t most) const;
};

class DelayedPipe {
 public:
  DelayedPipe(int from, int to, Link* link) : from_(from), to_(to), link_(link) {}

  // Edge-triggered readiness of the two sockets.
  void SetReadable() { readable_ = true; }
  void SetWritable() { writable_ = true; }

  // Moves what can be moved now; true when more could be moved at once (others' turn first).
  bool Pump(std::vector<char>* scratch);
  // The end of the stream has been delivered, or the receiver is gone.
  bool done() const { return done_; }
  // When Pump() is worth calling again without a socket event.
  std::optional<ProxyClock::time_point> next_due() const;

 private:
  struct Piece {
    ProxyClock::time_point due;
    std::vector<char> bytes;  // empty: the end of the stream
    size_t sent = 0;
  };

  void Fill(std::vector<char>* scratch);
  void Drain();
  void Abandon();

  const int from_;
  const int to_;
  Link* const link_;
  std::deque<Piece> queue_;
  uint64_t queued_bytes_ = 0;
  bool readable_ = false;
  bool writable_ = false;
  bool ended_ = false;  // nothing more comes from from_
  bool done_ = false;
};

}  // namespace airstore::bench
