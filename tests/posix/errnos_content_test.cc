// SPDX-License-Identifier: Apache-2.0
//
// The errors of reading, writing, and moving about in files.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <limits>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

constexpr off_t kMost = std::numeric_limits<off_t>::max();
constexpr const char* kSpace =
    "Quota.BytesAreLimited, SpoolFull.WritersAreToldAndWhatWasAcceptedArrives";

// So that the compiler does not know.
int LessThanNone() {
  static const volatile int number = -1;
  return number;
}

ssize_t ReadSome(int fd) {
  char bytes[16];
  return read(fd, bytes, sizeof bytes);
}

TEST_F(Errnos, OfReading) {
  Both("read", EBADF, "of nothing", MakeUsual,
       [] { return static_cast<int>(ReadSome(kNoDescriptor)); });
  Both("read", EBADF, "opened to write", MakeUsual, OnOpen("file", O_WRONLY, ReadSome));
  Both("read", EBADF, "of a path", MakeUsual, OnOpen("file", O_PATH, ReadSome));
  Both("read", EISDIR, "of a directory", MakeUsual, OnOpen("dir", O_RDONLY, ReadSome));
  Both("read", EFAULT, "into nowhere", MakeUsual, OnOpen("file", O_RDONLY, [](int fd) {
         return read(fd, const_cast<char*>(Nowhere()), 100);
       }));
  Both("read", EAGAIN, "of an empty FIFO", MakeUsual, OnOpen("fifo", O_RDWR, ReadSome));
  Both("read", EINVAL, "before the beginning", MakeUsual, OnOpen("file", O_RDONLY, [](int fd) {
         char byte;
         return pread(fd, &byte, 1, -1);
       }));
  Both("read", ESPIPE, "at a place in a FIFO", MakeUsual, OnOpen("fifo", O_RDWR, [](int fd) {
         char byte;
         return pread(fd, &byte, 1, 0);
       }));
  Documented("read", {EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ESPIPE},
             {{EINTR, "files are not waited for"}});
  static iovec too_many[1025];
  static char byte[1];
  static const iovec one{byte, sizeof byte};
  Both("readv", EINVAL, "too many pieces", MakeUsual,
       OnOpen("file", O_RDONLY, [](int fd) { return readv(fd, too_many, 1025); }));
  Both("readv", EINVAL, "less than none", MakeUsual,
       OnOpen("file", O_RDONLY, [](int fd) { return readv(fd, too_many, LessThanNone()); }));
  Both("readv", EOPNOTSUPP, "unknown flags", MakeUsual,
       OnOpen("file", O_RDONLY, [](int fd) { return preadv2(fd, &one, 1, 0, 1 << 20); }));
  Documented("readv", {EINVAL, EOPNOTSUPP});
  Both("writev", EINVAL, "too many pieces", MakeUsual,
       OnOpen("file", O_WRONLY, [](int fd) { return writev(fd, too_many, 1025); }));
  Both("writev", EOPNOTSUPP, "unknown flags", MakeUsual,
       OnOpen("file", O_WRONLY, [](int fd) { return pwritev2(fd, &one, 1, 0, 1 << 20); }));
  Both("writev", EBADF, "opened to read", MakeUsual,
       OnOpen("file", O_RDONLY, [](int fd) { return writev(fd, too_many, 1); }));
  Documented("writev", {EINVAL, EOPNOTSUPP, EBADF});

  const auto seek = [](off_t at, int whence) {
    return [=](int fd) { return lseek(fd, at, whence); };
  };
  Both("lseek", EBADF, "of nothing", MakeUsual, [] { return lseek(kNoDescriptor, 0, SEEK_SET); });
  Both("lseek", EBADF, "of a path", MakeUsual, OnOpen("file", O_PATH, seek(0, SEEK_SET)));
  Both("lseek", EINVAL, "no place to begin", MakeUsual, OnOpen("file", O_RDONLY, seek(0, 99)));
  Both("lseek", EINVAL, "before the beginning", MakeUsual,
       OnOpen("file", O_RDONLY, seek(-1, SEEK_SET)));
  Both("lseek", EINVAL, "further before the end than there is", MakeUsual,
       OnOpen("file", O_RDONLY, seek(-100, SEEK_END)));
  Both("lseek", ENXIO, "data beyond the end", MakeUsual,
       OnOpen("file", O_RDONLY, seek(100, SEEK_DATA)));
  Both("lseek", ENXIO, "a hole beyond the end", MakeUsual,
       OnOpen("file", O_RDONLY, seek(100, SEEK_HOLE)));
  Both("lseek", ENXIO, "data before the beginning", MakeUsual,
       OnOpen("file", O_RDONLY, seek(-1, SEEK_DATA)));
  Both("lseek", ESPIPE, "in a FIFO", MakeUsual, OnOpen("fifo", O_RDWR, seek(0, SEEK_CUR)));
  Both("lseek", EINVAL, "beyond what can be", MakeUsual,
       OnOpen("file", O_RDONLY, seek(kMost, SEEK_END)));
  Documented("lseek", {EBADF, EINVAL, ENXIO, EOVERFLOW, ESPIPE}, {{EOVERFLOW, "of 32 bits"}});
  RunTable();
}

