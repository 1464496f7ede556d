// SPDX-License-Identifier: Apache-2.0
//
// The delay proxy between real sockets. Lower bounds on time are exact promises and tested; upper
// bounds are generous, because a busy machine may always be later.
#include "tools/bench/delay_proxy.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tools/bench/stream_address.h"

namespace airstore::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kTimeoutMs = 20'000;

bool Await(int fd, short events) {
  pollfd wanted{fd, events, 0};
  return poll(&wanted, 1, kTimeoutMs) == 1;
}

void SendAll(int fd, const std::string& data) {
  size_t sent = 0;
  while (sent < data.size()) {
    ASSERT_TRUE(Await(fd, POLLOUT));
    const ssize_t n = send(fd, data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) continue;
    ASSERT_GT(n, 0) << strerror(errno);
    sent += static_cast<size_t>(n);
  }
}

// Up to `size` bytes, fewer at the end of the stream.
std::string Receive(int fd, size_t size) {
  std::string data(size, '\0');
  size_t got = 0;
  while (got < size && Await(fd, POLLIN)) {
    const ssize_t n = recv(fd, data.data() + got, size - got, 0);
    if (n < 0 && errno == EAGAIN) continue;
    if (n <= 0) break;
    got += static_cast<size_t>(n);
  }
  data.resize(got);
  return data;
}

std::string Noise(size_t size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::string data(size, '\0');
  for (char& c : data) c = static_cast<char>(random());
  return data;
}

// A proxy with its thread, and a listener behind it that the test accepts from.
class Wire {
 public:
  explicit Wire(DelayProxy::Options options) {
    if (options.connect.empty()) {
      auto listener = ListenOn("127.0.0.1:0");
      EXPECT_TRUE(listener);
      listener_ = std::move(*listener);
      options.connect = "127.0.0.1:" + std::to_string(BoundPort(listener_.get()));
    }
    if (options.listen.empty()) options.listen = "127.0.0.1:0";
    address_ = options.listen;
    auto proxy = DelayProxy::Create(options);
    EXPECT_TRUE(proxy) << proxy.error().ToString();
    proxy_ = std::move(*proxy);
    if (proxy_->port() != 0) address_ = "127.0.0.1:" + std::to_string(proxy_->port());
    thread_ = std::thread([this] { EXPECT_TRUE(proxy_->Run()); });
  }
  ~Wire() {
    proxy_->Stop();
    thread_.join();
  }
  UniqueFd Connect() const {
    auto fd = StartConnect(address_);
    EXPECT_TRUE(fd) << fd.error().ToString();
    return std::move(*fd);
  }
  UniqueFd Accept() const {
    EXPECT_TRUE(Await(listener_.get(), POLLIN));
    return UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  }

 private:
  UniqueFd listener_;
  std::string address_;
  std::unique_ptr<DelayProxy> proxy_;
  std::thread thread_;
};

DelayProxy::Options Delay(milliseconds delay) {
  DelayProxy::Options options;
  options.delay = delay;
  return options;
}

TEST(DelayProxy, DelaysEachDirectionByTheOneWayTime) {
  const Wire wire(Delay(milliseconds(60)));
  const UniqueFd client = wire.Connect();
  const UniqueFd server = wire.Accept();
  for (const auto& [from, to] :
       {std::pair(client.get(), server.get()), {server.get(), client.get()}}) {
    const auto start = steady_clock::now();
    SendAll(from, "ping");
    EXPECT_EQ(Receive(to, 4), "ping");
    EXPECT_GE(steady_clock::now() - start, milliseconds(60));
    EXPECT_LT(steady_clock::now() - start, milliseconds(2000));
  }
}

