// SPDX-License-Identifier: Apache-2.0
//
// The errors of copying between files, of syncing, and of mapping files.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <limits>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

constexpr off_t kMost = std::numeric_limits<off_t>::max();
constexpr const char* kSpace =
    "Quota.BytesAreLimited, SpoolFull.WritersAreToldAndWhatWasAcceptedArrives";

TEST_F(Errnos, OfCopying) {
  const auto prepare = [] {
    MakeUsual();
    MakeFile("to", 0666);
  };
  // From `from` to `to`, opened so.
  const auto copy = [](const char* from, int from_flags, const char* to, int to_flags,
                       unsigned flags = 0) {
    return OnOpen(from, from_flags, [=](int in) -> ssize_t {
      const UniqueFd out(open(to, to_flags | O_CLOEXEC | O_NONBLOCK));
      return copy_file_range(in, nullptr, out.get(), nullptr, 5, flags);
    });
  };
  Both("copy_file_range", EBADF, "opened to write", prepare, copy("file", O_WRONLY, "to", O_RDWR));
  Both("copy_file_range", EBADF, "to one opened to read", prepare,
       copy("file", O_RDONLY, "to", O_RDONLY));
  Both("copy_file_range", EBADF, "to one that appends", prepare,
       copy("file", O_RDONLY, "to", O_WRONLY | O_APPEND));
  Both("copy_file_range", EINVAL, "unknown flags", prepare,
       copy("file", O_RDONLY, "to", O_RDWR, 1 << 20));
  Both("copy_file_range", EINVAL, "onto itself", prepare, copy("file", O_RDWR, "file", O_RDWR));
  Both("copy_file_range", EINVAL, "from a FIFO", prepare, copy("fifo", O_RDWR, "to", O_RDWR));
  Both("copy_file_range", EISDIR, "from a directory", prepare, copy("dir", O_RDONLY, "to", O_RDWR));
  Both("copy_file_range", EXDEV, "from elsewhere", prepare,
       copy("/dev/shm", O_TMPFILE | O_RDWR, "to", O_RDWR));
  Both("copy_file_range", EFBIG, "more than a process may", prepare,
       OnOpen("file", O_RDONLY, Limited([](int in) {
                const UniqueFd out(open("to", O_RDWR | O_CLOEXEC));
                off_t at = 4096;
                return copy_file_range(in, nullptr, out.get(), &at, 5, 0);
              })));
  Both("copy_file_range", EOVERFLOW, "beyond what can be", prepare,
       OnOpen("file", O_RDONLY, [](int in) {
         const UniqueFd out(open("to", O_RDWR | O_CLOEXEC));
         off_t at = 1;
         return copy_file_range(in, &at, out.get(), nullptr, std::numeric_limits<size_t>::max(), 0);
       }));
  Documented("copy_file_range",
             {EBADF, EFBIG, EINVAL, EISDIR, ENOSPC, EOPNOTSUPP, EOVERFLOW, EPERM, ETXTBSY, EXDEV},
             {{ENOSPC, kSpace},
              {EOPNOTSUPP, "it is supported"},
              {EPERM, "no such flags here"},
              {ETXTBSY, "of swap files"}});
  Both("sendfile", EBADF, "to nothing", prepare,
       OnOpen("file", O_RDONLY, [](int in) { return sendfile(kNoDescriptor, in, nullptr, 5); }));
  Both("sendfile", EINVAL, "from a directory", prepare, OnOpen("dir", O_RDONLY, [](int in) {
         const UniqueFd out(open("to", O_RDWR | O_CLOEXEC));
         return sendfile(out.get(), in, nullptr, 5);
       }));
  Documented("sendfile", {EBADF, EINVAL});

  Both("fsync", EBADF, "nothing", prepare, [] { return fsync(kNoDescriptor); });
  Both("fsync", EBADF, "a path", prepare,
       OnOpen("file", O_PATH, [](int fd) { return fdatasync(fd); }));
  Both("fsync", EINVAL, "a FIFO", prepare,
       OnOpen("fifo", O_RDWR, [](int fd) { return fsync(fd); }));
  Documented("fsync", {EBADF, EINTR, ENOSPC, EROFS, EINVAL},
             {{EINTR, "Outage.SignalsEndNoCall"}, {ENOSPC, kSpace}, {EROFS, "of special files"}});
  Both("sync_file_range", EBADF, "nothing", prepare,
       [] { return sync_file_range(kNoDescriptor, 0, 0, 0); });
  Both("sync_file_range", EINVAL, "unknown flags", prepare,
       OnOpen("file", O_RDWR, [](int fd) { return sync_file_range(fd, 0, 0, 1 << 20); }));
  Both("sync_file_range", ESPIPE, "a FIFO", prepare,
       OnOpen("fifo", O_RDWR, [](int fd) { return sync_file_range(fd, 0, 0, 0); }));
  Documented("sync_file_range", {EBADF, EINVAL, ESPIPE});
  Both("syncfs", EBADF, "of nothing", prepare, [] { return syncfs(kNoDescriptor); });
  Documented("syncfs", {EBADF});
  Both("ioctl", ENOTTY, "what is for terminals", prepare, OnOpen("file", O_RDWR, [](int fd) {
         int bytes = 0;
         return ioctl(fd, TIOCOUTQ, &bytes);
       }));
  Both("ioctl", EBADF, "of a path", prepare, OnOpen("file", O_PATH, [](int fd) {
         int bytes = 0;
         return ioctl(fd, FIONREAD, &bytes);
       }));
  Documented("ioctl", {EBADF, ENOTTY});
  RunTable();
}

