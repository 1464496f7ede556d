// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/channel_thread.h"

#include <pthread.h>

#include <csignal>
#include <cstdio>
#include <thread>
#include <utility>

#include "shm/channel.h"

namespace airstore::volume {
namespace {

void Dispatch(shm::Received received, Volume* volume) {
  const shm::ChannelMessage& message = received.message;
  if (received.fds.size() != 1) return;
  switch (static_cast<shm::ChannelKind>(message.kind)) {
    case shm::ChannelKind::kSlab: {
      const auto attached =
          volume->OnSlab(static_cast<uint32_t>(message.id), std::move(received.fds[0]));
      if (!attached) {
        fprintf(stderr, "airstore: slab %llu: %s\n", static_cast<unsigned long long>(message.id),
                attached.error().ToString().c_str());
      }
      break;
    }
    case shm::ChannelKind::kContent:
      volume->OnContent(message.id, std::move(received.fds[0]));
      break;
    default:  // of a later minor version: ignored, its descriptors are closed
      break;
  }
}

void Run(int channel, Volume* volume, const std::function<void()>& on_end) {
  for (;;) {
    auto received = shm::ReceiveMessage(channel);
    if (!received) break;
    Dispatch(*std::move(received), volume);
  }
  on_end();
}

}  // namespace

void StartChannelThread(int channel, Volume* volume, std::function<void()> on_end) {
  // Signals are for the main thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([channel, volume, on_end = std::move(on_end)] {
    Run(channel, volume, on_end);
  }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace airstore::volume
