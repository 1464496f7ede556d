// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/notifier.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "frontends/volume/attach.h"
#include "shm/channel.h"

namespace airstore::fuse {
namespace {

constexpr size_t kLongest = 16384;  // of a message: a header, a name, a list of inodes

}  // namespace

int RunNotifier(int channel) {
  auto first = shm::ReceiveMessage(channel);
  if (!first || first->message.kind != static_cast<uint32_t>(shm::ChannelKind::kNotify) ||
      first->fds.size() != 1) {
    return volume::kExitCannotAttach;
  }
  const int device = first->fds[0].get();
  std::vector<char> buffer(kLongest);
  for (;;) {
    const ssize_t bytes = read(channel, buffer.data(), buffer.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return 0;
    ssize_t done = 0;
    do {
      done = write(device, buffer.data(), static_cast<size_t>(bytes));
    } while (done < 0 && errno == EINTR);
    const int32_t answer = done < 0 ? errno : 0;
    if (write(channel, &answer, sizeof(answer)) != sizeof(answer)) return 0;
  }
}

}  // namespace airstore::fuse