TEST_F(Errnos, OfWriting) {
  const auto write_one = [](int fd) { return write(fd, "w", 1); };
  const auto write_at = [](off_t at) { return [=](int fd) { return pwrite(fd, "w", 1, at); }; };
  Both("write", EBADF, "to nothing", MakeUsual,
       [] { return static_cast<int>(write(kNoDescriptor, "w", 1)); });
  Both("write", EBADF, "opened to read", MakeUsual, OnOpen("file", O_RDONLY, write_one));
  Both("write", EBADF, "to a path", MakeUsual, OnOpen("file", O_PATH, write_one));
  Both("write", EBADF, "to a directory", MakeUsual, OnOpen("dir", O_RDONLY, write_one));
  FilesMayDiffer("ext4 moves the times before it looks at the memory");
  Both("write", EFAULT, "from nowhere", MakeUsual,
       OnOpen("file", O_WRONLY, [](int fd) { return write(fd, Nowhere(), 100); }));
  FilesMayDiffer("");
  Both("write", EINVAL, "before the beginning", MakeUsual, OnOpen("file", O_WRONLY, write_at(-1)));
  Both("write", EFBIG, "at the end of what can be", MakeUsual,
       OnOpen("file", O_WRONLY, write_at(kMost - 1)));
  Both("write", EFBIG, "more than a process may", MakeUsual,
       OnOpen("file", O_WRONLY, Limited(write_at(4096))));
  Both("write", ESPIPE, "at a place in a FIFO", MakeUsual, OnOpen("fifo", O_RDWR, write_at(0)));
  Documented("write",
             {EAGAIN, EBADF, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, ENOSPC, EPERM, EPIPE, ESPIPE},
             {{EDQUOT, kSpace},
              {ENOSPC, kSpace},
              {EAGAIN, "of a full FIFO"},
              {EPIPE, "of a FIFO"},
              {EINTR, "Outage.SignalsEndNoCall"},
              {EPERM, "of sealed files"}});

  Both("truncate", EISDIR, "a directory", MakeUsual, [] { return truncate("dir", 0); });
  Both("truncate", EINVAL, "below nothing", MakeUsual, [] { return truncate("file", -1); });
  Both("truncate", EINVAL, "a FIFO", MakeUsual, [] { return truncate("fifo", 0); });
  Both("truncate", EFBIG, "more than can be", MakeUsual, [] { return truncate("file", kMost); });
  Both("truncate", EFBIG, "more than a process may", MakeUsual,
       OnOpen("file", O_RDWR, Limited([](int) { return truncate("file", 4097); })));
  For(
      Other(), "truncate", EACCES, "that may not be written", [] { MakeFile("file", 0444); },
      [] { return truncate("file", 0); });
  Documented("truncate",
             {EACCES, EFAULT, EFBIG, EINTR, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR,
              EPERM, EROFS, ETXTBSY},
             {{EINTR, "Outage.SignalsEndNoCall"},
              {EPERM, "no such flags here"},
              {EROFS, "Errnos.OfAReadOnlyMount"},
              {ETXTBSY, "Programs.AreNotWrittenWhileTheyRun"}});
  Both("ftruncate", EBADF, "nothing", MakeUsual, [] { return ftruncate(kNoDescriptor, 0); });
  Both("ftruncate", EINVAL, "opened to read", MakeUsual,
       OnOpen("file", O_RDONLY, [](int fd) { return ftruncate(fd, 0); }));
  Both("ftruncate", EINVAL, "a directory", MakeUsual,
       OnOpen("dir", O_RDONLY, [](int fd) { return ftruncate(fd, 0); }));
  Both("ftruncate", EINVAL, "below nothing", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return ftruncate(fd, -1); }));
  Both("ftruncate", EFBIG, "more than can be", MakeUsual,
       OnOpen("file", O_RDWR, [](int fd) { return ftruncate(fd, kMost); }));
  Documented("ftruncate", {EBADF, EINVAL, EFBIG});

  const auto allocate = [](int mode, off_t at, off_t length) {
    return [=](int fd) { return fallocate(fd, mode, at, length); };
  };
  Both("fallocate", EBADF, "opened to read", MakeUsual,
       OnOpen("file", O_RDONLY, allocate(0, 0, 10)));
  Both("fallocate", EBADF, "a directory", MakeUsual, OnOpen("dir", O_RDONLY, allocate(0, 0, 10)));
  Both("fallocate", EINVAL, "before the beginning", MakeUsual,
       OnOpen("file", O_RDWR, allocate(0, -1, 10)));
  Both("fallocate", EINVAL, "nothing", MakeUsual, OnOpen("file", O_RDWR, allocate(0, 0, 0)));
  Both("fallocate", EINVAL, "less than nothing", MakeUsual,
       OnOpen("file", O_RDWR, allocate(0, 0, -1)));
  Both("fallocate", EFBIG, "beyond what can be", MakeUsual,
       OnOpen("file", O_RDWR, allocate(0, kMost, 10)));
  FilesMayDiffer("ext4 moves the times before it looks at the limit");
  Both("fallocate", EFBIG, "more than a process may", MakeUsual,
       OnOpen("file", O_RDWR, Limited(allocate(0, 0, 4097))));
  FilesMayDiffer("");
  for (const int mode :
       {FALLOC_FL_PUNCH_HOLE, 1 << 20, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE}) {
    Both("fallocate", EOPNOTSUPP, "mode " + std::to_string(mode), MakeUsual,
         OnOpen("file", O_RDWR, allocate(mode, 0, 10)));
  }
  Both("fallocate", ESPIPE, "a FIFO", MakeUsual, OnOpen("fifo", O_RDWR, allocate(0, 0, 10)));
  Documented(
      "fallocate",
      {EBADF, EFBIG, EINTR, EINVAL, ENODEV, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, ESPIPE, ETXTBSY},
      {{EINTR, "Outage.SignalsEndNoCall"},
       {ENODEV, "of devices"},
       {ENOSPC, kSpace},
       {ENOSYS, "it is known"},
       {EPERM, "no such flags here"},
       {ETXTBSY, "of swap files"}});
  RunTable();
}

}  // namespace
}  // namespace airstore::posix
