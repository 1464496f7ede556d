// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/attributes.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

namespace airstore::nfs {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint64_t kBlockBytes = 4096;

ftype3 TypeOf(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return NF3DIR;
    case S_IFLNK:
      return NF3LNK;
    case S_IFBLK:
      return NF3BLK;
    case S_IFCHR:
      return NF3CHR;
    case S_IFSOCK:
      return NF3SOCK;
    case S_IFIFO:
      return NF3FIFO;
    default:
      return NF3REG;
  }
}

}  // namespace

nfsstat3 StatusOf(int error) {
  switch (error) {
    case 0:
      return NFS3_OK;
    case EPERM:
      return NFS3ERR_PERM;
    case ENOENT:
      return NFS3ERR_NOENT;
    case ENXIO:
      return NFS3ERR_NXIO;
    case EACCES:
      return NFS3ERR_ACCES;
    case EEXIST:
      return NFS3ERR_EXIST;
    case EXDEV:
      return NFS3ERR_XDEV;
    case ENODEV:
      return NFS3ERR_NODEV;
    case ENOTDIR:
      return NFS3ERR_NOTDIR;
    case EISDIR:
      return NFS3ERR_ISDIR;
    case EINVAL:
    case ELOOP:
      return NFS3ERR_INVAL;
    case EFBIG:
      return NFS3ERR_FBIG;
    case ENOSPC:
      return NFS3ERR_NOSPC;
    case EROFS:
      return NFS3ERR_ROFS;
    case EMLINK:
      return NFS3ERR_MLINK;
    case ENAMETOOLONG:
      return NFS3ERR_NAMETOOLONG;
    case ENOTEMPTY:
      return NFS3ERR_NOTEMPTY;
    case EDQUOT:
      return NFS3ERR_DQUOT;
    case ESTALE:
      return NFS3ERR_STALE;
    case EOPNOTSUPP:
    case ENOSYS:
      return NFS3ERR_NOTSUPP;
    case ETIMEDOUT:
    case EAGAIN:
    case ENFILE:
      return NFS3ERR_JUKEBOX;
    default:
      return NFS3ERR_IO;
  }
}

// Seconds have 32 bits and no sign: times before 1970 and after 2106 cannot be told.
nfstime3 TimeOf(int64_t ns) {
  int64_t seconds = ns / kSecond;
  int64_t rest = ns % kSecond;
  if (rest < 0) {
    --seconds;
    rest += kSecond;
  }
  return {static_cast<uint32_t>(seconds), static_cast<uint32_t>(rest)};
}

int64_t NsOf(const nfstime3& time) {
  return static_cast<int64_t>(time.seconds) * kSecond + time.nseconds;
}

fattr3 AttributesOf(const shm::InodeRecord& record, uint64_t fsid) {
  fattr3 out{};
  out.type = TypeOf(record.mode);
  out.mode = record.mode & 07777;
  out.nlink = record.nlink;
  out.uid = record.uid;
  out.gid = record.gid;
  out.size = record.size;
  out.used = (record.allocated_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  out.rdev = {major(record.rdev), minor(record.rdev)};
  out.fsid = fsid;
  out.fileid = record.inode;
  out.atime = TimeOf(record.atime_ns);
  out.mtime = TimeOf(record.mtime_ns);
  out.ctime = TimeOf(record.ctime_ns);
  return out;
}

wcc_attr WccOf(const shm::InodeRecord& record) {
  return {record.size, TimeOf(record.mtime_ns), TimeOf(record.ctime_ns)};
}

volume::SetattrArgs ChangesOf(const sattr3& wanted, int64_t now_ns) {
  volume::SetattrArgs out;
  if (wanted.mode.set_it) {
    out.valid |= shm::kSetMode;
    out.mode = wanted.mode.set_mode3_u.mode & 07777;
  }
  if (wanted.uid.set_it) {
    out.valid |= shm::kSetUid;
    out.uid = wanted.uid.set_uid3_u.uid;
  }
  if (wanted.gid.set_it) {
    out.valid |= shm::kSetGid;
    out.gid = wanted.gid.set_gid3_u.gid;
  }
  if (wanted.size.set_it) {
    out.valid |= shm::kSetSize;
    out.size = wanted.size.set_size3_u.size;
  }
  if (wanted.atime.set_it != DONT_CHANGE) {
    out.valid |= shm::kSetAtime;
    out.atime_ns =
        wanted.atime.set_it == SET_TO_CLIENT_TIME ? NsOf(wanted.atime.set_time3_u.time) : now_ns;
  }
  if (wanted.mtime.set_it != DONT_CHANGE) {
    out.valid |= shm::kSetMtime;
    out.mtime_ns =
        wanted.mtime.set_it == SET_TO_CLIENT_TIME ? NsOf(wanted.mtime.set_time3_u.time) : now_ns;
  }
  return out;
}

}  // namespace airstore::nfs
