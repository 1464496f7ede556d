// SPDX-License-Identifier: Apache-2.0
//
// What a read-only mount says: of every call that would change something, to everybody.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

TEST_F(Errnos, OfAReadOnlyMount) {
  const std::string local_view = host().Path("local-view");
  ASSERT_EQ(mkdir(local_view.c_str(), 0755), 0);
  ASSERT_EQ(::mount(local().c_str(), local_view.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(
      ::mount(nullptr, local_view.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
  ActIn(host().Mount("work", "view", {"--read-only"}), local_view);

  static const timespec kTimes[2] = {{1, 0}, {2, 0}};
  const auto make = [] {
    MakeUsual();
    if (setxattr("file", "user.there", "v", 1, 0) != 0) throw std::runtime_error("setxattr");
  };
  const auto opens = [](const char* path, int flags) {
    return [=] { return Outcome(UniqueFd(open(path, flags | O_CLOEXEC, 0644)) ? 0 : errno); };
  };
  const std::vector<std::pair<std::string, std::function<Outcome()>>> calls{
      {"open", opens("file", O_WRONLY)},
      {"open", opens("file", O_RDWR)},
      {"open", opens("file", O_RDONLY | O_TRUNC)},
      {"open", opens("new", O_RDWR | O_CREAT)},
      {"open", opens("new", O_RDWR | O_CREAT | O_EXCL)},
      {"O_TMPFILE", opens("dir", O_TMPFILE | O_RDWR)},
      {"mkdir", [] { return Result(mkdir("new", 0755)); }},
      {"mknod", [] { return Result(mknod("new", S_IFREG | 0644, 0)); }},
      {"mknod", [] { return Result(mkfifo("new", 0644)); }},
      {"rmdir", [] { return Result(rmdir("dir")); }},
      {"unlink", [] { return Result(unlink("file")); }},
      {"symlink", [] { return Result(symlink("target", "new")); }},
      {"link", [] { return Result(link("file", "new")); }},
      {"rename", [] { return Result(rename("file", "new")); }},
      {"renameat2",
       [] { return Result(renameat2(AT_FDCWD, "file", AT_FDCWD, "link", RENAME_EXCHANGE)); }},
      {"truncate", [] { return Result(truncate("file", 0)); }},
      {"chmod", [] { return Result(chmod("file", 0600)); }},
      {"chmod",
       [] {
         const UniqueFd fd(open("file", O_RDONLY | O_CLOEXEC));
         return Result(fchmod(fd.get(), 0600));
       }},
      {"chown", [] { return Result(chown("file", -1u, getgid())); }},
      {"chown", [] { return Result(lchown("link", -1u, getgid())); }},
      {"utimensat", [] { return Result(utimensat(AT_FDCWD, "file", kTimes, 0)); }},
      {"utimensat",
       [] { return Result(utimensat(AT_FDCWD, "link", kTimes, AT_SYMLINK_NOFOLLOW)); }},
      {"access", [] { return Result(access("file", W_OK)); }},
      {"access", [] { return Result(access("dir", W_OK)); }},
      {"setxattr", [] { return Result(setxattr("file", "user.a", "v", 1, 0)); }},
      {"setxattr", [] { return Result(setxattr("dir", "user.a", "v", 1, 0)); }},
      {"removexattr", [] { return Result(removexattr("file", "user.there")); }},
  };
  for (const auto& [call, run] : calls) {
    Both(call, EROFS, "read-only", make, run);
    Documented(call, {EROFS});
  }
  RunTable();
  ASSERT_EQ(umount2(local_view.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace airstore::posix
