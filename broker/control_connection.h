// SPDX-License-Identifier: Apache-2.0
//
// One connection of the control socket: frames in, frames out.
// Threads: the event loop.
#pragma once

#include <string>

#include "broker/task.h"

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>

#include "broker/control_frame.h"

namespace airstore::broker {

class ControlConnection : public std::enable_shared_from_this<ControlConnection> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;

  explicit ControlConnection(Socket socket)
      : socket_(std::move(socket)),
        idle_(socket_.get_executor()),
        written_(socket_.get_executor()) {}

  Socket& socket() { return socket_; }

  // The next frame; nothing at the end, after an error, or when it took longer than `patience`.
  // `oversized` is set when the peer announced more than is allowed.
  Task<std::optional<std::string>> Read(std::chrono::seconds patience, bool& oversized) {
    WatchIdle(patience);
    control::FrameHeader header{};
    std::string body;
    boost::system::error_code error;
    co_await boost::asio::async_read(
        socket_, boost::asio::buffer(header),
        boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error) co_return std::nullopt;
    const uint32_t length = control::FrameLength(header);
    oversized = length > control::kGreatestFrameBytes;
    if (oversized) co_return std::nullopt;
    // As it comes: a peer that announces much and sends nothing costs nothing.
    constexpr size_t kStep = 64u << 10;
    while (body.size() < length) {
      const size_t before = body.size();
      body.resize(std::min<size_t>(length, before + kStep));
      co_await boost::asio::async_read(
          socket_, boost::asio::buffer(body.data() + before, body.size() - before),
          boost::asio::redirect_error(boost::asio::use_awaitable, error));
      if (error) co_return std::nullopt;
    }
    idle_.cancel();
    co_return body;
  }

  // Queues a frame. Frames that may be left out are, when the peer does not keep up.
  void Send(const std::string& body, bool may_drop) {
    constexpr size_t kMany = 64;
    if (may_drop && outbox_.size() > kMany) return;
    outbox_.push_back(control::MakeFrame(body));
    if (outbox_.size() == 1) WriteNext();
  }

  // Returns when all that was queued is written, or the connection is done for.
  Task<void> Drain(std::chrono::seconds patience) {
    WatchIdle(patience);
    while (!outbox_.empty()) co_await written_.Wait();
    idle_.cancel();
  }

  // Sets it when the peer has gone, until EndWatch(). What the peer sends meanwhile stays unread.
  void WatchEnd(std::shared_ptr<bool> gone) {
    socket_.async_wait(Socket::wait_error,
                       [gone = std::move(gone)](boost::system::error_code error) {
                         if (!error) *gone = true;
                       });
  }
  // Nothing is being read or written.
  void EndWatch() {
    boost::system::error_code ignored;
    if (outbox_.empty()) socket_.cancel(ignored);
  }

  void Close() {
    boost::system::error_code ignored;
    idle_.cancel();
    socket_.close(ignored);
  }

 private:
  void WriteNext() {
    boost::asio::async_write(socket_, boost::asio::buffer(outbox_.front()),
                             [self = shared_from_this()](boost::system::error_code error, size_t) {
                               self->outbox_.pop_front();
                               if (error) self->outbox_.clear();
                               if (!self->outbox_.empty()) return self->WriteNext();
                               self->written_.NotifyAll();
                             });
  }

  void WatchIdle(std::chrono::seconds patience) {
    idle_.expires_after(patience);
    idle_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
      const auto self = weak.lock();
      if (!error && self) self->Close();
    });
  }

  Socket socket_;
  boost::asio::steady_timer idle_;
  Event written_;
  // The front one is being written.
  std::deque<std::string> outbox_;
};

}  // namespace airstore::broker
