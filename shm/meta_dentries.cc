// SPDX-License-Identifier: Apache-2.0
//
// The dentry half of MetaWriter: names, and the chain of each directory's listing.
#include "shm/meta_entries.h"
#include "shm/meta_table.h"

namespace airstore::shm {
namespace {

void StoreLongName(LongName* to, std::string_view name) {
  for (size_t done = 0; done < name.size(); done += 8) {
    uint64_t word = 0;
    memcpy(&word, name.data() + done, std::min<size_t>(8, name.size() - done));
    to->words[done / 8].store(word, std::memory_order_relaxed);
  }
}

}  // namespace

uint32_t MetaWriter::FindDentry(uint64_t parent, std::string_view name) const {
  if (parent == 0 || name.size() > kMaxName) return kNoIndex;
  const uint32_t hash = HashName(parent, name);
  uint32_t index = view_.DentryBucket(hash).load(std::memory_order_relaxed);
  while (index != kNoIndex) {
    const DentryEntry& entry = view_.dentry(index);
    if (OwnWord(entry, offsetof(DentryRecord, parent)) == parent &&
        static_cast<uint32_t>(OwnWord(entry, offsetof(DentryRecord, name_hash))) == hash &&
        DentryName(index) == name) {
      return index;
    }
    index = entry.hash_next.load(std::memory_order_relaxed);
  }
  return kNoIndex;
}

DentryRecord MetaWriter::Dentry(uint32_t index) const { return OwnRecord(view_.dentry(index)); }

std::string MetaWriter::DentryName(uint32_t index) const {
  const DentryRecord record = Dentry(index);
  if (record.long_name == kNoIndex) {
    return {reinterpret_cast<const char*>(record.name), record.name_bytes};
  }
  char name[sizeof(LongName)];
  const LongName& words = view_.long_name(record.long_name);
  for (size_t i = 0; i < sizeof(LongName) / 8; ++i) {
    const uint64_t word = words.words[i].load(std::memory_order_relaxed);
    memcpy(name + 8 * i, &word, 8);
  }
  return {name, record.name_bytes};
}

Result<uint32_t> MetaWriter::NewDentry(uint64_t parent, std::string_view name,
                                       DentryRecord* record) {
  const uint32_t hash = HashName(parent, name);
  std::atomic<uint32_t>& bucket = view_.DentryBucket(hash);
  AIRSTORE_TRY(Back(&bucket, sizeof(bucket)));
  record->parent = parent;
  record->name_hash = hash;
  record->name_bytes = static_cast<uint32_t>(name.size());
  if (name.size() <= kInlineName) {
    memcpy(record->name, name.data(), name.size());
  } else {
    auto long_name = Take(&long_names_, view_.geometry().long_name_capacity,
                          [this](uint32_t i) -> LongName& { return view_.long_name(i); });
    if (!long_name) return long_name;
    record->long_name = *long_name;
    // Whoever still reads the name that was here does so under the sequence of a dentry that has
    // been taken out since.
    StoreLongName(&view_.long_name(*long_name), name);
  }
  auto index = Take(&dentries_, view_.geometry().dentry_capacity,
                    [this](uint32_t i) -> DentryEntry& { return view_.dentry(i); });
  if (!index && record->long_name != kNoIndex) long_names_.free.push_back(record->long_name);
  return index;
}

Result<uint32_t> MetaWriter::AddDentry(uint64_t parent, std::string_view name, uint64_t inode,
                                       uint32_t type) {
  if (name.empty()) return Error{EINVAL, "dentry without a name"};
  if (name.size() > kMaxName) return Error{ENAMETOOLONG, "dentry"};
  const uint32_t parent_index = IndexOf(parent);
  if (parent_index == kNoIndex) return Error{ENOENT, "dentry of a directory not in the table"};
  uint32_t index = FindDentry(parent, name);
  const bool is_new = index == kNoIndex;
  DentryRecord record{};
  if (is_new) {
    auto made = NewDentry(parent, name, &record);
    if (!made) return made;
    index = *made;
  } else {
    record = Dentry(index);
    if (record.inode != 0) return Error{EEXIST, "dentry"};
  }
  if (inode != 0) {
    const InodeRecord directory = Inode(parent_index);
    record.inode = inode;
    record.type = type;
    record.cookie = std::max<uint64_t>(directory.dir_next_cookie, 1);
    record.dir_previous = directory.dir_last;
    record.dir_next = kNoIndex;
  }
  Put(index, record);
  if (inode != 0) LinkLast(parent_index, index, record);
  if (is_new) {
    std::atomic<uint32_t>& bucket = view_.DentryBucket(record.name_hash);
    view_.dentry(index).hash_next.store(bucket.load(std::memory_order_relaxed),
                                        std::memory_order_release);
    bucket.store(index, std::memory_order_release);
    ++dentry_count_;
  }
  return index;
}

void MetaWriter::LinkLast(uint32_t parent_index, uint32_t index, const DentryRecord& record) {
  InodeRecord parent = Inode(parent_index);
  if (parent.dir_last == kNoIndex) {
    parent.dir_first = index;
  } else {
    DentryRecord last = Dentry(parent.dir_last);
    last.dir_next = index;
    Put(parent.dir_last, last);
  }
  parent.dir_last = index;
  parent.dir_next_cookie = record.cookie + 1;
  ++parent.dir_entries;
  UpdateInode(parent_index, parent);
}

void MetaWriter::ReplaceDentry(uint32_t index, uint64_t inode, uint32_t type) {
  AIRSTORE_CHECK(inode != 0);
  DentryRecord record = Dentry(index);
  record.inode = inode;
  record.type = type;
  Put(index, record);
}

void MetaWriter::UnlinkFromChain(const DentryRecord& record) {
  const uint32_t parent_index = IndexOf(record.parent);
  AIRSTORE_CHECK(parent_index != kNoIndex);
  InodeRecord parent = Inode(parent_index);
  if (record.dir_previous == kNoIndex) {
    parent.dir_first = record.dir_next;
  } else {
    DentryRecord previous = Dentry(record.dir_previous);
    previous.dir_next = record.dir_next;
    Put(record.dir_previous, previous);
  }
  if (record.dir_next == kNoIndex) {
    parent.dir_last = record.dir_previous;
  } else {
    DentryRecord next = Dentry(record.dir_next);
    next.dir_previous = record.dir_previous;
    Put(record.dir_next, next);
  }
  --parent.dir_entries;
  UpdateInode(parent_index, parent);
}

void MetaWriter::RemoveDentry(uint32_t index) {
  const DentryRecord record = Dentry(index);
  if (record.inode != 0) UnlinkFromChain(record);
  Discard(index, record);
}

void MetaWriter::Discard(uint32_t index, const DentryRecord& record) {
  UnlinkFromBucket(view_.DentryBucket(record.name_hash), index,
                   [this](uint32_t i) -> DentryEntry& { return view_.dentry(i); });
  Put(index, DentryRecord{});
  if (record.long_name != kNoIndex) long_names_.free.push_back(record.long_name);
  dentries_.free.push_back(index);
  --dentry_count_;
}

void MetaWriter::DropListing(uint32_t directory_index) {
  InodeRecord directory = Inode(directory_index);
  uint32_t index = directory.dir_first;
  std::atomic<uint64_t>& dropping = view_.state().dropping;
  dropping.store(directory.inode, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // The directory first: a reader must not take the shrinking chain for a complete one.
  directory.dir_first = kNoIndex;
  directory.dir_last = kNoIndex;
  directory.dir_entries = 0;
  directory.flags &= ~static_cast<uint32_t>(kListingComplete);
  UpdateInode(directory_index, directory);
  while (index != kNoIndex) {
    const DentryRecord record = Dentry(index);
    Discard(index, record);
    index = record.dir_next;
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  dropping.store(0, std::memory_order_relaxed);
}

}  // namespace airstore::shm
