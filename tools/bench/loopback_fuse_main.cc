// SPDX-License-Identifier: Apache-2.0
//
// airstore-loopback-fuse DIRECTORY MOUNTPOINT: shows DIRECTORY through FUSE the plain way (one
// O_PATH descriptor per known inode, one system call per request, data copied through a user
// buffer). It is what an ordinary daemon costs with the settings of ours. Threads: handlers run on
// libfuse's workers; only the inode table is shared and locked. Runs in the foreground.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "shm/base/fd.h"
#include "tools/bench/fuse_server.h"
#include "tools/bench/path_table.h"

namespace airstore::bench {
namespace {

using Node = PathTable::Node;

PathTable& PathsOf(fuse_req_t req) { return *static_cast<PathTable*>(fuse_req_userdata(req)); }

Node* NodeOf(fuse_req_t req, fuse_ino_t ino) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): libfuse carries our pointer as a number
  return ino == FUSE_ROOT_ID ? PathsOf(req).root() : reinterpret_cast<Node*>(ino);
}

std::string PathOf(fuse_req_t req, fuse_ino_t ino) { return PathsOf(req).PathOf(NodeOf(req, ino)); }

std::string PathOf(fuse_req_t req, fuse_ino_t parent, const char* name) {
  return PathsOf(req).PathOf(NodeOf(req, parent), name);
}

int FdOf(const fuse_file_info* file) { return static_cast<int>(file->fh); }

// NOLINTNEXTLINE(performance-no-int-to-ptr): libfuse carries our pointer as a number
DIR* DirOf(const fuse_file_info* file) { return reinterpret_cast<DIR*>(file->fh); }

void ReplyStatus(fuse_req_t req, int rc) { fuse_reply_err(req, rc == 0 ? 0 : errno); }

// Looks a name up and takes one reference. 0 or an errno.
int TakeEntry(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_entry_param* entry) {
  *entry = {};
  entry->attr_timeout = entry->entry_timeout = kFuseTimeoutSeconds;
  if (lstat(PathOf(req, parent, name).c_str(), &entry->attr) != 0) return errno;
  entry->ino = reinterpret_cast<fuse_ino_t>(PathsOf(req).Take(NodeOf(req, parent), name));
  return 0;
}

void ForgetOne(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  if (ino != FUSE_ROOT_ID) PathsOf(req).Forget(NodeOf(req, ino), count);
}

void ReplyEntry(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_entry_param entry;
  const int error = TakeEntry(req, parent, name, &entry);
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_entry(req, &entry);
  }
}

void Init(void* /*userdata*/, fuse_conn_info* connection) { ApplyFuseSettings(connection); }

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_entry_param entry;
  const int error = TakeEntry(req, parent, name, &entry);
  if (error != 0 && error != ENOENT) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_entry(req, &entry);  // ino 0: a cached negative entry
  }
}

void Forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  ForgetOne(req, ino, count);
  fuse_reply_none(req);
}

void ForgetMulti(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) ForgetOne(req, forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}

// By the open file if there is one: its name may be gone.
void GetAttr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  struct stat attributes;
  const int rc = file != nullptr ? fstat(FdOf(file), &attributes)
                                 : lstat(PathOf(req, ino).c_str(), &attributes);
  if (rc != 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_attr(req, &attributes, kFuseTimeoutSeconds);
  }
}

timespec TimeToSet(int what, int set, int set_now, const timespec& time) {
  if (what & set_now) return {0, UTIME_NOW};
  return what & set ? time : timespec{0, UTIME_OMIT};
}

int Change(const std::string& path, const struct stat& wanted, int what, fuse_file_info* file) {
  if ((what & FUSE_SET_ATTR_MODE) && chmod(path.c_str(), wanted.st_mode) != 0) return -1;
  if (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
    const uid_t uid = what & FUSE_SET_ATTR_UID ? wanted.st_uid : static_cast<uid_t>(-1);
    const gid_t gid = what & FUSE_SET_ATTR_GID ? wanted.st_gid : static_cast<gid_t>(-1);
    if (lchown(path.c_str(), uid, gid) != 0) return -1;
  }
  if (what & FUSE_SET_ATTR_SIZE) {
    const int rc = file != nullptr ? ftruncate(FdOf(file), wanted.st_size)
                                   : truncate(path.c_str(), wanted.st_size);
    if (rc != 0) return -1;
  }
  const timespec times[2] = {
      TimeToSet(what, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, wanted.st_atim),
      TimeToSet(what, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, wanted.st_mtim)};
  if (times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT) return 0;
  return utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
}

