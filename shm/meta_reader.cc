// SPDX-License-Identifier: Apache-2.0
#include <xxhash.h>

#include <bit>

#include "shm/meta_table.h"
#include "shm/seqlock.h"

namespace airstore::shm {
namespace {

// Far beyond any honest chain. A reader that strays from one chain into another, because an entry
// was reused under it, ends here at the latest.
constexpr uint32_t kMaxChainSteps = 4096;

constexpr size_t kWordOfDentryParent = offsetof(DentryRecord, parent) / 8;
constexpr size_t kWordOfDentryHash = offsetof(DentryRecord, name_hash) / 8;
constexpr size_t kWordOfInode = offsetof(InodeRecord, inode) / 8;
static_assert(offsetof(DentryRecord, name_hash) % 8 == 0, "the hash is the word's low half");

uint64_t MixInode(uint64_t inode) {
  inode ^= inode >> 33;
  inode *= 0xff51afd7ed558ccdull;
  inode ^= inode >> 33;
  inode *= 0xc4ceb9fe1a85ec53ull;
  return inode ^ inode >> 33;
}

// `count` things of `bytes` at `offset` lie inside `total`, aligned.
bool Fits(uint64_t offset, uint64_t count, uint64_t bytes, uint64_t total) {
  return offset % alignof(uint64_t) == 0 &&
         offset >= sizeof(SegmentHeader) + sizeof(MetaGeometry) && offset <= total &&
         count <= (total - offset) / bytes;
}

void CopyLongName(const LongName& from, uint32_t bytes, char* out) {
  for (uint32_t done = 0; done < bytes; done += 8) {
    const uint64_t word = from.words[done / 8].load(std::memory_order_relaxed);
    memcpy(out + done, &word, std::min(8u, bytes - done));
  }
}

}  // namespace

uint32_t HashName(uint64_t parent, std::string_view name) {
  return static_cast<uint32_t>(XXH3_64bits_withSeed(name.data(), name.size(), parent));
}

Result<MetaView> MetaView::Over(const Segment& segment) {
  const uint64_t total = segment.size();
  if (total < sizeof(SegmentHeader) + sizeof(MetaGeometry)) {
    return Error{EPROTO, "meta segment without geometry"};
  }
  MetaView view;
  view.geometry_ = *segment.At<MetaGeometry>(sizeof(SegmentHeader));
  const MetaGeometry& g = view.geometry_;
  if (!std::has_single_bit(g.inode_buckets) || !std::has_single_bit(g.dentry_buckets) ||
      !Fits(g.inode_buckets_offset, g.inode_buckets, sizeof(uint32_t), total) ||
      !Fits(g.dentry_buckets_offset, g.dentry_buckets, sizeof(uint32_t), total) ||
      !Fits(g.inodes_offset, g.inode_capacity, sizeof(InodeEntry), total) ||
      !Fits(g.dentries_offset, g.dentry_capacity, sizeof(DentryEntry), total) ||
      !Fits(g.state_offset, 1, sizeof(MetaState), total) ||
      !Fits(g.long_names_offset, g.long_name_capacity, sizeof(LongName), total)) {
    return Error{EPROTO, "meta geometry does not fit into the segment"};
  }
  view.inode_buckets_ = segment.At<std::atomic<uint32_t>>(g.inode_buckets_offset);
  view.dentry_buckets_ = segment.At<std::atomic<uint32_t>>(g.dentry_buckets_offset);
  view.inodes_ = segment.At<InodeEntry>(g.inodes_offset);
  view.dentries_ = segment.At<DentryEntry>(g.dentries_offset);
  view.long_names_ = segment.At<LongName>(g.long_names_offset);
  view.state_ = segment.At<MetaState>(g.state_offset);
  return view;
}

std::atomic<uint32_t>& MetaView::InodeBucket(uint64_t inode) const {
  return inode_buckets_[MixInode(inode) & (geometry_.inode_buckets - 1)];
}

std::atomic<uint32_t>& MetaView::DentryBucket(uint32_t name_hash) const {
  return dentry_buckets_[name_hash & (geometry_.dentry_buckets - 1)];
}

bool MetaReader::FindInode(uint64_t inode, InodeRef* out) const {
  if (inode == 0) return false;
  // Acquire pairs with the release of the store that linked the entry in.
  uint32_t index = view_.InodeBucket(inode).load(std::memory_order_acquire);
  for (uint32_t steps = 0; steps < kMaxChainSteps; ++steps) {
    if (index == kNoIndex || index >= view_.geometry().inode_capacity) return false;
    const InodeEntry& entry = view_.inode(index);
    if (entry.words[kWordOfInode].load(std::memory_order_relaxed) == inode) {
      out->index = index;
      return ReadInode(index, inode, &out->record);
    }
    index = entry.hash_next.load(std::memory_order_acquire);
  }
  return false;
}

bool MetaReader::ReadInode(uint32_t index, uint64_t inode, InodeRecord* out) const {
  if (inode == 0 || index == kNoIndex || index >= view_.geometry().inode_capacity) return false;
  return ReadEntry(view_.inode(index), out) && out->inode == inode;
}

bool MetaReader::FindDentry(uint64_t parent, std::string_view name, DentryRef* out) const {
  if (parent == 0 || name.size() > kMaxName) return false;
  const uint32_t hash = HashName(parent, name);
  char found[kMaxName];
  uint32_t index = view_.DentryBucket(hash).load(std::memory_order_acquire);
  for (uint32_t steps = 0; steps < kMaxChainSteps; ++steps) {
    if (index == kNoIndex || index >= view_.geometry().dentry_capacity) return false;
    const DentryEntry& entry = view_.dentry(index);
    // A look at two words first: copying every entry of the chain would cost more than the search.
    if (entry.words[kWordOfDentryParent].load(std::memory_order_relaxed) == parent &&
        static_cast<uint32_t>(entry.words[kWordOfDentryHash].load(std::memory_order_relaxed)) ==
            hash &&
        ReadDentry(index, &out->record, found) && out->record.parent == parent &&
        std::string_view(found, out->record.name_bytes) == name) {
      out->index = index;
      return true;
    }
    index = entry.hash_next.load(std::memory_order_acquire);
  }
  return false;
}

bool MetaReader::ReadDentry(uint32_t index, DentryRecord* out, char* name_out) const {
  if (index == kNoIndex || index >= view_.geometry().dentry_capacity) return false;
  const bool consistent =
      ReadEntry(view_.dentry(index), out, [this, name_out](const DentryRecord& record) {
        // Perhaps torn: whatever it says must be harmless until the sequence is checked.
        if (record.long_name != kNoIndex &&
            record.long_name < view_.geometry().long_name_capacity &&
            record.name_bytes <= kMaxName) {
          CopyLongName(view_.long_name(record.long_name), record.name_bytes, name_out);
        }
      });
  if (!consistent || out->parent == 0) return false;
  if (out->long_name == kNoIndex) {
    if (out->name_bytes > kInlineName) return false;
    memcpy(name_out, out->name, out->name_bytes);
    return true;
  }
  return out->long_name < view_.geometry().long_name_capacity && out->name_bytes <= kMaxName;
}

}  // namespace airstore::shm
