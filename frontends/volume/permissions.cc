// SPDX-License-Identifier: Apache-2.0
//
// The order of checks is the kernel's (fs/namei.c, fs/attr.c, fs/xattr.c, fs/posix_acl.c), because
// it decides which errno a program sees when several would do.
#include "frontends/volume/permissions.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "shm/posix_acl.h"
#include "shm/xattr_names.h"

namespace airstore::volume {
namespace {

constexpr uint32_t kAnyExecute = S_IXUSR | S_IXGRP | S_IXOTH;
constexpr uint32_t kAll = kMayRead | kMayWrite | kMayExecute;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// By owner, list and mode alone.
bool Granted(const Credentials& who, const Subject& file, uint32_t wanted) {
  uint32_t mode = file.inode.mode;
  if (who.uid == file.inode.uid) return (wanted & ~(mode >> 6)) == 0;
  // Without any bit for the group the kernel does not look at the list.
  if (!file.access_acl.empty() && (mode & S_IRWXG) != 0) {
    const auto acl = shm::PosixAcl::Parse(file.access_acl);
    if (!acl) return false;
    if (!acl->empty()) {
      return acl->Grants(
          who.uid, who.IsIn(file.inode.gid), [&who](uint32_t gid) { return who.IsIn(gid); },
          wanted);
    }
  }
  // Where group and other agree, nobody needs to know the caller's groups.
  if ((wanted & (mode ^ mode >> 3)) != 0 && who.IsIn(file.inode.gid)) mode >>= 3;
  return (wanted & ~mode) == 0;
}

bool Overrides(const Credentials& who, const shm::InodeRecord& inode, uint32_t wanted) {
  if (!who.IsRoot()) return false;
  if (S_ISDIR(inode.mode) || (wanted & kMayExecute) == 0) return true;
  return (inode.mode & kAnyExecute) != 0;
}

bool StickyRefuses(const Credentials& who, const shm::InodeRecord& directory,
                   const shm::InodeRecord& victim) {
  return (directory.mode & S_ISVTX) != 0 && who.uid != victim.uid && who.uid != directory.uid &&
         !who.IsRoot();
}

bool MayGiveGroup(const Credentials& who, const shm::InodeRecord& inode, uint32_t gid) {
  if (who.IsRoot()) return true;
  return who.uid == inode.uid && (gid == inode.gid || who.IsIn(gid));
}

int CheckXattr(const Credentials& who, const Subject& file, std::string_view name, bool write) {
  const uint32_t mode = file.inode.mode;
  if (StartsWith(name, "system.")) {
    return write && !who.ActsAsOwner(file.inode) ? EPERM : 0;
  }
  if (StartsWith(name, "security.")) return write && !who.IsRoot() ? EPERM : 0;
  if (StartsWith(name, "trusted.")) return who.IsRoot() ? 0 : write ? EPERM : ENODATA;
  if (StartsWith(name, "user.")) {
    if (!S_ISREG(mode) && !S_ISDIR(mode)) return write ? EPERM : ENODATA;
    if (write && S_ISDIR(mode) && (mode & S_ISVTX) != 0 && !who.ActsAsOwner(file.inode)) {
      return EPERM;
    }
  }
  return CheckAccess(who, file, write ? kMayWrite : kMayRead);
}

}  // namespace

bool GroupList::Contain(uint32_t gid) const {
  return std::find(gids_.begin(), gids_.end(), gid) != gids_.end();
}

int CheckAccess(const Credentials& who, const Subject& file, uint32_t wanted) {
  return Granted(who, file, wanted) || Overrides(who, file.inode, wanted) ? 0 : EACCES;
}

uint32_t AccessOf(const Credentials& who, const Subject& file) {
  uint32_t all = 0;
  for (const uint32_t one : {kMayRead, kMayWrite, kMayExecute}) {
    if (CheckAccess(who, file, one) == 0) all |= one;
  }
  return all;
}

int CheckOpen(const Credentials& who, const Subject& file, uint32_t flags) {
  static constexpr uint32_t kWanted[] = {kMayRead, kMayWrite, kMayRead | kMayWrite,
                                         kMayRead | kMayWrite};
  uint32_t wanted = kWanted[flags & O_ACCMODE];
  if ((flags & kOpenToExecute) != 0) wanted = kMayExecute;
  if ((flags & O_TRUNC) != 0) wanted |= kMayWrite;
  if (const int error = CheckAccess(who, file, wanted); error != 0) return error;
  return (flags & O_NOATIME) != 0 && !who.ActsAsOwner(file.inode) ? EPERM : 0;
}

int CheckIo(const Credentials& who, const Subject& file, uint32_t wanted) {
  if (who.uid == file.inode.uid && S_ISREG(file.inode.mode) && (wanted & kMayExecute) == 0) {
    return 0;
  }
  const int error = CheckAccess(who, file, wanted);
  if (error == 0 || wanted != kMayRead || !S_ISREG(file.inode.mode)) return error;
  return CheckAccess(who, file, kMayExecute);
}

int CheckCreate(const Credentials& who, const Subject& directory) {
  return CheckAccess(who, directory, kMayWrite | kMayExecute);
}

int CheckMakeNode(const Credentials& who, const Subject& directory, uint32_t mode, uint64_t rdev) {
  if (const int error = CheckCreate(who, directory); error != 0) return error;
  const bool whiteout = S_ISCHR(mode) && rdev == 0;
  const bool device = (S_ISCHR(mode) || S_ISBLK(mode)) && !whiteout;
  return device && !who.IsRoot() ? EPERM : 0;
}

uint32_t ModeOfNew(const Credentials& who, const shm::InodeRecord& directory, uint32_t mode) {
  // A directory gets it from its parent anyhow; without group execution it means something else.
  if (S_ISDIR(mode) || (mode & (S_ISGID | S_IXGRP)) != (S_ISGID | S_IXGRP)) return mode;
  if ((directory.mode & S_ISGID) == 0 || who.IsRoot() || who.IsIn(directory.gid)) return mode;
  return mode & ~uint32_t{S_ISGID};
}

int CheckRemove(const Credentials& who, const Subject& directory, const shm::InodeRecord& victim) {
  if (const int error = CheckCreate(who, directory); error != 0) return error;
  return StickyRefuses(who, directory.inode, victim) ? EPERM : 0;
}

int CheckRename(const Credentials& who, const Renaming& renaming) {
  const auto& [from, source, to, target, exchange] = renaming;
  int error = CheckRemove(who, from, source.inode);
  if (error == 0) {
    error = target != nullptr ? CheckRemove(who, to, target->inode) : CheckCreate(who, to);
  }
  if (error != 0 || from.inode.inode == to.inode.inode) return error;
  // What moves to another parent gets another "..".
  if (S_ISDIR(source.inode.mode)) error = CheckAccess(who, source, kMayWrite);
  if (error == 0 && exchange && target != nullptr && S_ISDIR(target->inode.mode)) {
    error = CheckAccess(who, *target, kMayWrite);
  }
  return error;
}

int CheckSetattr(const Credentials& who, const Subject& file, AttributeChange* change) {
  const shm::InodeRecord& inode = file.inode;
  const uint32_t valid = change->valid;
  const bool times = (valid & (shm::kSetAtime | shm::kSetMtime)) != 0;
  const bool owner = who.ActsAsOwner(inode);
  if ((valid & shm::kSetSize) != 0) {
    if (!change->opened) {
      if (const int error = CheckAccess(who, file, kMayWrite); error != 0) return error;
    }
  } else if (times && change->times_now && !owner) {
    if (const int error = CheckAccess(who, file, kMayWrite); error != 0) return error;
  }
  if ((valid & shm::kSetUid) != 0 && !who.IsRoot() &&
      (who.uid != inode.uid || change->uid != inode.uid)) {
    return EPERM;
  }
  if ((valid & shm::kSetGid) != 0 && !MayGiveGroup(who, inode, change->gid)) return EPERM;
  if ((valid & shm::kSetMode) != 0) {
    if (!owner) return EPERM;
    const uint32_t gid = (valid & shm::kSetGid) != 0 ? change->gid : inode.gid;
    if (!who.IsRoot() && !who.IsIn(gid)) change->mode &= ~uint32_t{S_ISGID};
  }
  // A truncation moves the modification time along.
  const bool of_truncation = (valid & shm::kSetSize) != 0 && (valid & shm::kSetAtime) == 0;
  return times && !change->times_now && !of_truncation && !owner ? EPERM : 0;
}

int CheckGetXattr(const Credentials& who, const Subject& file, std::string_view name) {
  return CheckXattr(who, file, name, false);
}

int CheckSetXattr(const Credentials& who, const Subject& file, std::string_view name) {
  return CheckXattr(who, file, name, true);
}

bool LosesSetGroupId(const Credentials& who, const shm::InodeRecord& inode) {
  return !who.IsRoot() && !who.IsIn(inode.gid);
}

}  // namespace airstore::volume
