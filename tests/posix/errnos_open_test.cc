// SPDX-License-Identifier: Apache-2.0
//
// The errors of opening, and of listing what was opened.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

constexpr const char* kReadOnly = "Errnos.OfAReadOnlyMount";
constexpr const char* kQuota = "Quota.AFullWorkspaceTakesNoWriters";

Outcome Open(const char* path, int flags, mode_t mode = 0644) {
  const UniqueFd fd(open(path, flags | O_CLOEXEC | O_NONBLOCK, mode));
  return {fd ? 0 : errno};
}

struct How {
  open_how how{};
  size_t size = sizeof(open_how);
};

Outcome Open2(const char* path, const How& asked) {
  const int fd = static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path, &asked.how, asked.size));
  return fd < 0 ? Outcome(errno) : Result(close(fd));
}

How Flags(uint64_t flags, uint64_t mode = 0) {
  How how;
  how.how.flags = flags;
  how.how.mode = mode;
  return how;
}

How Resolve(uint64_t resolve, uint64_t flags = O_RDONLY | O_CLOEXEC) {
  How how = Flags(flags);
  how.how.resolve = resolve;
  return how;
}

// As many descriptors as a process may have.
Outcome OpenTooMany() {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const Outcome outcome = Open("file", O_RDONLY);
  setrlimit(RLIMIT_NOFILE, &before);
  return outcome;
}

void MakeClosed() {
  MakeFile("none", 0);
  MakeFile("read", 0444);
  MakeFile("write", 0222);
  MakeDir("fixed", 0755);
  MakeDir("hidden", 0311);
}

TEST_F(Errnos, OfOpening) {
  Both("open", EEXIST, "a new file that is there", MakeUsual,
       [] { return Open("file", O_CREAT | O_EXCL | O_RDWR); });
  Both("open", EEXIST, "a new file where a link is", MakeUsual,
       [] { return Open("loop", O_CREAT | O_EXCL | O_RDWR); });
  Both("open", EEXIST, "a new file where a directory is", MakeUsual,
       [] { return Open("dir", O_CREAT | O_EXCL | O_RDWR); });
  for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC}) {
    Both("open", EISDIR, "a directory, flags " + std::to_string(flags), MakeUsual,
         [flags] { return Open("dir", flags); });
  }
  Both("open", EISDIR, "a new file with a slash", MakeUsual,
       [] { return Open("new/", O_CREAT | O_RDWR); });
  Both("open", ENOTDIR, "a file as a directory", MakeUsual,
       [] { return Open("file", O_DIRECTORY); });
  Both("open", ENOTDIR, "a file with a slash", MakeUsual, [] { return Open("file/", O_RDONLY); });
  Both(
      "open", ENOTDIR, "a link to a directory, not to follow",
      [] {
        MakeDir("dir");
        MakeLink("dir", "link");
      },
      [] { return Open("link", O_DIRECTORY | O_NOFOLLOW); });
  Both("open", ELOOP, "a link, not to follow", MakeUsual,
       [] { return Open("link", O_RDONLY | O_NOFOLLOW); });
  Both("open", ENOENT, "nothing", MakeUsual, [] { return Open("missing", O_RDWR); });
  Both("open", EINVAL, "a directory to make", MakeUsual,
       [] { return Open("new", O_CREAT | O_DIRECTORY | O_RDWR); });
  Both("open", EMFILE, "too many descriptors", MakeUsual, OpenTooMany);
  Both("open", ENXIO, "a FIFO that nobody reads", MakeUsual, [] { return Open("fifo", O_WRONLY); });
  Both(
      "open", ENXIO, "a socket", [] { KindOf("socket").make("socket", 0666); },
      [] { return Open("socket", O_RDWR); });
  for (const auto& [path, flags] :
       std::vector<std::pair<const char*, int>>{{"none", O_RDONLY},
                                                {"none", O_WRONLY},
                                                {"read", O_WRONLY},
                                                {"read", O_RDWR},
                                                {"read", O_RDONLY | O_TRUNC},
                                                {"write", O_RDONLY},
                                                {"write", O_RDWR},
                                                {"fixed/new", O_CREAT | O_RDWR},
                                                {"hidden", O_RDONLY | O_DIRECTORY}}) {
    For(Other(), "open", EACCES, std::string(path) + ", flags " + std::to_string(flags), MakeClosed,
        [path = path, flags = flags] { return Open(path, flags); });
  }
  For(Other(), "open", EPERM, "without marks, another's", MakeUsual,
      [] { return Open("file", O_RDONLY | O_NOATIME); });
  Documented("open",
             {EACCES,  EBADF,  EBUSY,      EDQUOT,    EEXIST,       EFAULT, EFBIG,   EINTR,
              EINVAL,  EISDIR, ELOOP,      EMFILE,    ENAMETOOLONG, ENODEV, ENOENT,  ENOSPC,
              ENOTDIR, ENXIO,  EOPNOTSUPP, EOVERFLOW, EPERM,        EROFS,  ETXTBSY, EWOULDBLOCK},
             {{EBUSY, "of block devices"},
              {ENODEV, "of devices, which a mount does not open"},
              {EDQUOT, kQuota},
              {ENOSPC, "InodeLimit.AllHeldOpen"},
              {EROFS, kReadOnly},
              {EFBIG, "of 32 bits"},
              {EOVERFLOW, "of 32 bits"},
              {EINTR, "nothing waits"},
              {EOPNOTSUPP, "O_TMPFILE is supported"},
              {EWOULDBLOCK, "leases: Errnos.OfLocks"},
              {ETXTBSY, "Programs.AreNotWrittenWhileTheyRun"}});

  Both("O_TMPFILE", EINVAL, "to read", MakeUsual, [] { return Open("dir", O_TMPFILE | O_RDONLY); });
  Both("O_TMPFILE", ENOTDIR, "in a file", MakeUsual,
       [] { return Open("file", O_TMPFILE | O_RDWR); });
  For(Other(), "O_TMPFILE", EACCES, "closed to writers", MakeClosed,
      [] { return Open("fixed", O_TMPFILE | O_RDWR); });
  Both("O_TMPFILE", ENOENT, "exclusive, given a name", MakeUsual, []() -> Outcome {
    const UniqueFd fd(open(".", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0644));
    if (!fd) return {errno};
    const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
    return Result(linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
  });
  Both("O_TMPFILE", EEXIST, "given a name that is taken", MakeUsual, []() -> Outcome {
    const UniqueFd fd(open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644));
    if (!fd) return {errno};
    const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
    return Result(linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "file", AT_SYMLINK_FOLLOW));
  });
  Documented("O_TMPFILE", {EACCES, EEXIST, EINVAL, ENOENT, ENOTDIR});
  RunTable();
}

