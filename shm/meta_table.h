// SPDX-License-Identifier: Apache-2.0
//
// The metadata tables of a session: MetaReader finds inodes and dentries, MetaWriter changes them.
//
// Both tables are dense arrays of entries found through chained hash buckets. A reader that meets a
// chain in the middle of a change may miss an entry that is there; it then asks the broker, which
// is always right. It never returns an entry that does not match its key.
//
// The tables outlive their writer: every change of them is made by the write of one record, of
// which a copy lies in MetaState meanwhile; all else (hash chains, listings, counts) follows from
// the records, and Adopt makes it anew.
// Threads: MetaWriter: one thread of the broker. MetaReader: any thread of any process.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/segment.h"

namespace airstore::shm {

struct InodeRef {
  uint32_t index = kNoIndex;
  InodeRecord record{};
};

struct DentryRef {
  uint32_t index = kNoIndex;
  DentryRecord record{};
  std::string_view Name(const char* buffer) const { return {buffer, record.name_bytes}; }
};

uint32_t HashName(uint64_t parent, std::string_view name);

// Places in a meta segment, checked against the segment's size.
class MetaView {
 public:
  // EPROTO when the geometry does not fit into the segment.
  static Result<MetaView> Over(const Segment& segment);

  std::atomic<uint32_t>& InodeBucket(uint64_t inode) const;
  std::atomic<uint32_t>& DentryBucket(uint32_t name_hash) const;
  // REQUIRES: index < capacity
  InodeEntry& inode(uint32_t index) const { return inodes_[index]; }
  DentryEntry& dentry(uint32_t index) const { return dentries_[index]; }
  LongName& long_name(uint32_t index) const { return long_names_[index]; }
  MetaState& state() const { return *state_; }
  const MetaGeometry& geometry() const { return geometry_; }

 private:
  MetaGeometry geometry_{};  // a copy: checked once, used for ever
  std::atomic<uint32_t>* inode_buckets_ = nullptr;
  std::atomic<uint32_t>* dentry_buckets_ = nullptr;
  InodeEntry* inodes_ = nullptr;
  DentryEntry* dentries_ = nullptr;
  LongName* long_names_ = nullptr;
  MetaState* state_ = nullptr;
};

class MetaReader {
 public:
  explicit MetaReader(MetaView view) : view_(view) {}

  // False: not in the table, or no consistent copy was had.
  bool FindInode(uint64_t inode, InodeRef* out) const;
  // Re-reads one entry; false when it no longer is that inode.
  bool ReadInode(uint32_t index, uint64_t inode, InodeRecord* out) const;
  // Positive and negative entries alike; negative: record.inode == 0.
  bool FindDentry(uint64_t parent, std::string_view name, DentryRef* out) const;
  // Copies the entry at `index` and its name (name_out: kMaxName bytes at least).
  bool ReadDentry(uint32_t index, DentryRecord* out, char* name_out) const;

  const MetaView& view() const { return view_; }

 private:
  MetaView view_;
};

class MetaWriter {
 public:
  struct Capacity {
    uint32_t inodes = 1u << 20;
    uint32_t dentries = 1u << 21;
    uint32_t long_names = 1u << 16;
  };
  static Result<std::unique_ptr<MetaWriter>> Create(const SessionId& session,
                                                    const Capacity& capacity);

  // What Adopt found to be wrong, besides what a death in the middle of a change leaves: all 0 when
  // the writer was sound.
  struct Damage {
    uint32_t inodes = 0;       // records dropped; their indexes are never used again
    uint32_t dentries = 0;     // names dropped
    uint32_t directories = 0;  // listings no longer taken for complete
  };
  // A segment of its own with what a dead writer left in `dead`, which may be mapped read-only:
  // every inode and name at the index where it was, so that readers who are given the new segment
  // in place of the old one go on undisturbed. A change that the death cut off is there as a whole
  // or not at all. REQUIRES: that writer is gone. EPROTO when the geometry is not one of ours;
  // ENOMEM or ENOSPC when the memory is not to be had.
  static Result<std::unique_ptr<MetaWriter>> Adopt(const SessionId& session, const Segment& dead,
                                                   Damage* damage);

