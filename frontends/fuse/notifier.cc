// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/notifier.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/volume/attach.h"
#include "shm/channel.h"

namespace airstore::fuse {
namespace {

constexpr size_t kLongest = 16384;  // of a message: a header, a name, a list of inodes

// The errno of what a packet asks for.
int Do(int device, const std::string& packet) {
  // A message for the device begins with its length.
  constexpr std::string_view kLookUp("\0\0\0\0", 4);
  if (packet.starts_with(kLookUp)) {
    struct stat info {};
    return lstat(packet.c_str() + kLookUp.size(), &info) == 0 ? 0 : errno;
  }
  ssize_t done = 0;
  do {
    done = write(device, packet.data(), packet.size());
  } while (done < 0 && errno == EINTR);
  return done < 0 ? errno : 0;
}

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
    const int32_t answer = Do(device, std::string(buffer.data(), static_cast<size_t>(bytes)));
    if (write(channel, &answer, sizeof(answer)) != sizeof(answer)) return 0;
  }
}

}  // namespace airstore::fuse