TEST(DelayProxy, DelayDoesNotLimitThroughput) {
  const Wire wire(Delay(milliseconds(50)));
  const UniqueFd client = wire.Connect();
  const UniqueFd server = wire.Accept();
  const std::string data = Noise(24 << 20, 1);
  const auto start = steady_clock::now();
  std::thread sender([&] { SendAll(client.get(), data); });
  EXPECT_TRUE(Receive(server.get(), data.size()) == data);
  sender.join();
  // A window of 64 KiB per round trip would need 38 s.
  EXPECT_LT(steady_clock::now() - start, milliseconds(10'000));
}

TEST(DelayProxy, KeepsDataIntactUnderRandomSizesBothWays) {
  DelayProxy::Options options = Delay(milliseconds(3));
  options.buffer_bytes = 128 << 10;  // small, so that back-pressure is part of it
  const Wire wire(options);
  const UniqueFd client = wire.Connect();
  const UniqueFd server = wire.Accept();
  const std::string up = Noise(3 << 20, 1);
  const std::string down = Noise(2 << 20, 2);
  const auto send_in_pieces = [](int fd, const std::string& data, unsigned seed) {
    std::mt19937 random(seed);
    for (size_t at = 0; at < data.size();) {
      const size_t size =
          std::min<size_t>(random() % (random() % 4 == 0 ? 100'000 : 500) + 1, data.size() - at);
      SendAll(fd, data.substr(at, size));
      at += size;
    }
  };
  std::string got_down;
  std::thread up_sender([&] { send_in_pieces(client.get(), up, 3); });
  std::thread down_sender([&] { send_in_pieces(server.get(), down, 4); });
  std::thread down_receiver([&] { got_down = Receive(client.get(), down.size()); });
  EXPECT_TRUE(Receive(server.get(), up.size()) == up);
  up_sender.join();
  down_sender.join();
  down_receiver.join();
  EXPECT_TRUE(got_down == down);
}

TEST(DelayProxy, PassesAHalfCloseOnAfterTheDataAndKeepsTheOtherDirection) {
  const Wire wire(Delay(milliseconds(30)));
  const UniqueFd client = wire.Connect();
  const UniqueFd server = wire.Accept();
  const auto start = steady_clock::now();
  SendAll(client.get(), "request");
  ASSERT_EQ(shutdown(client.get(), SHUT_WR), 0);
  EXPECT_EQ(Receive(server.get(), 100), "request");  // ends with the stream
  EXPECT_GE(steady_clock::now() - start, milliseconds(30));
  SendAll(server.get(), "answer");
  ASSERT_EQ(shutdown(server.get(), SHUT_WR), 0);
  EXPECT_EQ(Receive(client.get(), 100), "answer");
}

TEST(DelayProxy, DeliversWhatWasSentBeforeAClose) {
  const Wire wire(Delay(milliseconds(20)));
  const std::string data = Noise(200'000, 5);
  UniqueFd client = wire.Connect();
  const UniqueFd server = wire.Accept();
  SendAll(client.get(), data);
  client.reset();
  EXPECT_TRUE(Receive(server.get(), data.size() + 1) == data);
}

TEST(DelayProxy, TellsTheClientWhenNobodyListensBehindIt) {
  std::string address;
  {
    auto listener = ListenOn("127.0.0.1:0");
    ASSERT_TRUE(listener);
    address = "127.0.0.1:" + std::to_string(BoundPort(listener->get()));
  }
  DelayProxy::Options options = Delay(milliseconds(1));
  options.connect = address;
  const Wire wire(options);
  const UniqueFd client = wire.Connect();
  EXPECT_EQ(Receive(client.get(), 1), "");
}

TEST(DelayProxy, ServesManyConnectionsAtOnce) {
  const Wire wire(Delay(milliseconds(40)));
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> servers;
  for (unsigned i = 0; i < 100; ++i) {
    clients.push_back(wire.Connect());
    servers.push_back(wire.Accept());
  }
  const auto start = steady_clock::now();
  for (unsigned i = 0; i < 100; ++i) SendAll(clients[i].get(), Noise(1000, i));
  for (unsigned i = 0; i < 100; ++i) EXPECT_TRUE(Receive(servers[i].get(), 1000) == Noise(1000, i));
  // One after the other would need 4 s.
  EXPECT_LT(steady_clock::now() - start, milliseconds(3000));
}

TEST(DelayProxy, LimitsBandwidthWhenAsked) {
  DelayProxy::Options options = Delay(milliseconds(5));
  options.bandwidth_mbit = 40;  // 5 MB/s
  const Wire wire(options);
  const UniqueFd client = wire.Connect();
  const UniqueFd server = wire.Accept();
  const std::string data = Noise(1'000'000, 9);
  const auto start = steady_clock::now();
  std::thread sender([&] { SendAll(client.get(), data); });
  EXPECT_TRUE(Receive(server.get(), data.size()) == data);
  sender.join();
  EXPECT_GE(steady_clock::now() - start, milliseconds(195));
}

TEST(DelayProxy, SpeaksUnixSocketsOnBothSides) {
  std::string directory = "/tmp/delay-proxy-test-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const std::string front = directory + "/front";
  const std::string back = directory + "/back";
  {
    auto listener = ListenOn("unix:" + back);
    ASSERT_TRUE(listener);
    DelayProxy::Options options = Delay(milliseconds(10));
    options.listen = "unix:" + front;
    options.connect = "unix:" + back;
    const Wire wire(options);
    UniqueFd client = wire.Connect();
    ASSERT_TRUE(Await(listener->get(), POLLIN));
    const UniqueFd server(accept4(listener->get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    SendAll(client.get(), "hello");
    client.reset();
    EXPECT_EQ(Receive(server.get(), 100), "hello");
  }
  unlink(front.c_str());
  unlink(back.c_str());
  rmdir(directory.c_str());
}

}  // namespace
}  // namespace airstore::bench
