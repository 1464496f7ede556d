// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/attach.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "shm/abi.h"

namespace airstore::volume {
namespace {

enum AttachFds : size_t { kDevice, kMeta, kLane, kArena, kWake, kListener, kAttachFdCount };

std::string Version(uint32_t abi_major, uint32_t abi_minor) {
  return std::to_string(abi_major) + "." + std::to_string(abi_minor);
}

shm::ChannelMessage MessageOf(shm::ChannelKind kind) {
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(kind);
  message.abi_major = shm::AbiMajor();
  message.abi_minor = shm::kAbiMinor;
  return message;
}

}  // namespace

std::string VersionProblem(uint32_t abi_major, uint32_t abi_minor) {
  if (abi_major == shm::AbiMajor() && abi_minor == shm::kAbiMinor) return {};
  return "the broker speaks shared-memory ABI " + Version(abi_major, abi_minor) +
         ", this frontend (airstore " AIRSTORE_VERSION ") speaks " +
         Version(shm::AbiMajor(), shm::kAbiMinor) + ": install matching versions of both";
}

Result<Attachment> Attach(int channel) {
  auto received = shm::ReceiveMessage(channel);
  if (!received) return Error(received.error());
  const shm::ChannelMessage& message = received->message;
  auto& fds = received->fds;
  if (std::string problem = VersionProblem(message.abi_major, message.abi_minor);
      !problem.empty()) {
    return Error{EPROTO, std::move(problem)};
  }
  if (message.kind != static_cast<uint32_t>(shm::ChannelKind::kAttach) ||
      fds.size() != kAttachFdCount) {
    return Error{EPROTO, "the broker's first message is not an attach message"};
  }
  VolumeOptions options;
  std::copy(std::begin(message.session), std::end(message.session), options.session.begin());
  options.mount_index = message.mount_index;
  options.read_only = (message.flags & shm::kAttachReadOnly) != 0;
  options.relatime = (message.flags & shm::kRelatime) != 0;
  if ((message.flags & shm::kShowUid) != 0) options.show_uid = message.show_uid;
  if ((message.flags & shm::kShowGid) != 0) options.show_gid = message.show_gid;
  if ((message.flags & (shm::kSquashRoot | shm::kSquashAll)) != 0) {
    options.squash = Squash{(message.flags & shm::kSquashAll) != 0, message.anonymous_uid,
                            message.anonymous_gid};
  }
  auto volume = Volume::Create(options, std::move(fds[kMeta]), std::move(fds[kLane]),
                               std::move(fds[kArena]), std::move(fds[kWake]));
  if (!volume) return Error(volume.error());
  // Ours is the process that its credentials will name to who connects.
  if (listen(fds[kListener].get(), 4) != 0) return SysError("listen for brokers");
  return Attachment{std::move(fds[kDevice]), std::move(fds[kListener]), *std::move(volume),
                    message.flags,
                    std::string(message.text, std::min(message.text_bytes, shm::kChannelText))};
}

Result<void> SendHello(int socket, int device, const Volume& volume) {
  shm::ChannelMessage hello = MessageOf(shm::ChannelKind::kHello);
  const auto slabs = volume.slabs();
  const auto& session = volume.options().session;
  std::copy(session.begin(), session.end(), hello.session);
  hello.mount_index = volume.options().mount_index;
  hello.id = slabs.size();
  AIRSTORE_TRY(shm::SendMessage(socket, hello, {device, volume.meta().fd()}));
  for (const shm::Segment* slab : slabs) {
    shm::ChannelMessage message = MessageOf(shm::ChannelKind::kSlab);
    message.id = slab->header().index;
    AIRSTORE_TRY(shm::SendMessage(socket, message, {slab->fd()}));
  }
  return {};
}

// Nothing is to be done when these cannot be sent: then the broker is gone, and the channel's
// thread will see its end.
void ReportReady(int channel) {
  (void)shm::SendMessage(channel, MessageOf(shm::ChannelKind::kReady), {});
}

void ReportFailure(int channel, const std::string& text) {
  shm::ChannelMessage message = MessageOf(shm::ChannelKind::kFailed);
  const size_t bytes = std::min<size_t>(text.size(), shm::kChannelText - 1);
  memcpy(message.text, text.data(), bytes);
  message.text_bytes = static_cast<uint32_t>(bytes);
  (void)shm::SendMessage(channel, message, {});
}

}  // namespace airstore::volume
