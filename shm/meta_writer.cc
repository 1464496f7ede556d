// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <new>

#include "shm/meta_entries.h"
#include "shm/meta_table.h"

namespace airstore::shm {
namespace {

// Memory of the tables is taken in such steps, before it is touched.
constexpr uint64_t kBackingStep = 64u << 10;

uint64_t AlignUp(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

}  // namespace

MetaGeometry MetaWriter::LayoutOf(const Capacity& capacity, uint64_t* total_bytes) {
  MetaGeometry g{};
  g.inode_buckets = std::bit_ceil(capacity.inodes);
  g.dentry_buckets = std::bit_ceil(capacity.dentries);
  g.inode_capacity = capacity.inodes;
  g.dentry_capacity = capacity.dentries;
  g.long_name_capacity = capacity.long_names;
  uint64_t at = sizeof(SegmentHeader) + sizeof(MetaGeometry);
  const auto place = [&at](uint64_t count, uint64_t bytes) {
    const uint64_t offset = AlignUp(at, 4096);
    at = offset + count * bytes;
    return offset;
  };
  g.state_offset = at;
  at += sizeof(MetaState);
  g.inode_buckets_offset = place(g.inode_buckets, sizeof(uint32_t));
  g.dentry_buckets_offset = place(g.dentry_buckets, sizeof(uint32_t));
  g.inodes_offset = place(g.inode_capacity, sizeof(InodeEntry));
  g.dentries_offset = place(g.dentry_capacity, sizeof(DentryEntry));
  g.long_names_offset = place(g.long_name_capacity, sizeof(LongName));
  *total_bytes = AlignUp(at, 4096);
  return g;
}

MetaWriter::MetaWriter(std::unique_ptr<Segment> segment, MetaView view)
    : segment_(std::move(segment)),
      view_(view),
      reader_(view),
      backed_(segment_->size() / kBackingStep + 1) {}

Result<std::unique_ptr<MetaWriter>> MetaWriter::Create(const SessionId& session,
                                                       const Capacity& capacity) {
  if (capacity.inodes < 2 || capacity.dentries < 2 || capacity.long_names < 2) {
    return Error{EINVAL, "meta tables too small"};
  }
  uint64_t total = 0;
  const MetaGeometry geometry = LayoutOf(capacity, &total);
  auto writer = Make(session, geometry, total);
  if (writer) (*writer)->segment_->MarkReady();
  return writer;
}

// With empty tables, not yet ready.
Result<std::unique_ptr<MetaWriter>> MetaWriter::Make(const SessionId& session,
                                                     const MetaGeometry& geometry,
                                                     uint64_t total_bytes) {
  auto segment = Segment::CreateMemfd({SegmentKind::kMeta, session, 0}, total_bytes);
  if (!segment) return segment.error();
  new (segment.value()->At<MetaGeometry>(sizeof(SegmentHeader))) MetaGeometry(geometry);
  auto view = MetaView::Over(**segment);
  if (!view) return view.error();
  new (&view->state()) MetaState{};
  return std::unique_ptr<MetaWriter>(new MetaWriter(std::move(*segment), *view));
}

Result<void> MetaWriter::Back(const void* address, size_t bytes) {
  const auto offset =
      static_cast<uint64_t>(static_cast<const uint8_t*>(address) - segment_->base());
  for (uint64_t step = offset / kBackingStep; step <= (offset + bytes - 1) / kBackingStep; ++step) {
    if (backed_[step]) continue;
    const uint64_t from = step * kBackingStep;
    AIRSTORE_TRY(segment_->Allocate(from, std::min(kBackingStep, segment_->size() - from)));
    backed_[step] = true;
  }
  return {};
}

bool MetaWriter::Backed(const void* address) const {
  const auto offset = static_cast<const uint8_t*>(address) - segment_->base();
  return backed_[static_cast<uint64_t>(offset) / kBackingStep];
}

void MetaWriter::Put(uint32_t index, const InodeRecord& record) {
  PutEntry(MetaIntent::kInode, &view_.inode(index), index, record);
}

void MetaWriter::Put(uint32_t index, const DentryRecord& record) {
  PutEntry(MetaIntent::kDentry, &view_.dentry(index), index, record);
}

uint64_t MetaWriter::applied_lsn() const {
  return view_.state().applied_lsn.load(std::memory_order_relaxed);
}

void MetaWriter::SetAppliedLsn(uint64_t lsn) {
  // Behind every change it stands for.
  view_.state().applied_lsn.store(lsn, std::memory_order_release);
}

MetaWriter::Room MetaWriter::room() const {
  const auto left = [](const FreeList& list, uint32_t capacity) {
    return static_cast<uint32_t>(list.free.size()) + (capacity - list.next);
  };
  const MetaGeometry& geometry = view_.geometry();
  return {left(inodes_, geometry.inode_capacity), left(dentries_, geometry.dentry_capacity),
          left(long_names_, geometry.long_name_capacity)};
}

uint32_t MetaWriter::IndexOf(uint64_t inode) const {
  if (inode == 0) return kNoIndex;
  uint32_t index = view_.InodeBucket(inode).load(std::memory_order_relaxed);
  while (index != kNoIndex && OwnWord(view_.inode(index), offsetof(InodeRecord, inode)) != inode) {
    index = view_.inode(index).hash_next.load(std::memory_order_relaxed);
  }
  return index;
}

InodeRecord MetaWriter::Inode(uint32_t index) const { return OwnRecord(view_.inode(index)); }

Result<uint32_t> MetaWriter::AddInode(const InodeRecord& record) {
  AIRSTORE_CHECK(record.inode != 0);
  std::atomic<uint32_t>& bucket = view_.InodeBucket(record.inode);
  AIRSTORE_TRY(Back(&bucket, sizeof(bucket)));
  auto index = Take(&inodes_, view_.geometry().inode_capacity,
                    [this](uint32_t i) -> InodeEntry& { return view_.inode(i); });
  if (!index) return index;
  InodeEntry& entry = view_.inode(*index);
  Put(*index, record);
  entry.hash_next.store(bucket.load(std::memory_order_relaxed), std::memory_order_release);
  bucket.store(*index, std::memory_order_release);
  ++inode_count_;
  return index;
}

void MetaWriter::UpdateInode(uint32_t index, const InodeRecord& record) { Put(index, record); }

void MetaWriter::RemoveInode(uint32_t index) {
  InodeEntry& entry = view_.inode(index);
  UnlinkFromBucket(view_.InodeBucket(OwnWord(entry, offsetof(InodeRecord, inode))), index,
                   [this](uint32_t i) -> InodeEntry& { return view_.inode(i); });
  Put(index, InodeRecord{});
  inodes_.free.push_back(index);
  --inode_count_;
}

}  // namespace airstore::shm
