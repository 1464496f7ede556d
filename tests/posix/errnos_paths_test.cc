// SPDX-License-Identifier: Apache-2.0
//
// The errors that a path may lead to, of every call that takes one.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/errnos.h"

namespace airstore::posix {
namespace {

int OpenAt2(int dir, const char* path) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  return static_cast<int>(syscall(SYS_openat2, dir, path, &how, sizeof how));
}

// Descriptors that come of it are closed.
Outcome Closed(int fd) { return fd < 0 ? Outcome(errno) : Result(close(fd)); }

Outcome Watch(const char* path) {
  const UniqueFd inotify(inotify_init1(IN_CLOEXEC));
  return {e2e::ErrnoOf(inotify_add_watch(inotify.get(), path, IN_MODIFY))};
}

}  // namespace

const std::vector<AtCall>& AtCalls() {
  static const std::vector<AtCall> calls{
      {"open",
       [](int d, const char* p) {
         return Closed(openat(d, p, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
       }},
      {"creat",
       [](int d, const char* p) {
         return Closed(openat(d, p, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644));
       }},
      {"openat2", [](int d, const char* p) { return Closed(OpenAt2(d, p)); }},
      {"O_PATH", [](int d, const char* p) { return Closed(openat(d, p, O_PATH | O_CLOEXEC)); }},
      {"O_TMPFILE",
       [](int d, const char* p) {
         return Closed(openat(d, p, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
       }},
      {"opendir",
       [](int d, const char* p) {
         return Closed(openat(d, p, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
       }},
      {"mkdir", [](int d, const char* p) { return Result(mkdirat(d, p, 0755)); }},
      {"mknod", [](int d, const char* p) { return Result(mknodat(d, p, S_IFIFO | 0644, 0)); }},
      {"rmdir", [](int d, const char* p) { return Result(unlinkat(d, p, AT_REMOVEDIR)); }},
      {"unlink", [](int d, const char* p) { return Result(unlinkat(d, p, 0)); }},
      {"symlink", [](int d, const char* p) { return Result(symlinkat("target", d, p)); }},
      {"link",
       [](int d, const char* p) {
         return Result(linkat(d, p, AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
       }},
      {"link to", [](int d, const char* p) { return Result(linkat(AT_FDCWD, "file", d, p, 0)); }},
      {"rename", [](int d, const char* p) { return Result(renameat(d, p, AT_FDCWD, "new")); }},
      {"rename to", [](int d, const char* p) { return Result(renameat(AT_FDCWD, "file", d, p)); }},
      {"renameat2",
       [](int d, const char* p) {
         return Result(renameat2(AT_FDCWD, "file", d, p, RENAME_EXCHANGE));
       }},
      {"chmod", [](int d, const char* p) { return Result(fchmodat(d, p, 0600, 0)); }},
      {"chown", [](int d, const char* p) { return Result(fchownat(d, p, getuid(), getgid(), 0)); }},
      {"utimensat", [](int d, const char* p) { return Result(utimensat(d, p, nullptr, 0)); }},
      {"access",
       [](int d, const char* p) { return Result(syscall(SYS_faccessat2, d, p, R_OK, 0)); }},
      {"stat",
       [](int d, const char* p) {
         struct stat info {};
         return Result(syscall(SYS_newfstatat, d, p, &info, 0));
       }},
      {"statx",
       [](int d, const char* p) {
         struct statx info {};
         return Result(syscall(SYS_statx, d, p, 0, STATX_BASIC_STATS, &info));
       }},
      {"readlink",
       [](int d, const char* p) {
         char target[100];
         return Outcome(e2e::ErrnoOf(readlinkat(d, p, target, sizeof target)));
       }},
      {"name_to_handle_at",
       [](int d, const char* p) {
         // Room for none: what a file system says of one is another matter.
         file_handle handle{};
         int mount = 0;
         return Result(name_to_handle_at(d, p, &handle, &mount, 0));
       }},
      {"truncate", [](int, const char* p) { return Result(truncate(p, 3)); }, false},
      {"statfs",
       [](int, const char* p) {
         struct statfs info {};
         return Result(statfs(p, &info));
       },
       false},
      {"chdir", [](int, const char* p) { return Result(chdir(p)); }, false},
      {"setxattr", [](int, const char* p) { return Result(setxattr(p, "user.a", "v", 1, 0)); },
       false},
      {"getxattr",
       [](int, const char* p) { return Outcome(e2e::ErrnoOf(getxattr(p, "user.a", nullptr, 0))); },
       false},
      {"listxattr",
       [](int, const char* p) { return Outcome(e2e::ErrnoOf(listxattr(p, nullptr, 0))); }, false},
      {"removexattr", [](int, const char* p) { return Result(removexattr(p, "user.a")); }, false},
      {"inotify_add_watch", [](int, const char* p) { return Watch(p); }, false},
      {"chroot", [](int, const char* p) { return Result(chroot(p)); }, false},
      {"execve",
       [](int, const char* p) {
         char* const none[] = {nullptr};
         return Result(syscall(SYS_execve, p, none, none));
       },
       false},
  };
  return calls;
}

namespace {

// What only looks at the last name does not follow it.
bool LooksAtTheNameOnly(const std::string& call) {
  static const std::set<std::string> calls{
      "mkdir",  "mknod",     "rmdir",     "unlink",   "symlink",          "link to",
      "rename", "rename to", "renameat2", "readlink", "name_to_handle_at"};
  return calls.contains(call);
}

TEST_F(Errnos, OfPaths) {
  const std::string name(256, 'n');
  const auto file = [] { MakeFile("file", 0666); };
  const auto fifo = [file] {
    file();
    KindOf("FIFO").make("fifo", 0666);
  };
  const auto link = [file] {
    file();
    MakeLink("loop", "loop");
  };
  const auto closed = [file] {
    file();
    MakeDir("closed", 0700);
    MakeFile("closed/inside", 0666);
  };
  for (const AtCall& call : AtCalls()) {
    const auto on = [&call](const std::string& path) {
      return [&call, path] { return call.run(AT_FDCWD, path.c_str()); };
    };
    const std::string loop = LooksAtTheNameOnly(call.name) ? "loop/x" : "loop";
    Both(call.name, EFAULT, "no address", file, [&call] { return call.run(AT_FDCWD, Nowhere()); });
    Both(call.name, ENOENT, "the empty path", file, on(""));
    Both(call.name, ENOENT, "below nothing", file, on("missing/x"));
    Both(call.name, ENOTDIR, "below a file", file, on("file/x"));
    Both(call.name, ENOTDIR, "below a FIFO", fifo, on("fifo/x"));
    Both(call.name, ELOOP, "a link to itself", link, on(loop));
    Both(call.name, ENAMETOOLONG, "a long name", file, on(name));
    Both(call.name, ENAMETOOLONG, "below a long name", file, on(name + "/x"));
    Both(call.name, ENAMETOOLONG, "a long path", file, on(std::string(4096, '/')));
    For(Other(), call.name, EACCES, "below a closed directory", closed, on("closed/inside"));
    if (!call.at) continue;
    Both(call.name, EBADF, "below no descriptor", file, [&call] { return call.run(1000, "file"); });
    Both(call.name, ENOTDIR, "below a file's descriptor", file, [&call] {
      const UniqueFd fd(open("file", O_RDONLY | O_CLOEXEC));
      return call.run(fd.get(), "x");
    });
  }
  for (const AtCall& call : AtCalls()) Documented(call.name, {});
  RunTable();
}

}  // namespace
}  // namespace airstore::posix
