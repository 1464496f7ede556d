// SPDX-License-Identifier: Apache-2.0
//
// Locks are the broker's: they are shared with other mounts and hosts, and outlive the frontend.
#include "frontends/volume/volume.h"

namespace airstore::volume {
namespace {

void Describe(const LockArgs& lock, OpenHandle handle, shm::RequestArgs* args) {
  args->inode2 = lock.owner;
  args->offset = lock.first;
  args->size = lock.last;
  args->flags = lock.flags;
  args->mode = lock.pid;
  args->rdev = handle.serial;
}

}  // namespace

// An answer that says "none" comes after those who lock have had theirs: the broker sets the mark
// before it answers, and nobody closes a file with a lock under way. What cannot be read, because a
// broker died while it wrote, may have locks.
bool Volume::HasLocks(uint64_t inode, OpenHandle handle) const {
  shm::InodeRef found;
  return !Find(inode, handle.index, &found) || (found.record.flags & shm::kHasLocks) != 0;
}

// To the end: one that has been granted and is not wanted would stay.
int Volume::SetLock(Request& request, uint64_t inode, OpenHandle handle, const LockArgs& lock) {
  shm::RequestArgs args = Args(shm::Op::kSetLock, inode);
  Describe(lock, handle, &args);
  const shm::RequestReply reply = Call(request, args, Wait::kToTheEnd);
  if (reply.error == 0 && reply.value == shm::kDeferred) return kAnsweredElsewhere;
  return reply.error;
}

int Volume::GetLock(Request& request, uint64_t inode, OpenHandle handle, LockArgs* lock) {
  shm::RequestArgs args = Args(shm::Op::kGetLock, inode);
  Describe(*lock, handle, &args);
  const shm::RequestReply reply = Call(request, args, Wait::kToTheEnd);
  if (reply.error != 0) return reply.error;
  lock->flags = static_cast<uint32_t>(reply.lock[0]) & shm::kLockFlagsMask;
  lock->first = reply.lock[1];
  lock->last = reply.lock[2];
  lock->pid = static_cast<uint32_t>(reply.lock[3]);
  return 0;
}

}  // namespace airstore::volume