void SetAttr(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int what, fuse_file_info* file) {
  if (Change(PathOf(req, ino), *wanted, what, file) != 0) {
    fuse_reply_err(req, errno);
  } else {
    GetAttr(req, ino, file);
  }
}

void ReadLink(fuse_req_t req, fuse_ino_t ino) {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = readlink(PathOf(req, ino).c_str(), target.data(), target.size() - 1);
  if (size < 0) {
    fuse_reply_err(req, errno);
  } else {
    target.resize(static_cast<size_t>(size));
    fuse_reply_readlink(req, target.c_str());
  }
}

void MakeDirectory(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  if (mkdir(PathOf(req, parent, name).c_str(), mode) != 0) {
    fuse_reply_err(req, errno);
  } else {
    ReplyEntry(req, parent, name);
  }
}

void Symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  if (symlink(target, PathOf(req, parent, name).c_str()) != 0) {
    fuse_reply_err(req, errno);
  } else {
    ReplyEntry(req, parent, name);
  }
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const int rc = unlink(PathOf(req, parent, name).c_str());
  if (rc == 0) PathsOf(req).Removed(NodeOf(req, parent), name);
  ReplyStatus(req, rc);
}

void RemoveDirectory(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const int rc = rmdir(PathOf(req, parent, name).c_str());
  if (rc == 0) PathsOf(req).Removed(NodeOf(req, parent), name);
  ReplyStatus(req, rc);
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  if ((flags & RENAME_EXCHANGE) != 0) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  const std::string from = PathOf(req, parent, name);
  const std::string to = PathOf(req, new_parent, new_name);
  const int rc = renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags);
  if (rc == 0) {
    PathsOf(req).Renamed(NodeOf(req, parent), name, NodeOf(req, new_parent), new_name);
  }
  ReplyStatus(req, rc);
}

// Appending is the kernel's work above us.
int OpenFlags(const fuse_file_info* file) {
  return (file->flags & ~(O_APPEND | O_CREAT | O_EXCL)) | O_CLOEXEC;
}

void Open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  const int fd = open(PathOf(req, ino).c_str(), OpenFlags(file));
  if (fd < 0) {
    fuse_reply_err(req, errno);
    return;
  }
  file->fh = static_cast<uint64_t>(fd);
  KeepFileCache(file);
  fuse_reply_open(req, file);
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* file) {
  UniqueFd fd(open(PathOf(req, parent, name).c_str(),
                   OpenFlags(file) | O_CREAT | (file->flags & O_EXCL), mode));
  fuse_entry_param entry;
  const int error = fd ? TakeEntry(req, parent, name, &entry) : errno;
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  file->fh = static_cast<uint64_t>(fd.release());
  KeepFileCache(file);
  fuse_reply_create(req, &entry, file);
}

void Read(fuse_req_t req, fuse_ino_t /*ino*/, size_t size, off_t offset, fuse_file_info* file) {
  thread_local std::vector<char> buffer;
  if (buffer.size() < size) buffer.resize(size);
  const ssize_t got = pread(FdOf(file), buffer.data(), size, offset);
  if (got < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_buf(req, buffer.data(), static_cast<size_t>(got));
  }
}

void Write(fuse_req_t req, fuse_ino_t /*ino*/, const char* data, size_t size, off_t offset,
           fuse_file_info* file) {
  const ssize_t put = pwrite(FdOf(file), data, size, offset);
  if (put < 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_write(req, static_cast<size_t>(put));
  }
}

void Flush(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* /*file*/) { fuse_reply_err(req, 0); }

void Release(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* file) {
  ReplyStatus(req, close(FdOf(file)));
}

