// SPDX-License-Identifier: Apache-2.0
//
// Opening, writing and closing files.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "frontends/volume/stopwatch.h"
#include "frontends/volume/volume.h"
#include "shm/access_time.h"
#include "shm/base/file_clock.h"
#include "shm/request_rules.h"
#include "shm/virtual_inode.h"
#include "shm/xattr_names.h"

namespace airstore::volume {
namespace {

// What ext4 takes in one file: a write is answered before the broker tries, so it must be known
// here.
constexpr uint64_t kGreatestSize = shm::kGreatestFile;

bool ForWrite(uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

// Reading from a slab needs nothing of the broker, unless it must decide for all opens together.
bool MayOpenLocally(const shm::InodeRecord& record) {
  return record.content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab) &&
         (record.flags & shm::kPassthroughOpen) == 0;
}

// A client never gives one number to two requests, and none is sent to two files.
uint64_t SerialOf(Request& request) {
  return request.caller().unique >> 1 & OpenHandle::kMostSerial;
}

}  // namespace

bool Volume::KeepCache(uint32_t index, uint32_t content_generation) {
  shm::InodeUse* use = lane_->Use(index);
  if (use == nullptr) return false;
  const uint32_t before =
      use->cached_generation.exchange(content_generation, std::memory_order_relaxed);
  // The client may not have had the answer that told it to drop its pages.
  return before == content_generation && !lane_->RequestRepeated();
}

bool Volume::WantsToSeeRead(const shm::InodeRecord& record, uint32_t flags) const {
  if (!options_.relatime || (flags & O_NOATIME) != 0) return false;
  return shm::AccessTimeIsDue(record, shm::FileClockNs());
}

void Volume::NoteRead(uint64_t inode, uint32_t index, uint32_t flags) {
  shm::InodeRef found;
  if (!options_.relatime || !Find(inode, index, &found)) return;
  if (!WantsToSeeRead(found.record, flags)) return;
  lane_->QueueTouch(inode, shm::FileClockNs());
}

// As with lookups: we count the open and then look at the record; the broker marks the record
// kPassthroughOpen and then looks at the count. The kernel would refuse the mixture with EIO.
bool Volume::OpenLocally(Request& request, uint64_t inode, uint32_t flags, Opened* out) {
  shm::InodeRef found;
  if (!reader_.FindInode(inode, &found) || !MayOpenLocally(found.record)) return false;
  if (found.index > OpenHandle::kMostIndex) return false;  // we shall need it
  shm::InodeUse* use = lane_->Use(found.index);
  if (use == nullptr) return false;
  use->opens.fetch_add(1, std::memory_order_seq_cst);
  if (!reader_.ReadInode(found.index, inode, &found.record) || !MayOpenLocally(found.record)) {
    use->opens.fetch_sub(1, std::memory_order_seq_cst);
    return false;
  }
  lane_->NoteEffect(shm::LocalEffect::kOpen, found.index);
  out->handle = {shm::kOpenCached, found.index, true, SerialOf(request)};
  out->tell_close = (found.record.flags & shm::kHadLocks) != 0;
  out->keep_cache = KeepCache(found.index, found.record.content_generation) &&
                    !WantsToSeeRead(found.record, flags);
  return true;
}

void Volume::FillOpened(Request& request, const shm::RequestReply& reply, uint32_t flags,
                        Opened* out) {
  out->handle = {reply.open_mode & shm::kOpenModeMask, reply.inode_index, false, SerialOf(request)};
  if (ForWrite(flags)) out->handle.mode |= shm::kOpenForWrite;
  out->tell_close = ForWrite(flags) || (reply.attr.flags & shm::kHadLocks) != 0;
  switch (out->handle.path()) {
    case shm::kOpenPassthrough:
      out->backing_id = reply.backing_id;
      // The kernel's own way keeps O_DIRECT as it was at the open, and nobody hears of the writes
      // that are to be waited for.
      out->through_daemon = (flags & O_DIRECT) != 0 || (ForWrite(flags) && (flags & O_DSYNC) != 0);
      lane_->Count(shm::kOpenPassthroughs);
      break;
    case shm::kOpenCached:
      out->keep_cache = reply.inode_index != shm::kNoIndex &&
                        KeepCache(reply.inode_index, reply.attr.content_generation) &&
                        !WantsToSeeRead(reply.attr, flags);
      break;
    default:
      break;
  }
}

// Not interruptible: an open that the broker has counted and nobody got could not be closed again.
int Volume::Open(Request& request, uint64_t inode, uint32_t flags, Opened* out, uint32_t valid) {
  const Stopwatch watch(*lane_, shm::kLatencyOpen);
  if (ForWrite(flags) || (flags & O_TRUNC) != 0) {
    if (options_.read_only) return EROFS;
  } else if (OpenLocally(request, inode, flags, out)) {
    lane_->Count(shm::kOpenLocal);
    return 0;
  }
  lane_->Count(shm::kOpenBroker);
  shm::RequestArgs args = Args(shm::Op::kOpen, inode);
  args.flags = flags;
  args.valid = valid;
  const auto reply = Call(request, args, Wait::kToTheEnd);
  if (reply.error == 0) FillOpened(request, reply, flags, out);
  return reply.error;
}

int Volume::Create(Request& request, uint64_t parent, std::string_view name, uint32_t mode,
                   uint32_t flags, Node* node, Opened* out) {
  const Stopwatch watch(*lane_, shm::kLatencyMutation);
  if (options_.read_only) return EROFS;
  if (name.size() > shm::kMaxName) return ENAMETOOLONG;
  lane_->Count(shm::kOpenBroker);
  shm::RequestArgs args = Args(shm::Op::kCreate, parent);
  args.mode = mode;
  args.flags = flags;
  const uint32_t trust = TrustInNames(parent);
  const auto reply = Call(request, args, Wait::kToTheEnd, name);
  if (reply.error != 0) return reply.error;
  FillOpened(request, reply, flags, out);
  shm::InodeRecord record;
  if (Acquire(reply.inode_index, reply.attr.inode, &record)) {
    *node = Present(record, trust);
    return 0;
  }
  int error = LookupAtBroker(request, parent, name, Wait::kToTheEnd, trust, node);
  if (error == 0 && node->record.inode != reply.attr.inode) {
    lane_->NoteEffect(shm::LocalEffect::kNone, shm::kNoIndex);  // nobody is to undo it once more
    Forget(node->record.inode, 1);
    error = EIO;  // somebody else has put another file there meanwhile
  }
  if (error != 0) Release(request, reply.attr.inode, out->handle);
  return error;
}

int Volume::Tmpfile(Request& request, uint64_t parent, uint32_t mode, uint32_t flags, Node* node,
                    Opened* out) {
  const Stopwatch watch(*lane_, shm::kLatencyMutation);
  if (options_.read_only) return EROFS;
  lane_->Count(shm::kOpenBroker);
  shm::RequestArgs args = Args(shm::Op::kTmpfile, parent);
  args.mode = mode;
  args.flags = flags;
  const auto reply = Call(request, args, Wait::kToTheEnd);
  if (reply.error != 0) return reply.error;
  FillOpened(request, reply, flags, out);
  shm::InodeRecord record;
  if (!Acquire(reply.inode_index, reply.attr.inode, &record)) {
    Release(request, reply.attr.inode, out->handle);
    return EIO;
  }
  *node = Present(record, 0);
  return 0;
}

void Volume::Release(Request& request, uint64_t inode, OpenHandle handle) {
  // Before the inode may move: it stays at its index while it is open.
  if (HasLocks(inode, handle)) {
    shm::RequestArgs args = Args(shm::Op::kReleaseLocks, inode);
    args.rdev = handle.serial;
    Call(request, args, Wait::kToTheEnd);
  }
  if (!handle.local) {
    lane_->QueueRelease(inode, handle.mode);
  } else if (lane_->NoteRelease()) {
    // The inode stays at its index while it is open: the kernel holds a lookup of it.
    DropOpen(handle.index);
  }
}

void Volume::DropOpen(uint32_t index) {
  shm::InodeUse* use = lane_->Use(index);
  if (use == nullptr) return;
  uint32_t before = use->opens.load(std::memory_order_relaxed);
  while (before != 0 &&
         !use->opens.compare_exchange_weak(before, before - 1, std::memory_order_seq_cst)) {
  }
}

// What is in place already can be overwritten on a full disk, too.
bool Volume::IsInPlace(Request& request, uint64_t inode, uint64_t offset, uint64_t bytes) {
  // What was accepted before may be what this one overwrites.
  if (!lane_->WaitWritten(inode)) return false;
  shm::InodeRef found;
  if (!reader_.FindInode(inode, &found)) return false;
  const shm::InodeRecord& record = found.record;
  if (offset > record.size || bytes > record.size - offset) return false;
  if (record.allocated_bytes >= record.size) return true;
  // Sparse; or the file system has counted too few for a moment, as ext4 does when it writes back
  // what it had only reserved. A map's stores must not be refused for that: who made them is told
  // by fsync only.
  ContentFd fd;
  if (record.content_kind != static_cast<uint32_t>(shm::ContentKind::kFile) ||
      (record.flags & shm::kContentComplete) == 0 || FetchContentFd(request, record, &fd) != 0 ||
      fd == nullptr) {
    return false;
  }
  // While those blocks change from reserved to allocated even this may say hole.
  constexpr int kLooks = 4;
  for (int i = 0; i < kLooks; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(i));
    const off_t hole = lseek(fd->get(), static_cast<off_t>(offset), SEEK_HOLE);
    if (hole >= 0 && static_cast<uint64_t>(hole) >= offset + bytes) return true;
  }
  return false;
}

