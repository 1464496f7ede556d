// SPDX-License-Identifier: Apache-2.0
#include "broker/left_clients.h"

#include <poll.h>

#include "shm/abi.h"
#include "shm/channel.h"

namespace airstore::broker {
namespace {

constexpr int kDetachMs = 2000;

}  // namespace

Result<void> RefuseLeftClients(LaunchOptions launch, int socket) {
  launch.arguments.insert(launch.arguments.begin(), "--refuse");
  auto process = Launch(launch);
  if (!process) return process.error();
  shm::ChannelMessage message{};
  message.kind = static_cast<uint32_t>(shm::ChannelKind::kRefuse);
  message.abi_major = shm::AbiMajor();
  message.abi_minor = shm::kAbiMinor;
  auto sent = shm::SendMessage(process->channel.get(), message, {socket});
  // It is the owner's, who can stop it, and detaches itself before it serves.
  pollfd ended{process->pidfd.get(), POLLIN, 0};
  if (!sent || poll(&ended, 1, kDetachMs) != 1) Kill(*process);
  const ProcessEnd end = Reap(*process);
  if (!sent) return sent;
  if (end.status != 0) return Error{EIO, launch.program + " --refuse: " + end.text};
  return {};
}

}  // namespace airstore::broker
