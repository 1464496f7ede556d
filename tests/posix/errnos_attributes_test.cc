// SPDX-License-Identifier: Apache-2.0
//
// The errors of asking for and changing attributes, extended ones included.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

constexpr const char* kReadOnly = "Errnos.OfAReadOnlyMount";

// A file that everybody may write and only its owner change.
void MakeOwned() {
  MakeFile("theirs", 0666);
  GiveTo("theirs", Owner());
  MakeFile("secret", 0600);
  MakeFile("plain", 0644);
}

int Chmod2(const char* path, int flags) {
  constexpr long kFchmodat2 = 452;
  return static_cast<int>(syscall(kFchmodat2, AT_FDCWD, path, 0600, flags));
}

TEST_F(Errnos, OfAttributes) {
  For(Other(), "chmod", EPERM, "another's", MakeOwned, [] { return chmod("theirs", 0600); });
  For(Other(), "chmod", EPERM, "another's descriptor", MakeOwned, [] {
    const UniqueFd fd(open("theirs", O_RDWR | O_CLOEXEC));
    return fchmod(fd.get(), 0600);
  });
  Both("chmod", EBADF, "of nothing", MakeUsual, [] { return fchmod(kNoDescriptor, 0600); });
  Both("chmod", EBADF, "of a path", MakeUsual, [] {
    const UniqueFd fd(open("file", O_PATH | O_CLOEXEC));
    return fchmod(fd.get(), 0600);
  });
  Both("chmod", EINVAL, "unknown flags", MakeUsual, [] { return Chmod2("file", 0x8000); });
  Both("chmod", ENOTSUP, "of a link", MakeUsual,
       [] { return Chmod2("link", AT_SYMLINK_NOFOLLOW); });
  Documented(
      "chmod",
      {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTSUP, EPERM, EROFS},
      {{EROFS, kReadOnly}});

  For(Owner(), "chown", EPERM, "to another", MakeOwned,
      [] { return chown("theirs", kOther, -1u); });
  For(Owner(), "chown", EPERM, "to another's group", MakeOwned,
      [] { return chown("theirs", -1u, kOtherGroup); });
  For(Other(), "chown", EPERM, "another's", MakeOwned, [] { return chown("theirs", kOther, -1u); });
  For(Other(), "chown", EPERM, "another's, as it is", MakeOwned,
      [] { return chown("theirs", kOwner, kGroup); });
  For(Other(), "chown", EPERM, "another's descriptor", MakeOwned, [] {
    const UniqueFd fd(open("theirs", O_RDWR | O_CLOEXEC));
    return fchown(fd.get(), kOther, kOtherGroup);
  });
  Both("chown", EBADF, "of nothing", MakeUsual, [] { return fchown(kNoDescriptor, -1u, -1u); });
  Both("chown", EINVAL, "unknown flags", MakeUsual,
       [] { return fchownat(AT_FDCWD, "file", -1u, -1u, 0x8000); });
  Documented("chown",
             {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, EROFS},
             {{EROFS, kReadOnly}});

  static const timespec kSet[2] = {{1, 0}, {2, 0}};
  static const timespec kWrong[2] = {{1, 1'000'000'000}, {2, 0}};
  static const timespec kHalf[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  For(Other(), "utimensat", EACCES, "to now, another's that may not be written", MakeOwned,
      [] { return utimensat(AT_FDCWD, "plain", nullptr, 0); });
  For(Other(), "utimensat", EPERM, "to a time, another's that may be written", MakeOwned,
      [] { return utimensat(AT_FDCWD, "theirs", kSet, 0); });
  For(Other(), "utimensat", EPERM, "one of both to now", MakeOwned,
      [] { return utimensat(AT_FDCWD, "theirs", kHalf, 0); });
  Both("utimensat", EINVAL, "no time", MakeUsual,
       [] { return utimensat(AT_FDCWD, "file", kWrong, 0); });
  Both("utimensat", EINVAL, "unknown flags", MakeUsual,
       [] { return utimensat(AT_FDCWD, "file", kSet, 0x8000); });
  Both("utimensat", EBADF, "of nothing", MakeUsual, [] { return futimens(kNoDescriptor, kSet); });
  Documented(
      "utimensat",
      {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, EROFS, ESRCH},
      {{EROFS, kReadOnly}, {ESRCH, "files in /proc"}});
  RunTable();
}

TEST_F(Errnos, OfQuestions) {
  for (const int mode : {R_OK, W_OK, X_OK}) {
    For(Other(), "access", EACCES, "mode " + std::to_string(mode), MakeOwned,
        [mode] { return access("secret", mode); });
  }
  Both("access", EACCES, "to execute what nobody may", MakeUsual,
       [] { return access("file", X_OK); });
  Both("access", EINVAL, "no mode", MakeUsual,
       [] { return syscall(SYS_faccessat2, AT_FDCWD, "file", 8, 0); });
  Both("access", EINVAL, "unknown flags", MakeUsual,
       [] { return syscall(SYS_faccessat2, AT_FDCWD, "file", R_OK, 0x8000); });
  Documented(
      "access",
      {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, EROFS, ETXTBSY},
      {{EROFS, kReadOnly},
       {EPERM, "immutable files: no such flag here"},
       {ETXTBSY, "of old kernels"}});
  Both("stat", EBADF, "of nothing", MakeUsual, [] {
    struct stat info {};
    return fstat(kNoDescriptor, &info);
  });
  Both("stat", EINVAL, "unknown flags", MakeUsual, [] {
    struct stat info {};
    return fstatat(AT_FDCWD, "file", &info, 0x8000);
  });
  Both("stat", EFAULT, "to nowhere", MakeUsual,
       [] { return syscall(SYS_newfstatat, AT_FDCWD, "file", Nowhere(), 0); });
  Documented("stat",
             {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EOVERFLOW},
             {{EOVERFLOW, "of 32 bits"}});
  Both("statx", EINVAL, "a reserved bit", MakeUsual, [] {
    struct statx info {};
    return syscall(SYS_statx, AT_FDCWD, "file", 0, STATX__RESERVED, &info);
  });
  Both("statx", EINVAL, "unknown flags", MakeUsual, [] {
    struct statx info {};
    return syscall(SYS_statx, AT_FDCWD, "file", 0x8000, STATX_BASIC_STATS, &info);
  });
  Documented("statx", {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR});
  const auto read_link = [](const char* path, long size) {
    char target[100];
    return syscall(SYS_readlink, path, target, size);
  };
  for (const char* path : {"file", "dir", "fifo"}) {
    Both("readlink", EINVAL, std::string("of ") + path, MakeUsual,
         [=] { return read_link(path, 100); });
  }
  Both("readlink", EINVAL, "into nothing", MakeUsual, [=] { return read_link("link", 0); });
  Documented("readlink", {EACCES, EBADF, EFAULT, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR});
  Both("statfs", EBADF, "of nothing", MakeUsual, [] {
    struct statfs info {};
    return fstatfs(kNoDescriptor, &info);
  });
  Documented(
      "statfs",
      {EACCES, EBADF, EFAULT, EINTR, ELOOP, ENAMETOOLONG, ENOENT, ENOSYS, ENOTDIR, EOVERFLOW},
      {{EINTR, "nothing waits"}, {ENOSYS, "it is known"}, {EOVERFLOW, "of 32 bits"}});
  RunTable();
}

void MakeWithXattr() {
  MakeUsual();
  MakeOwned();
  for (const char* path : {"file", "dir", "theirs", "plain"}) {
    if (setxattr(path, "user.there", "value", 5, 0) != 0) throw std::runtime_error("setxattr");
  }
}

int Get(const char* path, const char* name, size_t size) {
  char value[16];
  return static_cast<int>(getxattr(path, name, value, size));
}

TEST_F(Errnos, OfExtendedAttributes) {
  const std::string long_name = "user." + std::string(251, 'n');
  static const std::string kLarge(XATTR_SIZE_MAX + 1, 'v');
  Both("setxattr", EEXIST, "a new one that is there", MakeWithXattr,
       [] { return setxattr("file", "user.there", "v", 1, XATTR_CREATE); });
  Both("setxattr", ENODATA, "an old one that is not there", MakeWithXattr,
       [] { return setxattr("file", "user.missing", "v", 1, XATTR_REPLACE); });
  Both("setxattr", EINVAL, "unknown flags", MakeWithXattr,
       [] { return setxattr("file", "user.a", "v", 1, 8); });
  Both("setxattr", E2BIG, "a value that is too large", MakeWithXattr,
       [] { return setxattr("file", "user.a", kLarge.data(), kLarge.size(), 0); });
  Both("setxattr", EBADF, "of nothing", MakeWithXattr,
       [] { return fsetxattr(kNoDescriptor, "user.a", "v", 1, 0); });
  Both("setxattr", EBADF, "of a path", MakeWithXattr, [] {
    const UniqueFd fd(open("file", O_PATH | O_CLOEXEC));
    return fsetxattr(fd.get(), "user.a", "v", 1, 0);
  });
  for (const char* name : {"user.", "plain", "nobody.a", "system.a", ".a"}) {
    Both("setxattr", std::string(name) == "user." ? EINVAL : ENOTSUP, name, MakeWithXattr,
         [name] { return setxattr("file", name, "v", 1, 0); });
  }
  Both("setxattr", ERANGE, "no name", MakeWithXattr,
       [] { return setxattr("file", "", "v", 1, 0); });
  Both("setxattr", ERANGE, "a long name", MakeWithXattr,
       [=] { return setxattr("file", long_name.c_str(), "v", 1, 0); });
  for (const char* path : {"link", "fifo"}) {
    Both("setxattr", EPERM, std::string("of users, of ") + path, MakeWithXattr,
         [path] { return lsetxattr(path, "user.a", "v", 1, 0); });
  }
  For(Other(), "setxattr", EPERM, "trusted, by a user", MakeWithXattr,
      [] { return setxattr("file", "trusted.a", "v", 1, 0); });
  For(Other(), "setxattr", EPERM, "security, by a user", MakeWithXattr,
      [] { return setxattr("file", "security.a", "v", 1, 0); });
  For(Other(), "setxattr", EACCES, "of what may not be written", MakeWithXattr,
      [] { return setxattr("plain", "user.a", "v", 1, 0); });
  For(Other(), "setxattr", EPERM, "another's access list", MakeWithXattr, [] {
    const char list[] = {2, 0, 0, 0};
    return setxattr("theirs", "system.posix_acl_access", list, sizeof list, 0);
  });
  Both("setxattr", EINVAL, "no access list", MakeWithXattr,
       [] { return setxattr("file", "system.posix_acl_access", "\2\0\0\0x", 5, 0); });
  Both("setxattr", ENOTSUP, "an access list of another version", MakeWithXattr,
       [] { return setxattr("file", "system.posix_acl_access", "\3\0\0\0", 4, 0); });
  Documented(
      "setxattr",
      {E2BIG, EDQUOT, EEXIST, ENODATA, ENOSPC, ENOTSUP, EPERM, ERANGE, EACCES, EBADF, EFAULT, ELOOP,
       ENAMETOOLONG, ENOENT, ENOTDIR, EROFS},
      {{EDQUOT, "not counted"}, {ENOSPC, "BasicsXattrs.HonoursFlagsAndSizes"}, {EROFS, kReadOnly}});

  Both("getxattr", ENODATA, "that is not there", MakeWithXattr,
       [=] { return Get("file", "user.missing", 16); });
  Both("getxattr", ENODATA, "an access list that is not there", MakeWithXattr,
       [=] { return Get("file", "system.posix_acl_access", 16); });
  Both("getxattr", ERANGE, "into too little", MakeWithXattr,
       [=] { return Get("file", "user.there", 2); });
  Both("getxattr", ERANGE, "a long name", MakeWithXattr,
       [=] { return Get("file", long_name.c_str(), 16); });
  Both("getxattr", ENOTSUP, "of nobody's", MakeWithXattr,
       [=] { return Get("file", "nobody.a", 16); });
  Both("getxattr", EFAULT, "into nowhere", MakeWithXattr, [] {
    return static_cast<int>(getxattr("file", "user.there", const_cast<char*>(Nowhere()), 16));
  });
  for (const char* name : {"user.", "trusted.", "security."}) {
    For(Root(), "getxattr", EINVAL, name, MakeWithXattr, [name] { return Get("file", name, 16); });
    For(Root(), "removexattr", EINVAL, name, MakeWithXattr,
        [name] { return removexattr("file", name); });
  }
  For(Other(), "getxattr", EACCES, "of what may not be read", MakeWithXattr,
      [=] { return Get("secret", "user.there", 16); });
  For(Other(), "getxattr", ENODATA, "trusted, by a user", MakeWithXattr,
      [=] { return Get("file", "trusted.a", 16); });
  Documented(
      "getxattr",
      {E2BIG, ENODATA, ENOTSUP, ERANGE, EACCES, EFAULT, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR},
      {{E2BIG, "no value is that large"}});

  Both("listxattr", ERANGE, "into too little", MakeWithXattr, [] {
    char names[4];
    return static_cast<int>(listxattr("file", names, sizeof names));
  });
  Both("listxattr", EBADF, "of nothing", MakeWithXattr,
       [] { return static_cast<int>(flistxattr(kNoDescriptor, nullptr, 0)); });
  Documented("listxattr", {E2BIG, ENOTSUP, ERANGE, EBADF},
             {{E2BIG, "ext4 keeps no list that long"}, {ENOTSUP, "it is supported"}});

  Both("removexattr", ENODATA, "that is not there", MakeWithXattr,
       [] { return removexattr("file", "user.missing"); });
  Both("removexattr", ENOTSUP, "of nobody's", MakeWithXattr,
       [] { return removexattr("file", "nobody.a"); });
  Both("removexattr", EPERM, "of users, of a FIFO", MakeWithXattr,
       [] { return removexattr("fifo", "user.a"); });
  For(Other(), "removexattr", EPERM, "trusted, by a user", MakeWithXattr,
      [] { return removexattr("file", "trusted.a"); });
  For(Other(), "removexattr", EACCES, "of what may not be written", MakeWithXattr,
      [] { return removexattr("plain", "user.there"); });
  Both("removexattr", EBADF, "of nothing", MakeWithXattr,
       [] { return fremovexattr(kNoDescriptor, "user.a"); });
  Documented("removexattr", {EACCES, EBADF, ENODATA, ENOTSUP, EPERM, EROFS}, {{EROFS, kReadOnly}});
  RunTable();
}

}  // namespace
}  // namespace airstore::posix