TEST_F(Errnos, OfOpenat2) {
  const auto in_dir = [] {
    MakeUsual();
    MakeLink("/proc/self/cwd/file", "magic");
    MakeLink("../file", "dir/up");
  };
  How large = Flags(O_RDONLY);
  large.size = 1 << 20;
  Both("openat2", E2BIG, "more than a page", in_dir, [=] { return Open2("file", large); });
  Both("openat2", E2BIG, "of a later kernel", in_dir, [] {
    struct {
      open_how how{};
      uint64_t more = 1;
    } later;
    return Result(syscall(SYS_openat2, AT_FDCWD, "file", &later, sizeof later));
  });
  How small = Flags(O_RDONLY);
  small.size = 8;
  Both("openat2", EINVAL, "too small", in_dir, [=] { return Open2("file", small); });
  Both("openat2", EINVAL, "unknown flags", in_dir, [] { return Open2("file", Flags(1u << 31)); });
  Both("openat2", EINVAL, "unknown ways", in_dir, [] { return Open2("file", Resolve(1u << 20)); });
  Both("openat2", EINVAL, "a mode for nothing", in_dir,
       [] { return Open2("file", Flags(O_RDONLY, 0644)); });
  Both("openat2", EINVAL, "bits that are no mode", in_dir,
       [] { return Open2("new", Flags(O_CREAT | O_RDWR, 0100644)); });
  Both("openat2", EINVAL, "beneath and within", in_dir,
       [] { return Open2("file", Resolve(RESOLVE_BENEATH | RESOLVE_IN_ROOT)); });
  Both("openat2", ELOOP, "no links", in_dir,
       [] { return Open2("link", Resolve(RESOLVE_NO_SYMLINKS)); });
  Both("openat2", ELOOP, "no magic links", in_dir,
       [] { return Open2("/proc/self/cwd/file", Resolve(RESOLVE_NO_MAGICLINKS)); });
  Both("openat2", EXDEV, "beneath, and out", in_dir,
       [] { return Open2("../x", Resolve(RESOLVE_BENEATH)); });
  Both("openat2", EXDEV, "beneath, and from the top", in_dir,
       [] { return Open2("/etc", Resolve(RESOLVE_BENEATH)); });
  Both("openat2", EXDEV, "beneath, by a link", in_dir, []() -> Outcome {
    const UniqueFd dir(open("dir", O_PATH | O_CLOEXEC));
    const How how = Resolve(RESOLVE_BENEATH);
    return Result(syscall(SYS_openat2, dir.get(), "up", &how.how, how.size));
  });
  For(
      Root(), "openat2", EXDEV, "no other file system",
      [=] {
        in_dir();
        if (::mount("none", "dir", "tmpfs", 0, nullptr) != 0) throw std::runtime_error("mount");
      },
      [] { return Open2("dir/.", Resolve(RESOLVE_NO_XDEV)); }, [] { umount2("dir", MNT_DETACH); });
  Both("openat2", EAGAIN, "from memory, a new file", in_dir,
       [] { return Open2("new", Resolve(RESOLVE_CACHED, O_CREAT | O_RDWR)); });
  Documented("openat2", {E2BIG, EAGAIN, EINVAL, ELOOP, EXDEV});
  RunTable();
}

