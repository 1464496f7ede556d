// SPDX-License-Identifier: Apache-2.0
#include "broker/append_place.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "shm/base/fd.h"

namespace airstore::broker {
namespace {

// What others append while an append is on its way.
constexpr size_t kFarthest = 16u << 20;

std::string ReadFrom(int fd, uint64_t offset, size_t most) {
  std::string bytes(most, '\0');
  size_t done = 0;
  while (done < most) {
    const ssize_t got =
        pread(fd, bytes.data() + done, most - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

std::string_view TextOf(std::span<const uint8_t> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

ssize_t WriteAtEnd(int fd, std::span<const uint8_t> data, uint64_t* place) {
  // With an offset of its own: a thread that looks for holes moves the other one.
  const std::string name = "/proc/self/fd/" + std::to_string(fd);
  const UniqueFd own(open(name.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK));
  const int to = own ? own.get() : fd;
  const iovec from{const_cast<uint8_t*>(data.data()), data.size()};
  const ssize_t written = pwritev2(to, &from, 1, -1, RWF_APPEND);
  if (written <= 0) return written;
  *place = static_cast<uint64_t>(lseek(to, 0, SEEK_CUR) - written);
  return written;
}

std::optional<uint64_t> FindAppended(int fd, uint64_t from, std::span<const uint8_t> data) {
  const off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0 || from >= static_cast<uint64_t>(end)) return std::nullopt;
  const uint64_t behind = std::min<uint64_t>(static_cast<uint64_t>(end) - from, kFarthest);
  const std::string there = ReadFrom(fd, from, static_cast<size_t>(behind) + data.size());
  const size_t at = there.find(TextOf(data));
  if (at == std::string::npos) return std::nullopt;
  return from + at;
}

uint64_t PlaceOfReplayed(int fd, uint64_t given, std::span<const uint8_t> data, bool begun) {
  const std::string there = ReadFrom(fd, given, data.size());
  const std::string_view ours = TextOf(data);
  bool free = true;
  for (size_t i = 0; i < there.size() && free; ++i) free = there[i] == '\0' || there[i] == ours[i];
  if (free) return given;
  if (begun) {
    if (const auto found = FindAppended(fd, given, data)) return *found;
  }
  const off_t end = lseek(fd, 0, SEEK_END);
  return end < 0 ? given : std::max(given, static_cast<uint64_t>(end));
}

}  // namespace airstore::broker
