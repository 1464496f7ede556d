// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/delayed_pipe.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace airstore::bench {
namespace {

constexpr uint64_t kTurnBytes = 4 << 20;  // moved before others get their turn
constexpr size_t kSmallestPiece = 1460;

}  // namespace

ProxyClock::time_point Link::Accept(ProxyClock::time_point now, size_t bytes) {
  if (bytes_per_ns <= 0) return now + delay;
  const auto on_wire =
      std::chrono::nanoseconds(static_cast<int64_t>(static_cast<double>(bytes) / bytes_per_ns));
  free_at = std::max(now, free_at) + on_wire;
  return free_at + delay;
}

size_t Link::PieceBytes(size_t most) const {
  if (bytes_per_ns <= 0) return most;
  constexpr double kLumpNs = 1e6;
  return std::clamp(static_cast<size_t>(bytes_per_ns * kLumpNs), kSmallestPiece, most);
}

std::optional<ProxyClock::time_point> DelayedPipe::next_due() const {
  if (done_ || queue_.empty() || !writable_) return std::nullopt;
  return queue_.front().due;
}

bool DelayedPipe::Pump(std::vector<char>* scratch) {
  if (done_) return false;
  // Drain first, and again after: a queue that was full must not stop reading for one round.
  Drain();
  Fill(scratch);
  Drain();
  return !done_ && readable_ && !ended_ && queued_bytes_ < link_->buffer_bytes;
}

void DelayedPipe::Fill(std::vector<char>* scratch) {
  uint64_t turn = 0;
  const size_t piece = link_->PieceBytes(scratch->size());
  while (!done_ && readable_ && !ended_ && queued_bytes_ < link_->buffer_bytes &&
         turn < kTurnBytes) {
    const ssize_t got = recv(from_, scratch->data(), piece, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      readable_ = false;
      break;
    }
    const auto now = ProxyClock::now();
    if (got <= 0) {  // a reset travels as an end: the receiver's next write tells it the rest
      ended_ = true;
      queue_.push_back({link_->Accept(now, 0), {}});
      break;
    }
    const auto bytes = static_cast<size_t>(got);
    queue_.push_back({link_->Accept(now, bytes),
                      {scratch->begin(), scratch->begin() + static_cast<std::ptrdiff_t>(bytes)}});
    queued_bytes_ += bytes;
    turn += bytes;
  }
}

void DelayedPipe::Drain() {
  const auto now = ProxyClock::now();
  while (!done_ && writable_ && !queue_.empty() && queue_.front().due <= now) {
    Piece& piece = queue_.front();
    if (piece.bytes.empty()) {
      shutdown(to_, SHUT_WR);
      done_ = true;
      return;
    }
    const ssize_t put =
        send(to_, piece.bytes.data() + piece.sent, piece.bytes.size() - piece.sent, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) {
      writable_ = false;
      return;
    }
    if (put < 0) {
      Abandon();
      return;
    }
    piece.sent += static_cast<size_t>(put);
    if (piece.sent == piece.bytes.size()) {
      queued_bytes_ -= piece.bytes.size();
      queue_.pop_front();
    }
  }
}

// The receiver is gone: tell the sender, drop what is queued.
void DelayedPipe::Abandon() {
  shutdown(from_, SHUT_RD);
  queue_.clear();
  queued_bytes_ = 0;
  done_ = true;
}

}  // namespace airstore::bench