int Volume::AwaitRoom(Request& request, uint64_t inode, uint64_t offset, uint64_t bytes) {
  if (!lane_->writes_wait() || IsInPlace(request, inode, offset, bytes)) return 0;
  bool waiting = false;
  const int error = lane_->AwaitRoom(bytes, [&] {
    if (!std::exchange(waiting, true)) request.StartWait();
    return request.Interrupted();
  });
  if (waiting) request.EndWait();
  return error == ENOSPC && IsInPlace(request, inode, offset, bytes) ? 0 : error;
}

int Volume::Write(uint64_t inode, uint64_t offset, std::span<const uint8_t> data, Visible visible,
                  bool append) {
  const Stopwatch watch(*lane_, shm::kLatencyWrite);
  if (options_.read_only || shm::IsVirtual(inode)) return EROFS;
  if (offset > kGreatestSize || data.size() > kGreatestSize - offset) return EFBIG;
  lane_->Count(shm::kWrites);
  lane_->Count(shm::kWriteBytes, data.size());
  const int64_t time_ns = shm::FileClockNs();
  while (!data.empty()) {
    const auto part = data.first(std::min<size_t>(data.size(), shm::kMaxWrite));
    const auto place = lane_->QueueWrite(inode, offset, part, time_ns, append);
    if (!place) return ETIMEDOUT;
    data = data.subspan(part.size());
    offset += part.size();
    // A write that has returned is visible on every mount of the session, and to those whom the
    // kernel shows the content file itself.
    if (!data.empty()) continue;
    const bool shared = lane_->shared_session();
    if (visible == Visible::kLater) {
      if (shared && !lane_->WaitTaken(*place + 1, shm::kForever)) return ETIMEDOUT;
    } else if (shared || visible == Visible::kToTheKernel) {
      if (!lane_->WaitApplied(*place)) return ETIMEDOUT;
    }
  }
  return 0;
}

