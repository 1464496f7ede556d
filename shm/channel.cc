// SPDX-License-Identifier: Apache-2.0
#include "shm/channel.h"

#include <sys/socket.h>

#include <cstring>
#include <type_traits>

#include "shm/abi.h"
#include "shm/base/descriptor_message.h"

namespace airstore::shm {
namespace {

static_assert(std::is_trivially_copyable_v<ChannelMessage>);

Result<void> Send(int socket, const void* bytes, size_t count, const std::vector<int>& fds,
                  int flags = 0) {
  const ssize_t sent = SendWithDescriptors(socket, bytes, count, fds, flags);
  if (sent == static_cast<ssize_t>(count)) return {};
  if (sent >= 0) return Error{EPROTO, "channel message cut"};
  if (errno == EAGAIN || errno == EWOULDBLOCK) return Error{ENOBUFS, "channel full"};
  if (errno == ECONNRESET || errno == ENOTCONN) return Error{EPIPE, "channel"};
  return SysError("send to channel");
}

Result<void> SendMessage(int socket, const ChannelMessage& message, const std::vector<int>& fds,
                         int flags) {
  if (fds.size() > kMostDescriptors || message.text_bytes > kChannelText) {
    return Error{EINVAL, "channel message too large"};
  }
  ChannelMessage out = message;
  out.abi_major = AbiMajor();
  out.abi_minor = kAbiMinor;
  return Send(socket, &out, sizeof(out), fds, flags);
}

// `bytes`: of the message that came. Its descriptors are closed when it is refused.
Result<Received> Receive(int socket, size_t* bytes) {
  Received received;
  int came = 0;
  const ssize_t got = ReceiveWithDescriptors(socket, &received.message, sizeof(received.message),
                                             &received.fds, 0, &came);
  if (got < 0) return SysError("receive from channel");
  if (got == 0 && received.fds.empty()) return Error{ECONNRESET, "channel closed"};
  if ((came & MSG_CTRUNC) != 0) return Error{EPROTO, "too many descriptors"};
  *bytes = (came & MSG_TRUNC) != 0 ? sizeof(received.message) + 1 : static_cast<size_t>(got);
  return received;
}

}  // namespace

Result<void> SendMessage(int socket, const ChannelMessage& message, const std::vector<int>& fds) {
  return SendMessage(socket, message, fds, 0);
}

Result<void> OfferMessage(int socket, const ChannelMessage& message, const std::vector<int>& fds) {
  return SendMessage(socket, message, fds, MSG_DONTWAIT);
}

Result<Received> ReceiveHello(int socket) {
  size_t bytes = 0;
  auto received = Receive(socket, &bytes);
  if (!received) return received;
  const ChannelMessage& message = received->message;
  if (bytes < offsetof(ChannelMessage, id) ||
      message.kind != static_cast<uint32_t>(ChannelKind::kHello) || received->fds.empty()) {
    return Error{EPROTO, "not a frontend's greeting"};
  }
  if (message.abi_major == AbiMajor() && bytes != sizeof(ChannelMessage)) {
    return Error{EPROTO, "channel message of a wrong size"};
  }
  return received;
}

Result<Received> ReceiveMessage(int socket) {
  size_t bytes = 0;
  auto got = Receive(socket, &bytes);
  if (!got) return got;
  Received& received = *got;
  if (bytes != sizeof(received.message)) {
    return Error{EPROTO, "channel message of a wrong size"};
  }
  if (received.message.abi_major != AbiMajor()) {
    return Error{EPROTO, "channel message of ABI " + std::to_string(received.message.abi_major) +
                             ", ours is " + std::to_string(AbiMajor())};
  }
  if (received.message.text_bytes > kChannelText) return Error{EPROTO, "channel text too long"};
  return got;
}

Result<void> SendDescriptors(int socket, const std::vector<int>& fds) {
  const char none = 0;
  return Send(socket, &none, 1, fds);
}

Result<std::vector<UniqueFd>> ReceiveDescriptors(int socket) {
  size_t bytes = 0;
  auto got = Receive(socket, &bytes);
  if (!got) return got.error();
  if (bytes != 1) return Error{EPROTO, "more came than descriptors"};
  return std::move(got->fds);
}

}  // namespace airstore::shm