TEST_F(Errnos, OfMapping) {
  const auto map = [](int protection, int flags, size_t length = 4096, off_t at = 0) {
    return [=](int fd) -> intptr_t {
      void* address = mmap(nullptr, length, protection, flags, fd, at);
      if (address == MAP_FAILED) return -1;
      munmap(address, length);
      return 0;
    };
  };
  Both("mmap", EACCES, "opened to write", MakeUsual,
       OnOpen("file", O_WRONLY, map(PROT_READ, MAP_PRIVATE)));
  Both("mmap", EACCES, "to write, opened to read", MakeUsual,
       OnOpen("file", O_RDONLY, map(PROT_READ | PROT_WRITE, MAP_SHARED)));
  Both("mmap", EBADF, "nothing", MakeUsual,
       [=] { return map(PROT_READ, MAP_SHARED)(kNoDescriptor); });
  Both("mmap", EBADF, "a path", MakeUsual, OnOpen("file", O_PATH, map(PROT_READ, MAP_SHARED)));
  Both("mmap", EINVAL, "nothing of it", MakeUsual,
       OnOpen("file", O_RDONLY, map(PROT_READ, MAP_SHARED, 0)));
  Both("mmap", EINVAL, "from the middle of a page", MakeUsual,
       OnOpen("file", O_RDONLY, map(PROT_READ, MAP_SHARED, 4096, 100)));
  Both("mmap", EINVAL, "neither shared nor private", MakeUsual,
       OnOpen("file", O_RDONLY, map(PROT_READ, 0)));
  Both("mmap", ENODEV, "a directory", MakeUsual,
       OnOpen("dir", O_RDONLY, map(PROT_READ, MAP_SHARED)));
  Both("mmap", EOPNOTSUPP, "as persistent memory", MakeUsual,
       OnOpen("file", O_RDWR, map(PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC)));
  Both("mmap", EOVERFLOW, "beyond what can be", MakeUsual,
       OnOpen("file", O_RDONLY, map(PROT_READ, MAP_SHARED, 8192, kMost - 4095)));
  Both("mmap", EEXIST, "where something is", MakeUsual,
       OnOpen("file", O_RDONLY, [](int fd) -> intptr_t {
         void* taken = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         void* address = mmap(taken, 4096, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
         const int error = errno;
         munmap(taken, 4096);
         errno = error;
         return address == MAP_FAILED ? -1 : 0;
       }));
  Documented("mmap",
             {EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EOVERFLOW, EPERM, ETXTBSY},
             {{EAGAIN, "of locked memory"},
              {EPERM, "of mounts that are noexec"},
              {ETXTBSY, "of old kernels"}});
  RunTable();
}

}  // namespace
}  // namespace airstore::posix
