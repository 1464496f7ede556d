// SPDX-License-Identifier: Apache-2.0
//
// The errors of reading, writing, moving about in files, and of mapping them.
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <limits>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

constexpr off_t kMost = std::numeric_limits<off_t>::max();
constexpr int kNone = 1000;  // a descriptor that is not open
constexpr const char* kSpace =
    "Quota.BytesAreLimited, SpoolFull.WritersAreToldAndWhatWasAcceptedArrives";

// What a call makes of a descriptor on `path`, opened with `flags`.
template <typename Call>
auto On(const char* path, int flags, Call call) {
  return [=]() -> Outcome {
    const UniqueFd fd(open(path, flags | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return {ENOTRECOVERABLE};
    return {e2e::ErrnoOf(call(fd.get()))};
  };
}

// While a process may write no more than that into a file.
template <typename Call>
auto Limited(Call call) {
  return [=](int fd) {
    signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit limit{4096, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto result = call(fd);
    const int error = errno;
    setrlimit(RLIMIT_FSIZE, &before);
    errno = error;
    return result;
  };
}

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
  Both("read", EBADF, "of nothing", MakeUsual, [] { return static_cast<int>(ReadSome(kNone)); });
  Both("read", EBADF, "opened to write", MakeUsual, On("file", O_WRONLY, ReadSome));
  Both("read", EBADF, "of a path", MakeUsual, On("file", O_PATH, ReadSome));
  Both("read", EISDIR, "of a directory", MakeUsual, On("dir", O_RDONLY, ReadSome));
  Both("read", EFAULT, "into nowhere", MakeUsual,
       On("file", O_RDONLY, [](int fd) { return read(fd, const_cast<char*>(Nowhere()), 100); }));
  Both("read", EAGAIN, "of an empty FIFO", MakeUsual, On("fifo", O_RDWR, ReadSome));
  Both("read", EINVAL, "before the beginning", MakeUsual, On("file", O_RDONLY, [](int fd) {
         char byte;
         return pread(fd, &byte, 1, -1);
       }));
  Both("read", ESPIPE, "at a place in a FIFO", MakeUsual, On("fifo", O_RDWR, [](int fd) {
         char byte;
         return pread(fd, &byte, 1, 0);
       }));
  Documented("read", {EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ESPIPE},
             {{EINTR, "files are not waited for"}});
  static iovec too_many[1025];
  static char byte[1];
  static const iovec one{byte, sizeof byte};
  Both("readv", EINVAL, "too many pieces", MakeUsual,
       On("file", O_RDONLY, [](int fd) { return readv(fd, too_many, 1025); }));
  Both("readv", EINVAL, "less than none", MakeUsual,
       On("file", O_RDONLY, [](int fd) { return readv(fd, too_many, LessThanNone()); }));
  Both("readv", EOPNOTSUPP, "unknown flags", MakeUsual,
       On("file", O_RDONLY, [](int fd) { return preadv2(fd, &one, 1, 0, 1 << 20); }));
  Documented("readv", {EINVAL, EOPNOTSUPP});
  Both("writev", EINVAL, "too many pieces", MakeUsual,
       On("file", O_WRONLY, [](int fd) { return writev(fd, too_many, 1025); }));
  Both("writev", EOPNOTSUPP, "unknown flags", MakeUsual,
       On("file", O_WRONLY, [](int fd) { return pwritev2(fd, &one, 1, 0, 1 << 20); }));
  Both("writev", EBADF, "opened to read", MakeUsual,
       On("file", O_RDONLY, [](int fd) { return writev(fd, too_many, 1); }));
  Documented("writev", {EINVAL, EOPNOTSUPP, EBADF});

  const auto seek = [](off_t at, int whence) {
    return [=](int fd) { return lseek(fd, at, whence); };
  };
  Both("lseek", EBADF, "of nothing", MakeUsual, [] { return lseek(kNone, 0, SEEK_SET); });
  Both("lseek", EBADF, "of a path", MakeUsual, On("file", O_PATH, seek(0, SEEK_SET)));
  Both("lseek", EINVAL, "no place to begin", MakeUsual, On("file", O_RDONLY, seek(0, 99)));
  Both("lseek", EINVAL, "before the beginning", MakeUsual,
       On("file", O_RDONLY, seek(-1, SEEK_SET)));
  Both("lseek", EINVAL, "further before the end than there is", MakeUsual,
       On("file", O_RDONLY, seek(-100, SEEK_END)));
  Both("lseek", ENXIO, "data beyond the end", MakeUsual,
       On("file", O_RDONLY, seek(100, SEEK_DATA)));
  Both("lseek", ENXIO, "a hole beyond the end", MakeUsual,
       On("file", O_RDONLY, seek(100, SEEK_HOLE)));
  Both("lseek", ENXIO, "data before the beginning", MakeUsual,
       On("file", O_RDONLY, seek(-1, SEEK_DATA)));
  Both("lseek", ESPIPE, "in a FIFO", MakeUsual, On("fifo", O_RDWR, seek(0, SEEK_CUR)));
  Both("lseek", EINVAL, "beyond what can be", MakeUsual,
       On("file", O_RDONLY, seek(kMost, SEEK_END)));
  Documented("lseek", {EBADF, EINVAL, ENXIO, EOVERFLOW, ESPIPE}, {{EOVERFLOW, "of 32 bits"}});
  RunTable();
}

TEST_F(Errnos, OfWriting) {
  const auto write_one = [](int fd) { return write(fd, "w", 1); };
  const auto write_at = [](off_t at) { return [=](int fd) { return pwrite(fd, "w", 1, at); }; };
  Both("write", EBADF, "to nothing", MakeUsual,
       [] { return static_cast<int>(write(kNone, "w", 1)); });
  Both("write", EBADF, "opened to read", MakeUsual, On("file", O_RDONLY, write_one));
  Both("write", EBADF, "to a path", MakeUsual, On("file", O_PATH, write_one));
  Both("write", EBADF, "to a directory", MakeUsual, On("dir", O_RDONLY, write_one));
  Both("write", EFAULT, "from nowhere", MakeUsual,
       On("file", O_WRONLY, [](int fd) { return write(fd, Nowhere(), 100); }));
  Both("write", EINVAL, "before the beginning", MakeUsual, On("file", O_WRONLY, write_at(-1)));
  Both("write", EFBIG, "at the end of what can be", MakeUsual,
       On("file", O_WRONLY, write_at(kMost - 1)));
  Both("write", EFBIG, "more than a process may", MakeUsual,
       On("file", O_WRONLY, Limited(write_at(4096))));
  Both("write", ESPIPE, "at a place in a FIFO", MakeUsual, On("fifo", O_RDWR, write_at(0)));
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
       On("file", O_RDWR, Limited([](int) { return truncate("file", 4097); })));
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
  Both("ftruncate", EBADF, "nothing", MakeUsual, [] { return ftruncate(kNone, 0); });
  Both("ftruncate", EINVAL, "opened to read", MakeUsual,
       On("file", O_RDONLY, [](int fd) { return ftruncate(fd, 0); }));
  Both("ftruncate", EINVAL, "a directory", MakeUsual,
       On("dir", O_RDONLY, [](int fd) { return ftruncate(fd, 0); }));
  Both("ftruncate", EINVAL, "below nothing", MakeUsual,
       On("file", O_RDWR, [](int fd) { return ftruncate(fd, -1); }));
  Both("ftruncate", EFBIG, "more than can be", MakeUsual,
       On("file", O_RDWR, [](int fd) { return ftruncate(fd, kMost); }));
  Documented("ftruncate", {EBADF, EINVAL, EFBIG});

  const auto allocate = [](int mode, off_t at, off_t length) {
    return [=](int fd) { return fallocate(fd, mode, at, length); };
  };
  Both("fallocate", EBADF, "opened to read", MakeUsual, On("file", O_RDONLY, allocate(0, 0, 10)));
  Both("fallocate", EBADF, "a directory", MakeUsual, On("dir", O_RDONLY, allocate(0, 0, 10)));
  Both("fallocate", EINVAL, "before the beginning", MakeUsual,
       On("file", O_RDWR, allocate(0, -1, 10)));
  Both("fallocate", EINVAL, "nothing", MakeUsual, On("file", O_RDWR, allocate(0, 0, 0)));
  Both("fallocate", EINVAL, "less than nothing", MakeUsual, On("file", O_RDWR, allocate(0, 0, -1)));
  Both("fallocate", EFBIG, "beyond what can be", MakeUsual,
       On("file", O_RDWR, allocate(0, kMost, 10)));
  FilesMayDiffer("ext4 moves the times before it looks at the limit");
  Both("fallocate", EFBIG, "more than a process may", MakeUsual,
       On("file", O_RDWR, Limited(allocate(0, 0, 4097))));
  FilesMayDiffer("");
  for (const int mode :
       {FALLOC_FL_PUNCH_HOLE, 1 << 20, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE}) {
    Both("fallocate", EOPNOTSUPP, "mode " + std::to_string(mode), MakeUsual,
         On("file", O_RDWR, allocate(mode, 0, 10)));
  }
  Both("fallocate", ESPIPE, "a FIFO", MakeUsual, On("fifo", O_RDWR, allocate(0, 0, 10)));
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

TEST_F(Errnos, OfCopying) {
  const auto prepare = [] {
    MakeUsual();
    MakeFile("to", 0666);
  };
  // From `from` to `to`, opened so.
  const auto copy = [](const char* from, int from_flags, const char* to, int to_flags,
                       unsigned flags = 0) {
    return On(from, from_flags, [=](int in) -> ssize_t {
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
       On("file", O_RDONLY, Limited([](int in) {
            const UniqueFd out(open("to", O_RDWR | O_CLOEXEC));
            off_t at = 4096;
            return copy_file_range(in, nullptr, out.get(), &at, 5, 0);
          })));
  Both("copy_file_range", EOVERFLOW, "beyond what can be", prepare,
       On("file", O_RDONLY, [](int in) {
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
       On("file", O_RDONLY, [](int in) { return sendfile(kNone, in, nullptr, 5); }));
  Both("sendfile", EINVAL, "from a directory", prepare, On("dir", O_RDONLY, [](int in) {
         const UniqueFd out(open("to", O_RDWR | O_CLOEXEC));
         return sendfile(out.get(), in, nullptr, 5);
       }));
  Documented("sendfile", {EBADF, EINVAL});

  Both("fsync", EBADF, "nothing", prepare, [] { return fsync(kNone); });
  Both("fsync", EBADF, "a path", prepare, On("file", O_PATH, [](int fd) { return fdatasync(fd); }));
  Both("fsync", EINVAL, "a FIFO", prepare, On("fifo", O_RDWR, [](int fd) { return fsync(fd); }));
  Documented("fsync", {EBADF, EINTR, ENOSPC, EROFS, EINVAL},
             {{EINTR, "Outage.SignalsEndNoCall"}, {ENOSPC, kSpace}, {EROFS, "of special files"}});
  Both("sync_file_range", EBADF, "nothing", prepare,
       [] { return sync_file_range(kNone, 0, 0, 0); });
  Both("sync_file_range", EINVAL, "unknown flags", prepare,
       On("file", O_RDWR, [](int fd) { return sync_file_range(fd, 0, 0, 1 << 20); }));
  Both("sync_file_range", ESPIPE, "a FIFO", prepare,
       On("fifo", O_RDWR, [](int fd) { return sync_file_range(fd, 0, 0, 0); }));
  Documented("sync_file_range", {EBADF, EINVAL, ESPIPE});
  Both("syncfs", EBADF, "of nothing", prepare, [] { return syncfs(kNone); });
  Documented("syncfs", {EBADF});
  Both("ioctl", ENOTTY, "what is for terminals", prepare, On("file", O_RDWR, [](int fd) {
         int bytes = 0;
         return ioctl(fd, TIOCOUTQ, &bytes);
       }));
  Both("ioctl", EBADF, "of a path", prepare, On("file", O_PATH, [](int fd) {
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
       On("file", O_WRONLY, map(PROT_READ, MAP_PRIVATE)));
  Both("mmap", EACCES, "to write, opened to read", MakeUsual,
       On("file", O_RDONLY, map(PROT_READ | PROT_WRITE, MAP_SHARED)));
  Both("mmap", EBADF, "nothing", MakeUsual, [=] { return map(PROT_READ, MAP_SHARED)(kNone); });
  Both("mmap", EBADF, "a path", MakeUsual, On("file", O_PATH, map(PROT_READ, MAP_SHARED)));
  Both("mmap", EINVAL, "nothing of it", MakeUsual,
       On("file", O_RDONLY, map(PROT_READ, MAP_SHARED, 0)));
  Both("mmap", EINVAL, "from the middle of a page", MakeUsual,
       On("file", O_RDONLY, map(PROT_READ, MAP_SHARED, 4096, 100)));
  Both("mmap", EINVAL, "neither shared nor private", MakeUsual,
       On("file", O_RDONLY, map(PROT_READ, 0)));
  Both("mmap", ENODEV, "a directory", MakeUsual, On("dir", O_RDONLY, map(PROT_READ, MAP_SHARED)));
  Both("mmap", EOPNOTSUPP, "as persistent memory", MakeUsual,
       On("file", O_RDWR, map(PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC)));
  Both("mmap", EOVERFLOW, "beyond what can be", MakeUsual,
       On("file", O_RDONLY, map(PROT_READ, MAP_SHARED, 8192, kMost - 4095)));
  Both("mmap", EEXIST, "where something is", MakeUsual,
       On("file", O_RDONLY, [](int fd) -> intptr_t {
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
