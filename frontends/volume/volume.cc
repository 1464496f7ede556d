// SPDX-License-Identifier: Apache-2.0
//
// What all operations share: attaching, calling the broker, counting lookups.
#include "frontends/volume/volume.h"

#include "shm/seqlock.h"

namespace airstore::volume {

Result<std::unique_ptr<Volume>> Volume::Create(const VolumeOptions& options, UniqueFd meta,
                                               UniqueFd lane, UniqueFd arena, UniqueFd wake) {
  using shm::Segment;
  using shm::SegmentKind;
  if (options.mount_index >= shm::kMaxMounts) return Error{EPROTO, "mount index out of range"};
  auto meta_segment =
      Segment::Attach(std::move(meta), {SegmentKind::kMeta, options.session, 0}, false);
  if (!meta_segment) return Error(meta_segment.error());
  const auto view = shm::MetaView::Over(**meta_segment);
  if (!view) return Error(view.error());
  auto lane_segment = Segment::Attach(
      std::move(lane), {SegmentKind::kLane, options.session, options.mount_index}, true);
  if (!lane_segment) return Error(lane_segment.error());
  auto arena_segment = Segment::Attach(
      std::move(arena), {SegmentKind::kArena, options.session, options.mount_index}, true);
  if (!arena_segment) return Error(arena_segment.error());
  auto producer =
      shm::LaneProducer::Attach(std::move(*lane_segment), std::move(*arena_segment), wake.get());
  if (!producer) return Error(producer.error());
  return std::unique_ptr<Volume>(
      new Volume(options, std::move(wake), std::move(*meta_segment), *view, std::move(*producer)));
}

Volume::Volume(const VolumeOptions& options, UniqueFd wake, std::unique_ptr<shm::Segment> meta,
               shm::MetaView view, std::unique_ptr<shm::LaneProducer> lane)
    : options_(options),
      wake_(std::move(wake)),
      meta_(std::move(meta)),
      reader_(view),
      lane_(std::move(lane)),
      slabs_(options.session) {}

shm::RequestArgs Volume::Args(shm::Op op, uint64_t inode) {
  shm::RequestArgs args{};
  args.op = static_cast<uint32_t>(op);
  args.inode = inode;
  return args;
}

shm::RequestReply Volume::Call(Request& request, shm::RequestArgs args, Wait wait,
                               std::string_view name, std::string_view name2, std::string* text) {
  const Caller caller = request.caller();
  args.unique = caller.unique;
  args.pid = caller.pid;
  args.umask = caller.umask;
  args.uid = options_.show_uid.value_or(caller.uid);
  args.gid = options_.show_gid.value_or(caller.gid);
  request.WillWait();
  const int64_t until = wait == Wait::kBriefly ? lane_->InAMoment() : shm::kForever;
  shm::RequestReply reply = lane_->CallBroker(args, name, name2, {}, text, until);
  constexpr int32_t kGreatestErrno = 4095;  // what the kernel takes for one
  if (reply.error < 0 || reply.error > kGreatestErrno) reply.error = EIO;
  return reply;
}

void Volume::BeginRequest(uint64_t unique, bool repeated) {
  const auto left = lane_->BeginRequest(unique, repeated);
  // The client has not heard of it: it is done again, and counted then.
  if (left.effect == shm::LocalEffect::kLookup) DropLookups(left.inode_index, 1);
  if (left.effect == shm::LocalEffect::kOpen) DropOpen(left.inode_index);
}

bool Volume::KnownHere(const shm::InodeRecord& record) const {
  return (record.known_by >> options_.mount_index & 1) != 0;
}

bool Volume::Find(uint64_t inode, uint32_t hint, shm::InodeRef* out) const {
  if (hint != shm::kNoIndex && hint < reader_.view().geometry().inode_capacity &&
      reader_.ReadInode(hint, inode, &out->record)) {
    out->index = hint;
    return true;
  }
  return reader_.FindInode(inode, out);
}

// The count goes up first and the record is read afterwards; the broker takes our mark out of the
// record first and reads the count afterwards. Both use sequentially consistent accesses, so at
// least one of the two sees the other, and an entry is never reused while we count on it.
bool Volume::Acquire(uint32_t index, uint64_t inode, shm::InodeRecord* out) {
  if (index == shm::kNoIndex || index >= reader_.view().geometry().inode_capacity) return false;
  shm::InodeUse* use = lane_->Use(index);
  if (use == nullptr) return false;
  use->lookups.fetch_add(1, std::memory_order_seq_cst);
  if (reader_.ReadInode(index, inode, out) && KnownHere(*out)) {
    lane_->NoteEffect(shm::LocalEffect::kLookup, index);
    if (use->used.load(std::memory_order_relaxed) == 0) {
      use->used.store(1, std::memory_order_relaxed);
    }
    return true;
  }
  DropLookups(index, 1);
  return false;
}

// Also undoes an Acquire that failed: while it lasted, a Forget of whatever lives at this index may
// have seen our count instead of 0, and then the last look at the record is ours.
void Volume::DropLookups(uint32_t index, uint64_t count) {
  shm::InodeUse* use = lane_->Use(index);
  if (use == nullptr) return;
  uint32_t before = use->lookups.load(std::memory_order_relaxed);
  uint32_t after = 0;
  do {
    after = before > count ? before - static_cast<uint32_t>(count) : 0;
  } while (!use->lookups.compare_exchange_weak(before, after, std::memory_order_seq_cst));
  if (before == 0 || after != 0) return;
  shm::InodeRecord record;
  if (shm::ReadEntry(reader_.view().inode(index), &record) && record.inode != 0 &&
      (record.flags & shm::kOrphan) != 0 && KnownHere(record)) {
    lane_->QueueForget(record.inode);
  }
}

// The broker marks the directory, has our client forget, and then makes the change. So a request
// that comes when the client has forgotten finds the mark; what an earlier one was told the client
// does not keep, for it forgets in order (broker/announced_change.h).
uint32_t Volume::TrustInNames(uint64_t directory) const {
  if (options_.squash) return 0;
  if (!lane_->shared_session()) return kTrustSeconds;
  shm::InodeRef found;
  const bool trusted =
      reader_.FindInode(directory, &found) && (found.record.flags & shm::kChanging) == 0;
  return trusted ? kTrustSeconds : 0;
}

Node Volume::Present(const shm::InodeRecord& record, uint32_t entry_seconds) const {
  Node node{record, kTrustSeconds, entry_seconds};
  node.record.uid = options_.show_uid.value_or(record.uid);
  node.record.gid = options_.show_gid.value_or(record.gid);
  // Writes of a sibling mount go past every daemon: only asking again shows them.
  if ((record.flags & (shm::kPassthroughWriter | shm::kChanging)) != 0 && lane_->shared_session()) {
    node.attr_seconds = 0;
  }
  return node;
}

int Volume::GetStatfs(Request& request, Statfs* out) {
  const auto reply = Call(request, Args(shm::Op::kStatfs, shm::kRootInode), Wait::kToTheEnd);
  if (reply.error != 0) return reply.error;
  *out = {reply.statfs[0], reply.statfs[1], reply.statfs[2], reply.statfs[3], reply.statfs[4]};
  return 0;
}

}  // namespace airstore::volume