void Fsync(fuse_req_t req, fuse_ino_t /*ino*/, int data_only, fuse_file_info* file) {
  ReplyStatus(req, data_only ? fdatasync(FdOf(file)) : fsync(FdOf(file)));
}

void OpenDirectory(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  DIR* directory = opendir(PathOf(req, ino).c_str());
  if (directory == nullptr) {
    fuse_reply_err(req, errno);
    return;
  }
  file->fh = reinterpret_cast<uint64_t>(directory);
  KeepDirectoryCache(file);
  fuse_reply_open(req, file);
}

void ListDirectory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* file,
                   bool plus) {
  DIR* directory = DirOf(file);
  seekdir(directory, offset);
  std::vector<char> buffer(size);
  size_t used = 0;
  while (const dirent* found = readdir(directory)) {
    char* at = buffer.data() + used;
    const size_t room = size - used;
    fuse_entry_param entry{};
    entry.attr.st_ino = found->d_ino;
    entry.attr.st_mode = DTTOIF(found->d_type);
    const bool is_dots = strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0;
    size_t need = 0;
    if (plus) {
      if (!is_dots && TakeEntry(req, ino, found->d_name, &entry) != 0) continue;
      need = fuse_add_direntry_plus(req, at, room, found->d_name, &entry, found->d_off);
    } else {
      need = fuse_add_direntry(req, at, room, found->d_name, &entry.attr, found->d_off);
    }
    if (need > room) {
      if (plus && !is_dots) ForgetOne(req, entry.ino, 1);
      break;
    }
    used += need;
  }
  fuse_reply_buf(req, buffer.data(), used);
}

void ReadDirectory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   fuse_file_info* file) {
  ListDirectory(req, ino, size, offset, file, false);
}

void ReadDirectoryPlus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       fuse_file_info* file) {
  ListDirectory(req, ino, size, offset, file, true);
}

void ReleaseDirectory(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* file) {
  ReplyStatus(req, closedir(DirOf(file)));
}

void StatFs(fuse_req_t req, fuse_ino_t ino) {
  struct statvfs stats {};
  if (statvfs(PathOf(req, ino).c_str(), &stats) != 0) {
    fuse_reply_err(req, errno);
  } else {
    fuse_reply_statfs(req, &stats);
  }
}

fuse_lowlevel_ops Operations() {
  fuse_lowlevel_ops ops{};
  ops.init = Init;
  ops.lookup = Lookup;
  ops.forget = Forget;
  ops.forget_multi = ForgetMulti;
  ops.getattr = GetAttr;
  ops.setattr = SetAttr;
  ops.readlink = ReadLink;
  ops.mkdir = MakeDirectory;
  ops.unlink = Unlink;
  ops.rmdir = RemoveDirectory;
  ops.symlink = Symlink;
  ops.rename = Rename;
  ops.open = Open;
  ops.read = Read;
  ops.write = Write;
  ops.flush = Flush;
  ops.release = Release;
  ops.fsync = Fsync;
  ops.opendir = OpenDirectory;
  ops.readdir = ReadDirectory;
  ops.releasedir = ReleaseDirectory;
  ops.statfs = StatFs;
  ops.create = Create;
  ops.readdirplus = ReadDirectoryPlus;
  return ops;
}

int Main(const char* directory, const char* mountpoint) {
  umask(0);  // the kernel has applied the caller's
  std::string root(PATH_MAX, '\0');
  if (realpath(directory, root.data()) == nullptr) {
    fprintf(stderr, "airstore-loopback-fuse: %s\n", SysError(directory).ToString().c_str());
    return 1;
  }
  PathTable paths(root.c_str());
  auto served = RunFuseServer({mountpoint, "airstore-loopback", Operations(), &paths});
  if (!served) {
    fprintf(stderr, "airstore-loopback-fuse: %s\n", served.error().ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace airstore::bench

int main(int argc, char** argv) {
  if (argc != 3 || argv[1][0] == '-') {
    fprintf(stderr, "usage: airstore-loopback-fuse DIRECTORY MOUNTPOINT\n");
    return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
  }
  return airstore::bench::Main(argv[1], argv[2]);
}
