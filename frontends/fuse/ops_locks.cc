// SPDX-License-Identifier: Apache-2.0
//
// Locks. Whoever waits for one keeps no worker busy: the broker answers the kernel itself.
#include <fcntl.h>
#include <sys/file.h>

#include "frontends/fuse/fuse_request.h"
#include "frontends/fuse/ops.h"
#include "frontends/fuse/session.h"

namespace airstore::fuse {
namespace {

using volume::LockArgs;
using volume::OpenHandle;

constexpr uint64_t kToTheEnd = INT64_MAX;  // as the kernel has it

LockArgs ArgsOf(const fuse_file_info& file, const struct flock& lock) {
  LockArgs args;
  args.owner = file.lock_owner;
  args.first = static_cast<uint64_t>(lock.l_start);
  args.last = lock.l_len == 0 ? kToTheEnd : static_cast<uint64_t>(lock.l_start + lock.l_len - 1);
  args.pid = static_cast<uint32_t>(lock.l_pid);
  if (lock.l_type == F_RDLCK) args.flags = shm::kLockShared;
  if (lock.l_type == F_WRLCK) args.flags = shm::kLockExclusive;
  return args;
}

void SetLock(fuse_req_t req, fuse_ino_t inode, const fuse_file_info& file, const LockArgs& lock) {
  FuseRequest request(req);
  const OpenHandle handle = OpenHandle::Decode(file.fh);
  const int error = request.volume().SetLock(request, inode, handle, lock);
  if (error == volume::Volume::kAnsweredElsewhere) {
    fuse_reply_none(req);
    request.session().OnHandedOver();
    return;
  }
  const bool locked = error == 0 && (lock.flags & (shm::kLockShared | shm::kLockExclusive)) != 0;
  if (fuse_reply_err(req, error) == 0 || !locked) return;
  // Nobody waits for it any more.
  LockArgs undo = lock;
  undo.flags = lock.flags & shm::kLockFlock;
  request.volume().SetLock(request, inode, handle, undo);
}

void Setlk(fuse_req_t req, fuse_ino_t inode, fuse_file_info* file, struct flock* lock, int sleep) {
  LockArgs args = ArgsOf(*file, *lock);
  if (sleep != 0) args.flags |= shm::kLockWait;
  SetLock(req, inode, *file, args);
}

void Flock(fuse_req_t req, fuse_ino_t inode, fuse_file_info* file, int operation) {
  LockArgs args;
  args.owner = file->lock_owner;
  args.last = kToTheEnd;
  args.flags = shm::kLockFlock;
  args.pid = static_cast<uint32_t>(fuse_req_ctx(req)->pid);
  if ((operation & LOCK_SH) != 0) args.flags |= shm::kLockShared;
  if ((operation & LOCK_EX) != 0) args.flags |= shm::kLockExclusive;
  if ((operation & LOCK_NB) == 0) args.flags |= shm::kLockWait;
  SetLock(req, inode, *file, args);
}

void Getlk(fuse_req_t req, fuse_ino_t inode, fuse_file_info* file, struct flock* lock) {
  FuseRequest request(req);
  LockArgs args = ArgsOf(*file, *lock);
  const int error = request.volume().GetLock(request, inode, OpenHandle::Decode(file->fh), &args);
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  struct flock held = *lock;
  held.l_type = F_UNLCK;
  if (args.flags != 0) {
    held.l_type = (args.flags & shm::kLockExclusive) != 0 ? F_WRLCK : F_RDLCK;
    held.l_whence = SEEK_SET;
    held.l_start = static_cast<off_t>(args.first);
    held.l_len = args.last >= kToTheEnd ? 0 : static_cast<off_t>(args.last - args.first + 1);
    held.l_pid = static_cast<pid_t>(args.pid);
  }
  fuse_reply_lock(req, &held);
}

}  // namespace

void AddLockOps(fuse_lowlevel_ops* ops) {
  ops->getlk = Getlk;
  ops->setlk = Setlk;
  ops->flock = Flock;
}

}  // namespace airstore::fuse
