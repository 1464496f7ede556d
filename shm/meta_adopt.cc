// SPDX-License-Identifier: Apache-2.0
//
// MetaWriter::Adopt: new tables from those that a dead writer left.
//
// Trusted are whole records that make sense by themselves. What the dead writer kept beside them is
// made anew: hash chains, the order of listings (by cookie), counts, what is free. Nobody reads the
// new segment yet, but who reads the old one at this moment may end in the new one: so a record
// that differs from the old one has a later sequence.
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "shm/meta_entries.h"

namespace airstore::shm {

class MetaRebuild {
 public:
  MetaRebuild(MetaWriter* writer, MetaWriter::Damage* damage)
      : writer_(*writer),
        view_(writer->view_),
        damage_(*damage),
        inode_in_use_(view_.geometry().inode_capacity),
        dentry_in_use_(view_.geometry().dentry_capacity),
        long_name_in_use_(view_.geometry().long_name_capacity),
        doubtful_(view_.geometry().inode_capacity) {}

  Result<void> CopyEntries(const Segment& dead);
  Result<void> Run(const MetaState& left);

 private:
  struct Child {
    uint32_t parent;  // index of the directory
    uint32_t index;
    uint64_t cookie;
  };
  using Children = std::vector<Child>;

  void FinishRecord(const MetaState& left);
  Result<void> TakeInodes();
  Result<void> TakeDentries(uint64_t dropping);
  bool Sound(uint32_t index, const DentryRecord& record) const;
  void DropEqualCookies();
  void Chain(uint32_t directory, Children::const_iterator first, Children::const_iterator end);
  void ChainAll();
  static void FreeRest(const std::vector<bool>& in_use, MetaWriter::FreeList* list);

  MetaWriter& writer_;
  const MetaView view_;
  MetaWriter::Damage& damage_;
  std::vector<bool> inode_in_use_;
  std::vector<bool> dentry_in_use_;
  std::vector<bool> long_name_in_use_;
  std::vector<bool> doubtful_;  // by index of the directory: a name of it was dropped
  bool doubt_all_ = false;
  Children children_;
};

namespace {

// False: its writer died in the middle, and the record is worth nothing.
template <typename Record>
bool MakeEven(Entry<Record>* entry) {
  const uint32_t sequence = entry->sequence.load(std::memory_order_relaxed);
  if (sequence % 2 == 0) return true;
  entry->sequence.store(sequence + 1, std::memory_order_relaxed);
  return false;
}

template <typename Record>
void Rewrite(Entry<Record>* entry, const MetaState& from) {
  std::array<uint64_t, sizeof(Record) / 8> words;
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = from.words[i].load(std::memory_order_relaxed);
  }
  Record record;
  memcpy(&record, words.data(), sizeof(record));
  MakeEven(entry);
  WriteEntry(entry, record);
}

}  // namespace

