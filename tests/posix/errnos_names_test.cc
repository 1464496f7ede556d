// SPDX-License-Identifier: Apache-2.0
//
// The errors of calls that make, move and remove names.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

constexpr const char* kReadOnly = "Errnos.OfAReadOnlyMount";
constexpr const char* kQuota = "Quota.InodesAreLimited";
constexpr const char* kLimitless = "no such limit here";

// "shared", in which everybody may make and nobody remove another's: root's "shared/root".
void MakeSticky() {
  MakeDir("shared", 01777);
  MakeFile("shared/root", 0666);
  MakeDir("shared/rootdir", 0777);
  MakeFile("mine", 0666);
  GiveTo("mine", Owner());
}

// "fixed", in which only root may change names.
void MakeFixed() {
  MakeDir("fixed", 0755);
  MakeFile("fixed/inside", 0666);
  MakeDir("fixed/dir", 0777);
  MakeFile("file", 0666);
  GiveTo("file", Owner());
}

// Something is mounted on "dir", and on "file".
void MountThere() {
  MakeUsual();
  if (mount("none", "dir", "tmpfs", 0, nullptr) != 0 ||
      mount("/dev/null", "file", nullptr, MS_BIND, nullptr) != 0) {
    throw std::runtime_error("mount");
  }
}
void UnmountThere() {
  umount2("dir", MNT_DETACH);
  umount2("file", MNT_DETACH);
}

TEST_F(Errnos, OfNewNames) {
  for (const char* taken : {"file", "dir", "link", "loop", "fifo", ".", "dir/.."}) {
    const std::string how = std::string("there is ") + taken;
    Both("mkdir", EEXIST, how, MakeUsual, [taken] { return mkdir(taken, 0755); });
    Both("mknod", EEXIST, how, MakeUsual, [taken] { return mknod(taken, S_IFREG | 0644, 0); });
    Both("symlink", EEXIST, how, MakeUsual, [taken] { return symlink("x", taken); });
    Both("link", EEXIST, how, MakeUsual, [taken] { return link("dir/inside", taken); });
  }
  For(Other(), "mkdir", EACCES, "closed to writers", MakeFixed,
      [] { return mkdir("fixed/x", 0755); });
  For(Other(), "mknod", EACCES, "closed to writers", MakeFixed,
      [] { return mknod("fixed/x", S_IFIFO | 0644, 0); });
  For(Other(), "symlink", EACCES, "closed to writers", MakeFixed,
      [] { return symlink("x", "fixed/x"); });
  For(Owner(), "link", EACCES, "closed to writers", MakeFixed,
      [] { return link("file", "fixed/x"); });

  const auto gone = [] {
    MakeDir("gone", 0777);
    MakeFile("file", 0666);
  };
  const auto enter = [] { return chdir("gone") == 0 && rmdir("../gone") == 0; };
  Both("mkdir", ENOENT, "in a removed directory", gone,
       [=] { return enter() ? mkdir("x", 0755) : 0; });
  Both("mknod", ENOENT, "in a removed directory", gone,
       [=] { return enter() ? mknod("x", S_IFREG | 0644, 0) : 0; });
  Both("symlink", ENOENT, "in a removed directory", gone,
       [=] { return enter() ? symlink("y", "x") : 0; });
  Both("link", ENOENT, "in a removed directory", gone,
       [=] { return enter() ? link("../file", "x") : 0; });

  Both(
      "mknod", EPERM, "a directory", [] {}, [] { return mknod("x", S_IFDIR | 0755, 0); });
  Both(
      "mknod", EINVAL, "no kind", [] {}, [] { return mknod("x", 0170000 | 0644, 0); });
  For(
      Other(), "mknod", EPERM, "a device, by a user", [] {},
      [] { return mknod("x", S_IFCHR | 0644, makedev(1, 3)); });

  Both(
      "symlink", ENOENT, "an empty target", [] {}, [] { return symlink("", "x"); });
  Both(
      "symlink", ENAMETOOLONG, "a long target", [] {},
      [] { return symlink(std::string(4096, 't').c_str(), "x"); });
  Both(
      "symlink", EFAULT, "no target", [] {}, [] { return symlink(Nowhere(), "x"); });
  Both(
      "symlink", ENOENT, "a slash at the end", [] {}, [] { return symlink("t", "x/"); });

  Both("link", EPERM, "of a directory", MakeUsual, [] { return link("dir", "x"); });
  Both("link", ENOENT, "of nothing", MakeUsual, [] { return link("missing", "x"); });
  Both("link", EXDEV, "from elsewhere", MakeUsual, [] { return link("/proc/version", "x"); });
  Both("link", EINVAL, "unknown flags", MakeUsual,
       [] { return linkat(AT_FDCWD, "file", AT_FDCWD, "x", 0x8000); });
  Both("link", ENOENT, "of a file that is gone", MakeUsual, [] {
    const UniqueFd file(open("file", O_RDWR | O_CLOEXEC));
    if (unlink("file") != 0) return 0;
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    return linkat(AT_FDCWD, path.c_str(), AT_FDCWD, "x", AT_SYMLINK_FOLLOW);
  });

  Documented("mkdir",
             {EACCES, EBADF, EDQUOT, EEXIST, EFAULT, EINVAL, ELOOP, EMLINK, ENAMETOOLONG, ENOENT,
              ENOSPC, ENOTDIR, EPERM, EROFS},
             {{EDQUOT, kQuota},
              {ENOSPC, "InodeLimit.AllHeldOpen"},
              {EROFS, kReadOnly},
              {EMLINK, kLimitless},
              {EINVAL, "every name is valid"},
              {EPERM, "directories can be made"}});
  Documented("mknod",
             {EACCES, EBADF, EDQUOT, EEXIST, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOSPC,
              ENOTDIR, EPERM, EROFS},
             {{EDQUOT, kQuota}, {ENOSPC, "InodeLimit.AllHeldOpen"}, {EROFS, kReadOnly}});
  Documented("symlink",
             {EACCES, EBADF, EDQUOT, EEXIST, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR,
              EPERM, EROFS},
             {{EDQUOT, kQuota},
              {ENOSPC, "InodeLimit.AllHeldOpen"},
              {EROFS, kReadOnly},
              {EPERM, "links can be made"}});
  Documented("link",
             {EACCES, EBADF, EDQUOT, EEXIST, EFAULT, EINVAL, ELOOP, EMLINK, ENAMETOOLONG, ENOENT,
              ENOSPC, ENOTDIR, EPERM, EROFS, EXDEV},
             {{EDQUOT, "names are not counted"},
              {ENOSPC, "names take no room"},
              {EMLINK, kLimitless},
              {EROFS, kReadOnly}});
  RunTable();
}

