// SPDX-License-Identifier: Apache-2.0
#include "frontends/volume/channel_thread.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include <csignal>
#include <cstdio>
#include <thread>
#include <utility>

#include "frontends/volume/attach.h"
#include "shm/channel.h"

namespace airstore::volume {
namespace {

class ChannelLoop {
 public:
  ChannelLoop(int channel, UniqueFd listener, UniqueFd device, Volume* volume)
      : channel_(channel),
        listener_(std::move(listener)),
        device_(std::move(device)),
        volume_(*volume),
        broker_uid_(PeerUid(channel)) {}

  [[noreturn]] void Run();

 private:
  static uid_t PeerUid(int socket);
  // False: the broker is gone.
  bool ReceiveFromBroker();
  void Accept();
  void ReceiveFromCandidate();

  const int channel_;
  const UniqueFd listener_;
  const UniqueFd device_;
  Volume& volume_;
  const uid_t broker_uid_;
  bool broker_lives_ = true;
  UniqueFd candidate_;  // has connected, and may ask to be our broker
};

// Of no user: nobody.
uid_t ChannelLoop::PeerUid(int socket) {
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  const int failed = getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes);
  return failed != 0 ? static_cast<uid_t>(-1) : peer.uid;
}

void ChannelLoop::Run() {
  for (;;) {
    // An entry below 0 is not looked at.
    pollfd polled[] = {{broker_lives_ ? channel_ : -1, POLLIN, 0},
                       {candidate_.get(), POLLIN, 0},
                       {listener_.get(), POLLIN, 0}};
    if (poll(polled, std::size(polled), -1) < 0) continue;  // a signal
    if (polled[0].revents != 0) {
      // All that the broker has sent comes before anybody who may replace it.
      broker_lives_ = ReceiveFromBroker();
      continue;
    }
    if (polled[1].revents != 0) ReceiveFromCandidate();
    if (polled[2].revents != 0) Accept();
  }
}

bool ChannelLoop::ReceiveFromBroker() {
  auto received = shm::ReceiveMessage(channel_);
  if (!received) return false;
  const shm::ChannelMessage& message = received->message;
  if (message.kind == static_cast<uint32_t>(shm::ChannelKind::kSlabEnded)) {
    volume_.OnSlabEnded(static_cast<uint32_t>(message.id));
    return true;
  }
  if (received->fds.size() != 1) return true;
  switch (static_cast<shm::ChannelKind>(message.kind)) {
    case shm::ChannelKind::kSlab: {
      const auto attached =
          volume_.OnSlab(static_cast<uint32_t>(message.id), std::move(received->fds[0]));
      if (!attached) {
        fprintf(stderr, "airstore: slab %llu: %s\n", static_cast<unsigned long long>(message.id),
                attached.error().ToString().c_str());
      }
      break;
    }
    case shm::ChannelKind::kContent:
      volume_.OnContent(message.id, std::move(received->fds[0]));
      break;
    default:  // of a later minor version: ignored, its descriptors are closed
      break;
  }
  return true;
}

void ChannelLoop::Accept() {
  UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) {
    // It stays readable when descriptors are short: not in a busy loop until there are more.
    const timespec pause{0, 100'000'000};
    nanosleep(&pause, nullptr);
    return;
  }
  if (const uid_t uid = PeerUid(socket.get()); uid != broker_uid_ && uid != 0) return;
  if (!SendHello(socket.get(), device_.get(), volume_)) return;
  candidate_ = std::move(socket);
}

void ChannelLoop::ReceiveFromCandidate() {
  const UniqueFd socket = std::move(candidate_);
  auto received = shm::ReceiveMessage(socket.get());
  if (!received) {
    if (received.error().code == EPROTO) ReportFailure(socket.get(), received.error().message);
    return;
  }
  const shm::ChannelMessage& message = received->message;
  if (std::string problem = VersionProblem(message.abi_major, message.abi_minor);
      !problem.empty()) {
    return ReportFailure(socket.get(), problem);
  }
  if (message.kind != static_cast<uint32_t>(shm::ChannelKind::kReattach) ||
      received->fds.size() != 2) {
    return ReportFailure(socket.get(), "a request to attach again was expected");
  }
  if (broker_lives_) return ReportFailure(socket.get(), "another broker serves this mount");
  auto done = volume_.OnReattach(std::move(received->fds[0]), std::move(received->fds[1]));
  if (!done) return ReportFailure(socket.get(), done.error().ToString());
  if (dup3(socket.get(), channel_, O_CLOEXEC) < 0) {
    return ReportFailure(socket.get(), SysError("take over the channel").ToString());
  }
  broker_lives_ = true;
  ReportReady(channel_);
}

}  // namespace

void StartChannelThread(int channel, UniqueFd listener, UniqueFd device, Volume* volume) {
  // Signals are for the main thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([channel, volume, listener = std::move(listener),
               device = std::move(device)]() mutable {
    ChannelLoop(channel, std::move(listener), std::move(device), volume).Run();
  }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace airstore::volume
