// SPDX-License-Identifier: Apache-2.0
#include "broker/content_copy.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

constexpr uint64_t kPiece = 1u << 20;

// Bytes copied, 0 at the source's end, -1 with errno.
ssize_t CopyByHand(int from, off_t from_offset, int to, off_t to_offset, size_t length) {
  std::string bytes(length, '\0');
  const ssize_t got = pread(from, bytes.data(), length, from_offset);
  return got <= 0 ? got : pwrite(to, bytes.data(), static_cast<size_t>(got), to_offset);
}

ssize_t CopyPiece(int from, off_t from_offset, int to, off_t to_offset, size_t length) {
  for (;;) {
    off64_t in = from_offset;
    off64_t out = to_offset;
    ssize_t done = copy_file_range(from, &in, to, &out, length, 0);
    if (done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EXDEV)) {
      done = CopyByHand(from, from_offset, to, to_offset, length);
    }
    if (done < 0 && errno == EINTR) continue;
    return done;
  }
}

// Makes the range zeros, and the file as long as it reaches, without ever cutting it: others may
// write behind it meanwhile. errno.
int MakeHole(int fd, uint64_t offset, uint64_t length) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return errno;
  const uint64_t end = offset + length;
  const char zero = 0;
  if (static_cast<uint64_t>(status.st_size) < end &&
      pwrite(fd, &zero, 1, static_cast<off_t>(end - 1)) != 1) {
    return errno;
  }
  const int punched = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(offset), static_cast<off_t>(length));
  return punched == 0 ? 0 : errno;
}

}  // namespace

CopiedBytes CopyBytes(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t length) {
  CopiedBytes copied;
  while (copied.count < length) {
    const uint64_t at = from_offset + copied.count;
    const uint64_t left = length - copied.count;
    const off_t data = lseek(from, static_cast<off_t>(at), SEEK_DATA);
    uint64_t hole = 0;
    if (data >= 0) {
      hole = std::min(static_cast<uint64_t>(data) - at, left);
    } else if (errno == ENXIO) {  // nothing but zeros up to the end, wherever that is
      struct stat status {};
      if (fstat(from, &status) != 0) return {copied.count, errno};
      const auto size = static_cast<uint64_t>(status.st_size);
      if (size <= at) return copied;
      hole = std::min(size - at, left);
    }
    if (hole != 0) {
      const int error = MakeHole(to, to_offset + copied.count, hole);
      if (error != 0 && error != EOPNOTSUPP) return {copied.count, error};
      if (error == 0) {
        copied.count += hole;
        continue;
      }
    }
    const off_t end = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
    const uint64_t run = end > data && hole == 0 ? static_cast<uint64_t>(end) - at : left;
    const ssize_t done =
        CopyPiece(from, static_cast<off_t>(at), to, static_cast<off_t>(to_offset + copied.count),
                  std::min({run, left, kPiece}));
    if (done < 0) return {copied.count, errno};
    if (done == 0) return copied;
    copied.count += static_cast<uint64_t>(done);
    Reach(FaultPoint::kContentCopying);
  }
  return copied;
}

}  // namespace airstore::broker
