// SPDX-License-Identifier: Apache-2.0
#include "tests/posix/calls.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace airstore::posix {
namespace {

void Must(long result, const std::string& what) {
  if (result != 0) throw std::runtime_error(what + ": " + strerror(errno));
}

// What an open gives is as good as its error; a FIFO without a partner would wait.
Outcome OpenAndClose(const char* path, int flags, mode_t mode = 0640) {
  const int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, mode);
  if (fd < 0) return Outcome(errno);
  return Result(close(fd));
}

Outcome Times(const char* path, int flags) {
  const timespec times[2] = {{1'000'000'000, 1}, {1'000'000'001, 2}};
  return Result(utimensat(AT_FDCWD, path, times, flags));
}

Outcome Bind(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address.sun_path) return {0};
  strcpy(address.sun_path, path);
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return Result(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
}

Outcome ReadLink(const char* path) {
  char target[8192];
  const ssize_t length = readlink(path, target, sizeof target);
  if (length < 0) return Outcome(errno);
  return {0, std::string(target, static_cast<size_t>(length))};
}

}  // namespace

const std::vector<PathCall>& PathCalls() {
  static const std::vector<PathCall> calls{
      {"open for reading", [](const char* p) { return OpenAndClose(p, O_RDONLY); }},
      {"open for writing", [](const char* p) { return OpenAndClose(p, O_WRONLY); }},
      {"open for both", [](const char* p) { return OpenAndClose(p, O_RDWR); }},
      {"open, truncating", [](const char* p) { return OpenAndClose(p, O_WRONLY | O_TRUNC); }},
      {"open to read, truncating",
       [](const char* p) { return OpenAndClose(p, O_RDONLY | O_TRUNC); }},
      {"open the path", [](const char* p) { return OpenAndClose(p, O_PATH); }},
      {"open a directory", [](const char* p) { return OpenAndClose(p, O_RDONLY | O_DIRECTORY); }},
      {"open no link", [](const char* p) { return OpenAndClose(p, O_RDONLY | O_NOFOLLOW); }},
      {"open or create", [](const char* p) { return OpenAndClose(p, O_RDWR | O_CREAT); }},
      {"create", [](const char* p) { return OpenAndClose(p, O_RDWR | O_CREAT | O_EXCL); }},
      {"create over", [](const char* p) { return OpenAndClose(p, O_WRONLY | O_CREAT | O_TRUNC); }},
      {"create no link",
       [](const char* p) { return OpenAndClose(p, O_WRONLY | O_CREAT | O_NOFOLLOW); }},
      {"mkdir", [](const char* p) { return Result(mkdir(p, 0750)); }},
      {"rmdir", [](const char* p) { return Result(rmdir(p)); }},
      {"unlink", [](const char* p) { return Result(unlink(p)); }},
      {"mkfifo", [](const char* p) { return Result(mkfifo(p, 0640)); }},
      {"mknod of a file", [](const char* p) { return Result(mknod(p, S_IFREG | 0640, 0)); }},
      {"mknod of a device",
       [](const char* p) { return Result(mknod(p, S_IFCHR | 0640, makedev(1, 3))); }},
      {"mknod of a directory", [](const char* p) { return Result(mknod(p, S_IFDIR | 0750, 0)); }},
      {"bind", Bind},
      {"symlink", [](const char* p) { return Result(symlink("somewhere", p)); }},
      {"link from", [](const char* p) { return Result(link(p, "target")); }},
      {"link from, following",
       [](const char* p) {
         return Result(linkat(AT_FDCWD, p, AT_FDCWD, "target", AT_SYMLINK_FOLLOW));
       }},
      {"link to", [](const char* p) { return Result(link("source", p)); }},
      {"rename from", [](const char* p) { return Result(rename(p, "target")); }},
      {"rename to", [](const char* p) { return Result(rename("source", p)); }},
      {"rename to, replacing nothing",
       [](const char* p) {
         return Result(renameat2(AT_FDCWD, "source", AT_FDCWD, p, RENAME_NOREPLACE));
       }},
      {"chmod", [](const char* p) { return Result(chmod(p, 0610)); }},
      {"chown", [](const char* p) { return Result(chown(p, kOther, kOtherGroup)); }},
      {"chown to nobody else", [](const char* p) { return Result(chown(p, -1u, -1u)); }},
      {"lchown", [](const char* p) { return Result(lchown(p, kOther, kOtherGroup)); }},
      {"truncate", [](const char* p) { return Result(truncate(p, 3)); }},
      {"utimensat", [](const char* p) { return Times(p, 0); }},
      {"utimensat of a link", [](const char* p) { return Times(p, AT_SYMLINK_NOFOLLOW); }},
      {"utimensat to now",
       [](const char* p) { return Result(utimensat(AT_FDCWD, p, nullptr, 0)); }},
      {"stat",
       [](const char* p) {
         struct stat info {};
         return Result(stat(p, &info));
       }},
      {"lstat",
       [](const char* p) {
         struct stat info {};
         return Result(lstat(p, &info));
       }},
      {"statvfs",
       [](const char* p) {
         struct statvfs info {};
         return Result(statvfs(p, &info));
       }},
      {"readlink", ReadLink},
      {"access", [](const char* p) { return Result(access(p, F_OK)); }},
      {"access to read", [](const char* p) { return Result(access(p, R_OK)); }},
      {"access to write", [](const char* p) { return Result(access(p, W_OK)); }},
      {"access to execute", [](const char* p) { return Result(access(p, X_OK)); }},
      {"chdir", [](const char* p) { return Result(chdir(p)); }},
  };
  return calls;
}

