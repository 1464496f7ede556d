// SPDX-License-Identifier: Apache-2.0
#include "broker/frontend.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "shm/abi.h"
#include "shm/layout.h"

namespace airstore::broker {
namespace {

constexpr auto kReadyPatience = std::chrono::seconds(10);
// Of descriptors of content files: no more calls than that are under way.
constexpr auto kMostUnsent = static_cast<std::ptrdiff_t>(shm::kRequestSlots);

shm::ChannelMessage MessageOf(shm::ChannelKind kind, uint64_t id) {
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(kind);
  message.abi_major = shm::AbiMajor();
  message.abi_minor = shm::kAbiMinor;
  message.id = id;
  return message;
}

bool IsContent(const shm::ChannelMessage& message) {
  return message.kind == static_cast<uint32_t>(shm::ChannelKind::kContent);
}

Result<void> Offer(int channel, const shm::ChannelMessage& message, const UniqueFd& fd) {
  std::vector<int> fds;
  if (fd) fds.push_back(fd.get());
  return shm::OfferMessage(channel, message, fds);
}

}  // namespace

Frontend::Frontend(boost::asio::any_io_executor executor)
    : executor_(executor), end_(executor), room_(executor) {}

Result<void> Frontend::Start(const LaunchOptions& options, shm::ChannelMessage attach,
                             const std::vector<int>& fds) {
  auto process = Launch(options);
  if (!process) return process.error();
  process_ = std::move(*process);
  if (end_.is_open()) end_.close();
  end_.assign(dup(process_.pidfd.get()));
  running_ = true;
  attach.kind = static_cast<uint32_t>(shm::ChannelKind::kAttach);
  attach.abi_major = shm::AbiMajor();
  attach.abi_minor = shm::kAbiMinor;
  auto sent = shm::SendMessage(process_.channel.get(), attach, fds);
  if (!sent) {
    Kill();
    Reap(process_);
    running_ = false;
  }
  return sent;
}

void Frontend::Adopt(FrontendProcess process) {
  process_ = std::move(process);
  end_.assign(dup(process_.pidfd.get()));
  running_ = true;
}

Task<Result<void>> Frontend::AwaitReady() {
  auto ready = co_await AwaitGreeting();
  if (ready) co_return ready;
  Kill();
  const ProcessEnd end = co_await AwaitEnd();
  if (ready.error().code == ECONNRESET) {
    co_return Error{EIO, "the frontend ended at start: " + end.text};
  }
  co_return ready;
}

Task<Result<void>> Frontend::AwaitGreeting() {
  // A handler that is due already is not cancelled: it may run when we are gone.
  const auto channel = std::make_shared<boost::asio::posix::stream_descriptor>(
      executor_, dup(process_.channel.get()));
  boost::asio::steady_timer deadline(executor_, kReadyPatience);
  deadline.async_wait([channel](const boost::system::error_code& error) {
    if (!error) channel->cancel();
  });
  boost::system::error_code failed;
  co_await channel->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                               boost::asio::redirect_error(boost::asio::use_awaitable, failed));
  deadline.cancel();
  if (failed) co_return Error{ETIMEDOUT, "the frontend did not get ready"};
  auto received = shm::ReceiveMessage(channel->native_handle());
  if (!received) co_return received.error();
  const shm::ChannelMessage& message = received->message;
  if (message.kind == static_cast<uint32_t>(shm::ChannelKind::kFailed)) {
    co_return Error{EPROTO,
                    "the frontend cannot serve: " +
                        std::string(message.text, strnlen(message.text, sizeof(message.text)))};
  }
  if (message.kind != static_cast<uint32_t>(shm::ChannelKind::kReady)) {
    co_return Error{EPROTO, "the frontend answered out of order"};
  }
  co_return Result<void>{};
}

Task<ProcessEnd> Frontend::AwaitEnd() {
  boost::system::error_code error;
  co_await end_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           boost::asio::redirect_error(boost::asio::use_awaitable, error));
  ProcessEnd end = Reap(process_);
  running_ = false;
  CloseChannel();
  co_return end;
}

void Frontend::CloseChannel() {
  boost::system::error_code ignored;
  if (room_.is_open()) room_.close(ignored);
  unsent_.clear();
  process_.channel.reset();
}

void Frontend::Kill() {
  if (running_) broker::Kill(process_);
}

Result<void> Frontend::SendSlab(const shm::Segment& segment) {
  auto fd = segment.OpenReadOnly();
  if (!fd) return fd.error();
  const auto message = MessageOf(shm::ChannelKind::kSlab, segment.header().index);
  return Send(message, std::move(*fd));
}

Result<void> Frontend::SendSlabEnded(uint32_t index) {
  return Send(MessageOf(shm::ChannelKind::kSlabEnded, index), UniqueFd());
}

Result<void> Frontend::SendContent(uint64_t id, int file) {
  UniqueFd read_only(open(("/proc/self/fd/" + std::to_string(file)).c_str(), O_RDONLY | O_CLOEXEC));
  if (!read_only) return SysError("open content file for reading");
  const auto message = MessageOf(shm::ChannelKind::kContent, id);
  return Send(message, std::move(read_only));
}

Result<void> Frontend::Send(const shm::ChannelMessage& message, UniqueFd fd) {
  if (unsent_.empty()) {
    auto sent = Offer(process_.channel.get(), message, fd);
    if (sent || sent.error().code != ENOBUFS) return sent;
  }
  // Each keeps a descriptor of ours.
  if (IsContent(message) && std::count_if(unsent_.begin(), unsent_.end(), [](const Unsent& unsent) {
                              return IsContent(unsent.message);
                            }) >= kMostUnsent) {
    return Error{ENOBUFS, "the frontend does not take what it asks for"};
  }
  unsent_.push_back({message, std::move(fd)});
  if (unsent_.size() == 1 || !room_.is_open()) SendUnsent();
  return {};
}

void Frontend::SendUnsent() {
  while (!unsent_.empty()) {
    const Unsent& next = unsent_.front();
    const auto sent = Offer(process_.channel.get(), next.message, next.fd);
    if (!sent && sent.error().code == ENOBUFS) break;
    unsent_.pop_front();  // one that has failed has no reader any more
  }
  boost::system::error_code ignored;
  if (room_.is_open()) room_.close(ignored);
  if (unsent_.empty()) return;
  room_.assign(fcntl(process_.channel.get(), F_DUPFD_CLOEXEC, 0), ignored);
  if (!room_.is_open()) return;  // out of descriptors: the next message tries again
  room_.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                   [self = std::weak_ptr(self_)](const boost::system::error_code& error) {
                     const auto frontend = self.lock();
                     if (frontend && !error) (*frontend)->SendUnsent();
                   });
}

}  // namespace airstore::broker