// Only what has memory in the old segment: most of a table is holes. The buckets stay empty.
Result<void> MetaRebuild::CopyEntries(const Segment& dead) {
  const uint64_t total = dead.size();
  uint64_t at = view_.geometry().inodes_offset;
  while (at < total) {
    const off_t data = lseek(dead.fd(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return SysError("find what a meta segment holds");
    const off_t hole = lseek(dead.fd(), data, SEEK_HOLE);
    if (hole < 0) return SysError("find what a meta segment holds");
    const auto from = static_cast<uint64_t>(data);
    const uint64_t bytes = std::min(static_cast<uint64_t>(hole), total) - from;
    AIRSTORE_TRY(writer_.Back(writer_.segment_->base() + from, bytes));
    memcpy(writer_.segment_->base() + from, dead.base() + from, bytes);
    at = from + bytes;
  }
  return {};
}

Result<void> MetaRebuild::Run(const MetaState& left) {
  FinishRecord(left);
  AIRSTORE_TRY(TakeInodes());
  const uint64_t dropping = left.dropping.load(std::memory_order_relaxed);
  AIRSTORE_TRY(TakeDentries(dropping));
  if (const uint32_t directory = writer_.IndexOf(dropping); directory != kNoIndex) {
    InodeRecord record = writer_.Inode(directory);
    record.flags &= ~static_cast<uint32_t>(kListingComplete);
    WriteEntry(&view_.inode(directory), record);
  }
  std::sort(children_.begin(), children_.end(), [](const Child& a, const Child& b) {
    return a.parent != b.parent ? a.parent < b.parent : a.cookie < b.cookie;
  });
  DropEqualCookies();
  ChainAll();
  FreeRest(inode_in_use_, &writer_.inodes_);
  FreeRest(dentry_in_use_, &writer_.dentries_);
  FreeRest(long_name_in_use_, &writer_.long_names_);
  writer_.SetAppliedLsn(left.applied_lsn.load(std::memory_order_relaxed));
  return {};
}

void MetaRebuild::FinishRecord(const MetaState& left) {
  const uint32_t index = left.index.load(std::memory_order_relaxed);
  if (index == kNoIndex) return;
  switch (static_cast<MetaIntent>(left.intent.load(std::memory_order_relaxed))) {
    case MetaIntent::kNone:
      break;
    case MetaIntent::kInode:
      if (index < view_.geometry().inode_capacity && writer_.Backed(&view_.inode(index))) {
        Rewrite(&view_.inode(index), left);
      }
      break;
    case MetaIntent::kDentry:
      if (index < view_.geometry().dentry_capacity && writer_.Backed(&view_.dentry(index))) {
        Rewrite(&view_.dentry(index), left);
      }
      break;
  }
}

Result<void> MetaRebuild::TakeInodes() {
  for (uint32_t index = 1; index < view_.geometry().inode_capacity; ++index) {
    InodeEntry& entry = view_.inode(index);
    if (!writer_.Backed(&entry)) continue;
    const bool whole = MakeEven(&entry);
    const uint64_t inode = OwnWord(entry, offsetof(InodeRecord, inode));
    if (whole && inode == 0) continue;
    // In use, also when it is dropped: a kernel may hold what was here, and counts by index.
    inode_in_use_[index] = true;
    if (!whole || writer_.IndexOf(inode) != kNoIndex) {
      WriteEntry(&entry, InodeRecord{});
      ++damage_.inodes;
      continue;
    }
    std::atomic<uint32_t>& bucket = view_.InodeBucket(inode);
    AIRSTORE_TRY(writer_.Back(&bucket, sizeof(bucket)));
    entry.hash_next.store(bucket.load(std::memory_order_relaxed), std::memory_order_relaxed);
    bucket.store(index, std::memory_order_relaxed);
    ++writer_.inode_count_;
  }
  return {};
}

bool MetaRebuild::Sound(uint32_t index, const DentryRecord& record) const {
  if (record.name_bytes == 0 || record.name_bytes > kMaxName) return false;
  if (record.long_name == kNoIndex) {
    if (record.name_bytes > kInlineName) return false;
  } else if (record.long_name >= view_.geometry().long_name_capacity ||
             long_name_in_use_[record.long_name] ||
             !writer_.Backed(&view_.long_name(record.long_name))) {
    return false;
  }
  const std::string name = writer_.DentryName(index);
  return HashName(record.parent, name) == record.name_hash &&
         writer_.FindDentry(record.parent, name) == kNoIndex &&
         (record.inode == 0 || record.cookie != 0);
}

Result<void> MetaRebuild::TakeDentries(uint64_t dropping) {
  for (uint32_t index = 1; index < view_.geometry().dentry_capacity; ++index) {
    DentryEntry& entry = view_.dentry(index);
    if (!writer_.Backed(&entry)) continue;
    if (!MakeEven(&entry)) {
      WriteEntry(&entry, DentryRecord{});
      doubt_all_ = true;  // nobody knows whose name it was
      ++damage_.dentries;
      continue;
    }
    const DentryRecord record = OwnRecord(entry);
    if (record.parent == 0) continue;
    if (record.parent == dropping && record.inode != 0) {
      WriteEntry(&entry, DentryRecord{});
      continue;
    }
    const uint32_t parent = writer_.IndexOf(record.parent);
    if (parent == kNoIndex || !Sound(index, record)) {
      WriteEntry(&entry, DentryRecord{});
      // A name known not to exist outlives its directory's stay in the table.
      if (parent == kNoIndex && record.inode == 0) continue;
      if (parent != kNoIndex) doubtful_[parent] = true;
      ++damage_.dentries;
      continue;
    }
    std::atomic<uint32_t>& bucket = view_.DentryBucket(record.name_hash);
    AIRSTORE_TRY(writer_.Back(&bucket, sizeof(bucket)));
    entry.hash_next.store(bucket.load(std::memory_order_relaxed), std::memory_order_relaxed);
    bucket.store(index, std::memory_order_relaxed);
    ++writer_.dentry_count_;
    dentry_in_use_[index] = true;
    if (record.long_name != kNoIndex) long_name_in_use_[record.long_name] = true;
    if (record.inode != 0) children_.push_back({parent, index, record.cookie});
  }
  return {};
}

// A reader that goes on behind a cookie would not know which of two it had seen.
void MetaRebuild::DropEqualCookies() {
  Children kept;
  kept.reserve(children_.size());
  for (const Child& child : children_) {
    if (kept.empty() || kept.back().parent != child.parent || kept.back().cookie != child.cookie) {
      kept.push_back(child);
      continue;
    }
    const DentryRecord record = writer_.Dentry(child.index);
    UnlinkFromBucket(view_.DentryBucket(record.name_hash), child.index,
                     [this](uint32_t i) -> DentryEntry& { return view_.dentry(i); });
    WriteEntry(&view_.dentry(child.index), DentryRecord{});
    dentry_in_use_[child.index] = false;
    if (record.long_name != kNoIndex) long_name_in_use_[record.long_name] = false;
    --writer_.dentry_count_;
    doubtful_[child.parent] = true;
    ++damage_.dentries;
  }
  children_ = std::move(kept);
}

void MetaRebuild::ChainAll() {
  auto next = children_.cbegin();
  for (uint32_t index = 1; index < view_.geometry().inode_capacity; ++index) {
    if (!writer_.Backed(&view_.inode(index))) continue;
    const auto first = next;
    while (next != children_.cend() && next->parent == index) ++next;
    if (OwnWord(view_.inode(index), offsetof(InodeRecord, inode)) != 0) Chain(index, first, next);
  }
}

void MetaRebuild::Chain(uint32_t directory, Children::const_iterator first,
                        Children::const_iterator end) {
  for (auto child = first; child != end; ++child) {
    DentryRecord record = writer_.Dentry(child->index);
    const uint32_t previous = child == first ? kNoIndex : std::prev(child)->index;
    const uint32_t next = std::next(child) == end ? kNoIndex : std::next(child)->index;
    if (record.dir_previous == previous && record.dir_next == next) continue;
    record.dir_previous = previous;
    record.dir_next = next;
    WriteEntry(&view_.dentry(child->index), record);
  }
  const InodeRecord before = writer_.Inode(directory);
  InodeRecord record = before;
  record.dir_first = first == end ? kNoIndex : first->index;
  record.dir_last = first == end ? kNoIndex : std::prev(end)->index;
  record.dir_entries = static_cast<uint32_t>(end - first);
  if (first != end) {
    record.dir_next_cookie = std::max(record.dir_next_cookie, std::prev(end)->cookie + 1);
  }
  if ((doubt_all_ || doubtful_[directory]) && (record.flags & kListingComplete) != 0) {
    record.flags &= ~static_cast<uint32_t>(kListingComplete);
    ++damage_.directories;
  }
  if (memcmp(&record, &before, sizeof(record)) != 0) WriteEntry(&view_.inode(directory), record);
}

void MetaRebuild::FreeRest(const std::vector<bool>& in_use, MetaWriter::FreeList* list) {
  const auto last = std::find(in_use.rbegin(), in_use.rend(), true);
  list->next = std::max(1u, static_cast<uint32_t>(in_use.rend() - last));
  // The lowest are taken first: tables stay dense.
  for (uint32_t index = list->next - 1; index > 0; --index) {
    if (!in_use[index]) list->free.push_back(index);
  }
}

Result<std::unique_ptr<MetaWriter>> MetaWriter::Adopt(const SessionId& session, const Segment& dead,
                                                      Damage* damage) {
  auto left = MetaView::Over(dead);
  if (!left) return left.error();
  const MetaGeometry& geometry = left->geometry();
  uint64_t total = 0;
  const MetaGeometry ours = LayoutOf(
      {geometry.inode_capacity, geometry.dentry_capacity, geometry.long_name_capacity}, &total);
  if (memcmp(&ours, &geometry, sizeof(ours)) != 0 || total != dead.size()) {
    return Error{EPROTO, "meta segment of another geometry"};
  }
  auto writer = Make(session, geometry, total);
  if (!writer) return writer;
  *damage = {};
  MetaRebuild rebuild(writer->get(), damage);
  AIRSTORE_TRY(rebuild.CopyEntries(dead));
  AIRSTORE_TRY(rebuild.Run(left->state()));
  (*writer)->segment_->MarkReady();
  return writer;
}

}  // namespace airstore::shm
