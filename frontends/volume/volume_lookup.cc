// SPDX-License-Identifier: Apache-2.0
//
// Names and attributes: what is known is answered from the tables, the rest by the broker.
#include <dirent.h>
#include <sched.h>

#include "frontends/volume/stopwatch.h"
#include "frontends/volume/volume.h"

namespace airstore::volume {
namespace {

// The broker may take an entry away between its answer and our claim; that twice in a row is rare.
constexpr int kClaimTries = 8;
constexpr int kFindTries = 100;

}  // namespace

// The kernel writes passthrough files behind our back; also when it reads one, only the content
// file tells.
bool Volume::NotInTable(const shm::InodeRecord& record) const {
  if ((record.flags & shm::kPassthroughWriter) != 0) return true;
  if ((record.flags & shm::kSizeUnknown) != 0 && true_sizes_) return true;
  return (record.flags & shm::kPassthroughOpen) != 0 && WantsToSeeRead(record, 0);
}

int Volume::Lookup(Request& request, uint64_t parent, std::string_view name, Node* out) {
  const Stopwatch watch(*lane_, shm::kLatencyLookup);
  if (name.size() > shm::kMaxName) return ENAMETOOLONG;
  const uint32_t trust = TrustInNames(parent);
  out->entry_seconds = trust;
  shm::DentryRef dentry;
  if (reader_.FindDentry(parent, name, &dentry)) {
    const uint64_t inode = dentry.record.inode;
    if (inode == 0) {
      lane_->Count(shm::kLookupHits);
      return ENOENT;
    }
    // The kernel takes the size from here: it must count what it has written before.
    if (!Settled(inode)) request.WillWait();
    if (!lane_->WaitWrites(inode) || !lane_->WaitTouches(inode)) return ETIMEDOUT;
    shm::InodeRef found;
    // The kernel writes passthrough files behind our back: the broker knows how they are now.
    if (reader_.FindInode(inode, &found) && KnownHere(found.record) && !NotInTable(found.record) &&
        Acquire(found.index, inode, &found.record)) {
      lane_->Count(shm::kLookupHits);
      if (dentry.record.type == DT_DIR) dir_hints_.PutName(inode, dentry.index);
      *out = Present(found.record, trust);
      return 0;
    }
  }
  lane_->Count(shm::kLookupMisses);
  return LookupAtBroker(request, parent, name, Wait::kToTheEnd, trust, out);
}

int Volume::LookupAtBroker(Request& request, uint64_t parent, std::string_view name, Wait wait,
                           uint32_t trust, Node* out) {
  for (int tries = 0; tries < kClaimTries; ++tries) {
    const auto reply = Call(request, Args(shm::Op::kLookup, parent), wait, name);
    if (reply.error != 0) return reply.error;
    shm::InodeRecord record;
    if (Acquire(reply.inode_index, reply.attr.inode, &record)) {
      *out = Present(record, trust);
      return 0;
    }
  }
  return EIO;
}

int Volume::Peek(Request& request, uint64_t parent, std::string_view name, Node* out) {
  if (name.size() > shm::kMaxName) return ENAMETOOLONG;
  shm::DentryRef dentry;
  if (reader_.FindDentry(parent, name, &dentry)) {
    if (dentry.record.inode == 0) return ENOENT;
    shm::InodeRef found;
    if (reader_.FindInode(dentry.record.inode, &found) && KnownHere(found.record) &&
        (found.record.flags & shm::kSizeUnknown) == 0) {
      *out = Present(found.record, 0);
      return 0;
    }
  }
  const auto reply = Call(request, Args(shm::Op::kLookup, parent), Wait::kToTheEnd, name);
  if (reply.error == 0) *out = Present(reply.attr, 0);
  return reply.error;
}

void Volume::Forget(uint64_t inode, uint64_t count) {
  if (inode == shm::kRootInode) return;  // never looked up, never dropped
  // An entry we count on is in the table; it can only seem missing while its bucket's chain
  // changes.
  for (int tries = 0; tries < kFindTries; ++tries) {
    shm::InodeRef found;
    if (reader_.FindInode(inode, &found)) {
      DropLookups(found.index, count);
      return;
    }
    sched_yield();
  }
}

bool Volume::Hold(uint64_t inode) {
  shm::InodeRef found;
  return reader_.FindInode(inode, &found) && Acquire(found.index, inode, &found.record);
}

void Volume::ForgetAll() {
  for (uint32_t index = 1; index < reader_.view().geometry().inode_capacity; ++index) {
    const shm::InodeUse* use = lane_->Use(index);
    if (use == nullptr) return;
    if (use->lookups.load(std::memory_order_relaxed) != 0) DropLookups(index, UINT32_MAX);
  }
}

int Volume::Getattr(Request& request, uint64_t inode, Node* out) {
  const Stopwatch watch(*lane_, shm::kLatencyGetattr);
  if (!Settled(inode)) request.WillWait();
  if (!lane_->WaitWrites(inode) || !lane_->WaitTouches(inode)) return ETIMEDOUT;
  return GetattrAsItIs(request, inode, out);
}

bool Volume::Settled(uint64_t inode) {
  constexpr int64_t kNotAtAll = 1;  // that time is over
  return lane_->WaitWrites(inode, kNotAtAll);
}

int Volume::GetattrAsItIs(Request& request, uint64_t inode, Node* out) {
  shm::InodeRef found;
  if (reader_.FindInode(inode, &found) && KnownHere(found.record) && !NotInTable(found.record)) {
    lane_->Count(shm::kGetattrHits);
    *out = Present(found.record, 0);
    return 0;
  }
  lane_->Count(shm::kGetattrMisses);
  return GetattrAtBroker(request, inode, out);
}

int Volume::GetattrAtBroker(Request& request, uint64_t inode, Node* out) {
  const auto reply = Call(request, Args(shm::Op::kGetattr, inode), Wait::kToTheEnd);
  if (reply.error == 0) *out = Present(reply.attr, 0);
  return reply.error;
}

int Volume::Setattr(Request& request, uint64_t inode, const SetattrArgs& values, Node* out) {
  const Stopwatch watch(*lane_, shm::kLatencyMutation);
  if (options_.read_only) return EROFS;
  shm::RequestArgs args = Args(shm::Op::kSetattr, inode);
  args.valid = values.valid;
  args.mode = values.mode;
  args.set_uid = values.uid;
  args.set_gid = values.gid;
  args.size = values.size;
  args.atime_ns = values.atime_ns;
  args.mtime_ns = values.mtime_ns;
  const auto reply = Call(request, args, Wait::kToTheEnd);
  if (reply.error == 0) *out = Present(reply.attr, 0);
  return reply.error;
}

}  // namespace airstore::volume