const std::vector<Kind>& Kinds() {
  static const std::vector<Kind> kinds{
      {"nothing", [](const std::string&, mode_t) {}},
      {"file", [](const std::string& p, mode_t mode) { MakeFile(p, mode); }},
      {"empty file", [](const std::string& p, mode_t mode) { MakeFile(p, mode, ""); }},
      {"file of two names",
       [](const std::string& p, mode_t mode) {
         MakeFile(p, mode);
         Must(link(p.c_str(), (p + ".second").c_str()), "link " + p);
       }},
      {"directory", [](const std::string& p, mode_t mode) { MakeDir(p, mode); }, true},
      {"full directory",
       [](const std::string& p, mode_t mode) {
         MakeDir(p, 0755);
         MakeFile(p + "/inside");
         Must(chmod(p.c_str(), mode), "chmod " + p);
       },
       true},
      {"link to a file",
       [](const std::string& p, mode_t mode) {
         MakeFile(p + ".file", mode);
         MakeLink(p.substr(p.rfind('/') + 1) + ".file", p);
       }},
      {"link to a directory",
       [](const std::string& p, mode_t mode) {
         MakeDir(p + ".dir", mode);
         MakeLink(p.substr(p.rfind('/') + 1) + ".dir", p);
       }},
      {"link to nothing", [](const std::string& p, mode_t) { MakeLink("nothing", p); }},
      {"link to itself",
       [](const std::string& p, mode_t) { MakeLink(p.substr(p.rfind('/') + 1), p); }},
      {"FIFO",
       [](const std::string& p, mode_t mode) {
         Must(mknod(p.c_str(), S_IFIFO | 0600, 0), "mkfifo " + p);
         Must(chmod(p.c_str(), mode), "chmod " + p);
       }},
      {"socket",
       [](const std::string& p, mode_t mode) {
         Must(mknod(p.c_str(), S_IFSOCK | 0600, 0), "mknod " + p);
         Must(chmod(p.c_str(), mode), "chmod " + p);
       }},
  };
  return kinds;
}

const Kind& KindOf(const std::string& name) {
  for (const Kind& kind : Kinds()) {
    if (kind.name == name) return kind;
  }
  throw std::runtime_error("no kind " + name);
}

void MakeFile(const std::string& path, mode_t mode, const std::string& content) {
  e2e::WriteFile(path, content);
  Must(chmod(path.c_str(), mode), "chmod " + path);
}

void MakeDir(const std::string& path, mode_t mode) {
  Must(mkdir(path.c_str(), 0700), "mkdir " + path);
  Must(chmod(path.c_str(), mode), "chmod " + path);
}

void MakeLink(const std::string& target, const std::string& path) {
  Must(symlink(target.c_str(), path.c_str()), "symlink " + path);
}

void GiveTo(const std::string& path, uid_t uid, gid_t gid) {
  struct stat info = e2e::Stat(path);
  Must(lchown(path.c_str(), uid, gid), "lchown " + path);
  if (!S_ISLNK(info.st_mode)) Must(chmod(path.c_str(), info.st_mode & 07777), "chmod " + path);
}

void GiveTo(const std::string& path, const Caller& caller) { GiveTo(path, caller.uid, caller.gid); }

void SetOldTimes(const std::string& path) {
  const timespec times[2] = {{900'000'000, 9}, {800'000'000, 8}};
  Must(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat " + path);
}

}  // namespace airstore::posix