int Volume::KillSetId(Request& request, uint64_t inode) {
  shm::InodeRef found;
  if (reader_.FindInode(inode, &found) && KnownHere(found.record) &&
      (found.record.mode & (S_ISUID | S_ISGID)) == 0) {
    return 0;
  }
  shm::RequestArgs args = Args(shm::Op::kSetattr, inode);
  args.valid = shm::kKillSetId;
  return Call(request, args, Wait::kToTheEnd).error;
}

int Volume::KillCapabilities(Request& request, uint64_t inode) {
  shm::InodeRef found;
  if (reader_.FindInode(inode, &found) && KnownHere(found.record) &&
      found.record.xattr_count == 0) {
    return 0;
  }
  shm::RequestArgs args = Args(shm::Op::kRemovexattr, inode);
  args.valid = shm::kKillSetId;
  const int error = Call(request, args, Wait::kToTheEnd, shm::kCapabilities).error;
  return error == ENODATA || error == EOPNOTSUPP ? 0 : error;
}

int Volume::Fallocate(Request& request, uint64_t inode, uint64_t offset, uint64_t length,
                      int mode) {
  const Stopwatch watch(*lane_, shm::kLatencyWrite);
  if (options_.read_only) return EROFS;
  if (offset > kGreatestSize || length > kGreatestSize - offset) return EFBIG;
  shm::RequestArgs args = Args(shm::Op::kFallocate, inode);
  args.offset = offset;
  args.size = length;
  args.flags = static_cast<uint32_t>(mode);
  return Call(request, args, Wait::kToTheEnd).error;
}