TEST_F(Errnos, OfListing) {
  const auto list = [](int fd, size_t size) {
    alignas(8) char entries[4096];
    return getdents64(fd, entries, size);
  };
  Both("getdents", ENOTDIR, "of a file", MakeUsual, [=] {
    const UniqueFd fd(open("file", O_RDONLY | O_CLOEXEC));
    return list(fd.get(), 4096);
  });
  Both("getdents", EBADF, "of nothing", MakeUsual, [=] { return list(kNoDescriptor, 4096); });
  Both("getdents", EBADF, "of a path", MakeUsual, [=] {
    const UniqueFd fd(open("dir", O_PATH | O_CLOEXEC));
    return list(fd.get(), 4096);
  });
  Both("getdents", EINVAL, "into too little", MakeUsual, [=] {
    const UniqueFd fd(open("dir", O_RDONLY | O_CLOEXEC));
    return list(fd.get(), 8);
  });
  Both("getdents", EFAULT, "into nowhere", MakeUsual, [] {
    const UniqueFd fd(open("dir", O_RDONLY | O_CLOEXEC));
    return getdents64(fd.get(), const_cast<char*>(Nowhere()), 4096);
  });
  Both(
      "getdents", ENOENT, "of what is gone", [] { MakeDir("gone", 0777); },
      [=] {
        const UniqueFd fd(open("gone", O_RDONLY | O_CLOEXEC));
        return rmdir("gone") == 0 ? list(fd.get(), 4096) : 0;
      });
  Documented("getdents", {EBADF, EFAULT, EINVAL, ENOENT, ENOTDIR});

  For(Other(), "opendir", EACCES, "that may not be listed", MakeClosed,
      [] { return Open("hidden", O_RDONLY | O_DIRECTORY); });
  Documented("opendir", {EACCES, EMFILE, ENOENT, ENOTDIR}, {{EMFILE, "open"}});
  For(
      Other(), "chdir", EACCES, "that may not be searched", [] { MakeDir("dir", 0666); },
      [] { return chdir("dir"); });
  Both("chdir", EBADF, "to no descriptor", MakeUsual, [] { return fchdir(kNoDescriptor); });
  Both("chdir", ENOTDIR, "to a file's descriptor", MakeUsual, [] {
    const UniqueFd fd(open("file", O_RDONLY | O_CLOEXEC));
    return fchdir(fd.get());
  });
  Documented("chdir", {EACCES, EBADF, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR});
  For(Other(), "chroot", EPERM, "by a user", MakeUsual, [] { return chroot("dir"); });
  Documented("chroot", {EACCES, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM});
  RunTable();
}

}  // namespace
}  // namespace airstore::posix