TEST_F(Errnos, OfRemovedNames) {
  Both("rmdir", ENOTEMPTY, "something inside", MakeUsual, [] { return rmdir("dir"); });
  Both("rmdir", ENOTEMPTY, "its parent", MakeUsual, [] { return rmdir("dir/.."); });
  Both("rmdir", EINVAL, "the directory itself", MakeUsual, [] { return rmdir("dir/."); });
  Both("rmdir", ENOTDIR, "a file", MakeUsual, [] { return rmdir("file"); });
  Both(
      "rmdir", ENOTDIR, "a link", [] { MakeDir("d"), MakeLink("d", "l"); },
      [] { return rmdir("l"); });
  For(
      Root(), "rmdir", EBUSY, "a mount point", MountThere, [] { return rmdir("dir"); },
      UnmountThere);
  For(Other(), "rmdir", EACCES, "closed to writers", MakeFixed, [] { return rmdir("fixed/dir"); });
  For(Other(), "rmdir", EPERM, "another's, sticky", MakeSticky,
      [] { return rmdir("shared/rootdir"); });

  Both("unlink", EISDIR, "a directory", MakeUsual, [] { return unlink("dir"); });
  Both("unlink", ENOTDIR, "a file with a slash", MakeUsual, [] { return unlink("file/"); });
  Both("unlink", EINVAL, "unknown flags", MakeUsual,
       [] { return unlinkat(AT_FDCWD, "file", 0x8000); });
  For(
      Root(), "unlink", EBUSY, "something is mounted on it", MountThere,
      [] { return unlink("file"); }, UnmountThere);
  For(Other(), "unlink", EACCES, "closed to writers", MakeFixed,
      [] { return unlink("fixed/inside"); });
  For(Other(), "unlink", EPERM, "another's, sticky", MakeSticky,
      [] { return unlink("shared/root"); });

  Documented("rmdir",
             {EACCES, EBUSY, EEXIST, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR,
              ENOTEMPTY, EPERM, EROFS},
             {{EEXIST, "ENOTEMPTY by another name"}, {EROFS, kReadOnly}});
  Documented("unlink",
             {EACCES, EBADF, EBUSY, EFAULT, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR,
              EPERM, EROFS},
             {{EROFS, kReadOnly}});
  RunTable();
}