int Volume::Seek(Request& request, uint64_t inode, uint64_t offset, int whence, uint64_t* found) {
  if (!lane_->WaitWrites(inode)) return ETIMEDOUT;
  shm::RequestArgs args = Args(shm::Op::kSeek, inode);
  args.offset = offset;
  args.flags = static_cast<uint32_t>(whence);
  const auto reply = Call(request, args, Wait::kToTheEnd);
  *found = reply.value;
  return reply.error;
}

int Volume::CopyRange(Request& request, const CopyArgs& copy, uint64_t* copied) {
  const Stopwatch watch(*lane_, shm::kLatencyWrite);
  if (options_.read_only) return EROFS;
  if (copy.target_offset >= kGreatestSize) return EFBIG;
  shm::RequestArgs args = Args(shm::Op::kCopyRange, copy.source);
  args.offset = copy.source_offset;
  args.inode2 = copy.target;
  args.rdev = copy.target_offset;
  args.size = std::min(copy.length, kGreatestSize - copy.target_offset);
  const auto reply = Call(request, args, Wait::kToTheEnd);
  *copied = reply.value;
  return reply.error;
}

// The kernel does not hear of what other mounts append, and may have made its request before the
// last of them was gone. The answer to the call is kept until the request is answered: one that is
// made again after a crash goes to the same place.
int Volume::Append(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset,
                   std::span<const uint8_t> data) {
  if (options_.read_only || shm::IsVirtual(inode)) return EROFS;
  const bool asks = lane_->was_shared();
  if (asks) {
    shm::RequestArgs args = Args(shm::Op::kAppend, inode);
    args.offset = offset;
    args.size = data.size();
    args.flags = handle.path() == shm::kOpenCached ? shm::kKeepsPages : 0;
    const auto reply = Call(request, args, Wait::kToTheEnd);
    if (reply.error != 0) return reply.error;
    offset = reply.value;
  }
  const bool as_one = data.size() <= shm::kMaxWrite;
  return Write(inode, offset, data, VisibleThrough(handle), asks && as_one);
}

// Stores to maps of the file through other mounts that their kernels have not told yet come first,
// or they would be put on top of this one.
int Volume::AnnounceWrite(Request& request, uint64_t inode, OpenHandle handle, uint64_t offset,
                          uint64_t size) {
  if (!lane_->shared_session() || handle.path() == shm::kOpenPassthrough) return 0;
  shm::InodeRef found;
  if (Find(inode, handle.index, &found) &&
      (found.record.known_by & ~(uint64_t{1} << options_.mount_index)) == 0) {
    return 0;
  }
  shm::RequestArgs args = Args(shm::Op::kReadRange, inode);
  args.offset = offset;
  args.size = size;
  args.flags = shm::kBeforeWrite;
  return Call(request, args, Wait::kToTheEnd).error;
}

// The kernel lets nobody go who closes a file, not even a process that was killed, before this has
// returned. Under the lease there is not much to wait for: the lane keeps what was written.
int Volume::Flush(Request& request, uint64_t inode, OpenHandle handle, uint64_t owner) {
  int error = 0;
  const Wait wait = lane_->synchronous() ? Wait::kToTheEnd : Wait::kBriefly;
  if (handle.for_write()) {
    if (handle.path() != shm::kOpenPassthrough) lane_->WaitWrites(inode, lane_->InAMoment());
    shm::InodeRef found;
    const bool failed = Find(inode, handle.index, &found) && found.record.write_error != 0;
    if (failed || lane_->synchronous()) {
      error = Call(request, Args(shm::Op::kFlush, inode), wait).error;
    }
  }
  // Behind the bytes: whoever gets the lock is to find them.
  if (HasLocks(inode, handle)) {
    shm::RequestArgs args = Args(shm::Op::kFlushLocks, inode);
    args.inode2 = owner;
    args.rdev = handle.serial;
    Call(request, args, wait);
  }
  return error;
}

int Volume::Fsync(Request& request, uint64_t inode, uint32_t flags) {
  const Stopwatch watch(*lane_, shm::kLatencyFsync);
  lane_->Count(shm::kFsyncs);
  // What was stored to maps the other mounts see from here on, too.
  if (lane_->shared_session() && !lane_->WaitWrites(inode)) return ETIMEDOUT;
  shm::RequestArgs args = Args(shm::Op::kFsync, inode);
  args.flags = flags;
  return Call(request, args, Wait::kToTheEnd).error;
}

}  // namespace airstore::volume
