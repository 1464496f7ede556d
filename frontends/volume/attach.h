// SPDX-License-Identifier: Apache-2.0
//
// Attach: from the broker's first message on the channel to a Volume ready for use.
// Threads: one, at the start of the process.
#pragma once

#include <memory>
#include <string>

#include "frontends/volume/volume.h"
#include "shm/channel.h"

namespace airstore::volume {

inline constexpr int kChannelFd = 3;  // where the broker's launcher puts it

// Exit statuses of a frontend; the broker tells them apart.
enum ExitStatus : int {
  kExitUnmounted = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitCannotAttach = 3,
};

struct Attachment {
  UniqueFd device;    // of the protocol
  UniqueFd listener;  // where the next broker connects when this one has died
  std::unique_ptr<Volume> volume;
  uint32_t flags = 0;  // shm::AttachFlags
  std::string text;    // for the protocol
};

// Both ends must be of one ABI, minor number included: empty when they are, else what is wrong.
std::string VersionProblem(uint32_t abi_major, uint32_t abi_minor);

// Waits for the first message and attaches to what it brings.
Result<Attachment> Attach(int channel);
// To a process that may become our broker: what there is to adopt. EPIPE when it is gone.
Result<void> SendHello(int socket, int device, const Volume& volume);
void ReportReady(int channel);
void ReportFailure(int channel, const std::string& text);

}  // namespace airstore::volume