TEST_F(Errnos, OfMovedNames) {
  const auto exchange = [](const char* from, const char* to, unsigned flags) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
  };
  const auto trees = [] {
    MakeUsual();
    MakeDir("dir/sub", 0777);
    MakeDir("empty", 0777);
    MakeFile("other", 0666);
  };
  Both("rename", EINVAL, "into itself", trees, [] { return rename("dir", "dir/sub/x"); });
  Both("rename", EISDIR, "a file over a directory", trees, [] { return rename("file", "empty"); });
  Both("rename", ENOTDIR, "a directory over a file", trees, [] { return rename("dir", "file"); });
  Both("rename", ENOTDIR, "a file with a slash", trees, [] { return rename("file/", "x"); });
  Both("rename", ENOTDIR, "a file to a name with a slash", trees,
       [] { return rename("file", "x/"); });
  Both("rename", ENOTEMPTY, "over something", trees, [] { return rename("empty", "dir"); });
  Both("rename", ENOTEMPTY, "over its parent", trees, [] { return rename("dir/sub", "dir"); });
  Both("rename", ENOENT, "nothing", trees, [] { return rename("missing", "x"); });
  Both("rename", EBUSY, "the working directory", trees, [] { return rename(".", "x"); });
  Both("rename", EBUSY, "to the parent", trees, [] { return rename("dir", "dir/.."); });
  Both("rename", EXDEV, "from elsewhere", trees, [] { return rename("/proc/version", "x"); });
  For(
      Root(), "rename", EBUSY, "a mount point", MountThere, [] { return rename("dir", "x"); },
      UnmountThere);
  For(
      Root(), "rename", EBUSY, "over a mount point", MountThere,
      [] { return rename("link", "file"); }, UnmountThere);
  For(Owner(), "rename", EACCES, "out of what is closed", MakeFixed,
      [] { return rename("fixed/inside", "x"); });
  For(Owner(), "rename", EACCES, "into what is closed", MakeFixed,
      [] { return rename("file", "fixed/x"); });
  For(
      Other(), "rename", EACCES, "a directory that is closed, to another one",
      [] {
        MakeDir("dir", 0755);
        MakeDir("to", 0777);
      },
      [] { return rename("dir", "to/dir"); });
  For(Other(), "rename", EPERM, "another's, sticky", MakeSticky,
      [] { return rename("shared/root", "x"); });
  For(Owner(), "rename", EPERM, "over another's, sticky", MakeSticky,
      [] { return rename("mine", "shared/root"); });

  Both("renameat2", EEXIST, "NOREPLACE", trees,
       [=] { return exchange("file", "other", RENAME_NOREPLACE); });
  Both("renameat2", EEXIST, "NOREPLACE, itself", trees,
       [=] { return exchange("file", "file", RENAME_NOREPLACE); });
  Both("renameat2", ENOENT, "EXCHANGE with nothing", trees,
       [=] { return exchange("file", "x", RENAME_EXCHANGE); });
  Both("renameat2", EINVAL, "EXCHANGE with what is inside", trees,
       [=] { return exchange("dir", "dir/sub", RENAME_EXCHANGE); });
  Both("renameat2", EINVAL, "EXCHANGE with what it is inside of", trees,
       [=] { return exchange("dir/sub", "dir", RENAME_EXCHANGE); });
  for (const unsigned flags : {0u + RENAME_NOREPLACE + RENAME_EXCHANGE,
                               0u + RENAME_WHITEOUT + RENAME_EXCHANGE, 8u, 1u << 31}) {
    Both("renameat2", EINVAL, "flags " + std::to_string(flags), trees,
         [=] { return exchange("file", "other", flags); });
  }
  For(Owner(), "renameat2", EPERM, "EXCHANGE with another's, sticky", MakeSticky,
      [=] { return exchange("mine", "shared/root", RENAME_EXCHANGE); });

  Documented("rename",
             {EACCES, EBADF, EBUSY, EDQUOT, EFAULT, EINVAL, EISDIR, ELOOP, EMLINK, ENAMETOOLONG,
              ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, EROFS, EXDEV},
             {{EDQUOT, "names are not counted"},
              {ENOSPC, "names take no room"},
              {EMLINK, kLimitless},
              {EROFS, kReadOnly}});
  Documented("renameat2", {EEXIST, EINVAL, ENOENT, EPERM});
  RunTable();
}

}  // namespace
}  // namespace airstore::posix
