// SPDX-License-Identifier: Apache-2.0
#include "broker/notifier.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>

#include "broker/backoff.h"
#include "shm/abi.h"
#include "shm/channel.h"

namespace airstore::broker {
namespace {

// Sent and not confirmed; what a socket buffer holds in any case.
constexpr size_t kMostUnderWay = 16;

}  // namespace

struct Notifier::State {
  State(const boost::asio::any_io_executor& loop, LaunchOptions options, int of_device)
      : executor(loop),
        launch(std::move(options)),
        device(of_device),
        channel(loop),
        queued(loop),
        advanced(loop) {}

  bool over() const { return stopped && messages.empty(); }

  const boost::asio::any_io_executor executor;
  const LaunchOptions launch;
  const int device;
  FrontendProcess process;
  boost::asio::posix::stream_descriptor channel;
  std::deque<std::string> messages;  // not confirmed, oldest first
  size_t under_way = 0;              // of those: sent
  uint64_t confirmed = 0;
  bool stopped = false;
  Event queued;
  Event advanced;
};

Notifier::Notifier(const boost::asio::any_io_executor& executor, LaunchOptions launch, int device)
    : state_(std::make_shared<State>(executor, std::move(launch), device)) {}

Notifier::~Notifier() {
  state_->stopped = true;
  state_->messages.clear();
  state_->queued.NotifyAll();
  state_->advanced.NotifyAll();
  if (state_->channel.is_open()) state_->channel.cancel();
  if (state_->process.pid <= 0) return;
  Kill(state_->process);
  // It may be in the kernel for a while.
  auto reap = [](std::shared_ptr<State> state) -> Task<void> {
    boost::asio::posix::stream_descriptor end(state->executor, dup(state->process.pidfd.get()));
    boost::system::error_code ignored;
    co_await end.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                            boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    Reap(state->process);
  };
  Spawn(state_->executor, reap(state_));
}

Result<void> Notifier::Start(const std::shared_ptr<State>& state) {
  auto process = Launch(state->launch);
  if (!process) return process.error();
  state->process = std::move(*process);
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kNotify);
  message.abi_major = shm::AbiMajor();
  message.abi_minor = shm::kAbiMinor;
  AIRSTORE_TRY(shm::SendMessage(state->process.channel.get(), message, {state->device}));
  state->channel.assign(dup(state->process.channel.get()));
  state->under_way = 0;
  return {};
}

Task<void> Notifier::Run(std::shared_ptr<State> state) {
  Backoff backoff;
  while (!state->stopped) {
    if (!state->channel.is_open()) {
      if (auto started = Start(state); !started) {
        spdlog::error("no process for invalidations: {}", started.error().ToString());
        co_await backoff.Wait(state->executor);
        continue;
      }
    }
    if (state->messages.empty()) {
      co_await state->queued.Wait();
      continue;
    }
    bool broken = false;
    while (state->under_way < std::min(state->messages.size(), kMostUnderWay)) {
      const std::string& next = state->messages[state->under_way];
      if (send(state->channel.native_handle(), next.data(), next.size(), MSG_NOSIGNAL) < 0) {
        broken = true;
        break;
      }
      ++state->under_way;
    }
    boost::system::error_code error;
    if (!broken) {
      co_await state->channel.async_wait(
          boost::asio::posix::stream_descriptor::wait_read,
          boost::asio::redirect_error(boost::asio::use_awaitable, error));
    }
    if (state->stopped) co_return;
    int32_t answers = 0;
    const ssize_t got = broken || error ? 0
                                        : recv(state->channel.native_handle(), &answers,
                                               sizeof(answers), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got != sizeof(answers) || state->messages.empty()) {
      // Killed by somebody: what was not confirmed is sent to the next one.
      spdlog::warn("the process for invalidations has ended; starting another one");
      state->channel.close();
      Kill(state->process);
      Reap(state->process);
      state->process = FrontendProcess();
      continue;
    }
    state->messages.pop_front();
    --state->under_way;
    ++state->confirmed;
    state->advanced.NotifyAll();
  }
}

std::string Notifier::LookUpMessage(std::string_view path) {
  return std::string(sizeof(uint32_t), '\0').append(path);
}

Task<void> Notifier::Send(std::vector<std::string> messages) {
  const std::shared_ptr<State> state = state_;
  if (state->process.pid <= 0 && state->messages.empty() && state->confirmed == 0 &&
      !messages.empty()) {
    Spawn(state->executor, Run(state));
    state->confirmed = 1;  // it runs; the numbers below only have to grow
  }
  const uint64_t until = state->confirmed + state->messages.size() + messages.size();
  for (std::string& message : messages) state->messages.push_back(std::move(message));
  state->queued.NotifyAll();
  while (state->confirmed < until && !state->stopped) co_await state->advanced.Wait();
}

}  // namespace airstore::broker