  Segment& segment() { return *segment_; }
  const MetaReader& reader() const { return reader_; }

  // Index of the inode, kNoIndex if it is not in the table. No copy, no retry: this is the writer.
  uint32_t IndexOf(uint64_t inode) const;
  // The record as last written. REQUIRES: index in use.
  InodeRecord Inode(uint32_t index) const;
  // Makes an entry for record.inode, which must not be in the table. ENOSPC when the table is full.
  Result<uint32_t> AddInode(const InodeRecord& record);
  // Publishes a new record at its index. REQUIRES: same inode number.
  void UpdateInode(uint32_t index, const InodeRecord& record);
  // Takes the entry out and lets its index be reused.
  void RemoveInode(uint32_t index);

  // kNoIndex: neither known to exist nor known not to.
  uint32_t FindDentry(uint64_t parent, std::string_view name) const;
  DentryRecord Dentry(uint32_t index) const;
  std::string DentryName(uint32_t index) const;
  // Adds a positive entry (inode != 0) at the end of the parent's chain, or a negative one outside
  // of it; replaces a negative entry of that name. The parent must be in the inode table; its
  // dir_* fields are updated. REQUIRES: no positive entry of that name. ENOSPC when full.
  Result<uint32_t> AddDentry(uint64_t parent, std::string_view name, uint64_t inode, uint32_t type);
  // Points an existing positive entry at another inode, keeping its place in the chain.
  void ReplaceDentry(uint32_t index, uint64_t inode, uint32_t type);
  // Takes the entry out of chain and table.
  void RemoveDentry(uint32_t index);
  // Removes every dentry of the directory (positive chain only) and clears kListingComplete.
  void DropListing(uint32_t directory_index);

  // Number of the last journal record whose change is in the tables as a whole; kept by Adopt.
  uint64_t applied_lsn() const;
  void SetAppliedLsn(uint64_t lsn);

  // Entries that can still be made.
  struct Room {
    uint32_t inodes = 0;
    uint32_t dentries = 0;
    uint32_t long_names = 0;
  };
  Room room() const;
  // No inode lies at this index or behind it.
  uint32_t inode_end() const { return inodes_.next; }

  uint32_t inode_count() const { return inode_count_; }
  uint32_t dentry_count() const { return dentry_count_; }

 private:
  friend class MetaRebuild;   // meta_adopt.cc
  friend class TablesImport;  // portable_tables.cc

  MetaWriter(std::unique_ptr<Segment> segment, MetaView view);
  static MetaGeometry LayoutOf(const Capacity& capacity, uint64_t* total_bytes);
  static Result<std::unique_ptr<MetaWriter>> Make(const SessionId& session,
                                                  const MetaGeometry& geometry,
                                                  uint64_t total_bytes);
  // Entries not in use: given back ones are reused before fresh ones.
  struct FreeList {
    std::vector<uint32_t> free;
    uint32_t next = 1;
  };
  template <typename Table>
  Result<uint32_t> Take(FreeList* list, uint32_t capacity, Table table);
  Result<void> Back(const void* address, size_t bytes);
  bool Backed(const void* address) const;
  // Publish a record, with a copy for who adopts the tables should we die meanwhile.
  void Put(uint32_t index, const InodeRecord& record);
  void Put(uint32_t index, const DentryRecord& record);
  template <typename Record>
  void PutEntry(MetaIntent table, Entry<Record>* entry, uint32_t index, const Record& record);
  // An entry for the name, not yet written, and what is to be written there.
  Result<uint32_t> NewDentry(uint64_t parent, std::string_view name, DentryRecord* record);
  // Makes the entry the last one of the chain. REQUIRES: its record says so already.
  void LinkLast(uint32_t parent_index, uint32_t index, const DentryRecord& record);
  void UnlinkFromChain(const DentryRecord& record);
  void Discard(uint32_t index, const DentryRecord& record);

  std::unique_ptr<Segment> segment_;
  MetaView view_;
  MetaReader reader_;
  FreeList inodes_;
  FreeList dentries_;
  FreeList long_names_;
  std::vector<bool> backed_;  // by step of the segment: memory has been allocated
  uint32_t inode_count_ = 0;
  uint32_t dentry_count_ = 0;
};

}  // namespace airstore::shm
